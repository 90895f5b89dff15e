"""The side of calls and subscriptions that connects."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from pytofu import ConnectError, NotSent, Peer, RemoteError, Unanswered, connect
from pytofu.cli.conversation import NotReachedError
from pytofu.cli.endpoints import Target
from pytofu.cli.output import harmless
from pytofu.cli.running import CommandError, in_words


@asynccontextmanager
async def reach(target: Target) -> AsyncGenerator[Peer]:
    """A peer for the length of an `async with` block.

    Raises `CommandError` when nobody is reached, nobody comes in time, the peer answers with an
    error, or goes.
    """
    async with AsyncExitStack() as stack:

        async def attempt(left: float) -> Peer:
            return await stack.enter_async_context(connect(target.address, tls=target.tls))

        try:
            peer = await target.insist(attempt, ConnectError)
        except ConnectError as error:
            why = in_words(error.reason, error.detail)
            raise NotReachedError(f"cannot connect to {target.where}: {why}") from error
        try:
            yield peer
        except RemoteError as error:
            raise CommandError(f"{target.where}: {harmless(str(error))}") from error
        except Unanswered as error:
            why = in_words(peer.reason, error.message)
            raise CommandError(f"{target.where} closed the channel: {why}") from error
        except NotSent as error:
            raise CommandError(f"{target.where} took nothing: {error.message}") from error
