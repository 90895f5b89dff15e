"""How commands end: failures with a reason, and Ctrl-C."""

import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from pytofu import AmpeStatus


class CommandError(Exception):
    """The command failed; the text, one line, says why."""


class InterruptedBySignalError(Exception):
    """A signal ended a command before it was done."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code: int = 128 + number


class Interruption:
    """Whether, and by which signal, an `until_interrupted` block was ended."""

    signal: int | None = None


@asynccontextmanager
async def until_interrupted() -> AsyncGenerator[Interruption]:
    """A block that Ctrl-C or SIGTERM cancels; what comes behind it goes on, to end in good order.

    A second Ctrl-C then raises KeyboardInterrupt as usual. Exceptions of the block leave it in an
    exception group.
    """
    interruption = Interruption()

    async def watch() -> None:
        async for number in signals:
            interruption.signal = number
            nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield interruption
            nursery.cancel_scope.cancel()


async def unless_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Do work for which Ctrl-C means failure: raises `InterruptedBySignalError`."""
    async with until_interrupted() as interruption:
        await work()
    if interruption.signal is not None:
        raise InterruptedBySignalError(interruption.signal)


_IN_WORDS = {
    AmpeStatus.CONNECT_FAILED: "nobody answers there",
    AmpeStatus.INVALID_ADDRESS: "there is no such host",
    AmpeStatus.LISTEN_FAILED: "the address is in use, or may not be used",
    AmpeStatus.SUCCESS: "the peer said bye",
    AmpeStatus.UDS_PATH_NOT_FOUND: "there is no such socket file",
    AmpeStatus.CHANNEL_CLOSED: "closed by this side",
    AmpeStatus.COMMUNICATION_FAILED: "the connection broke",
}


def in_words(status: AmpeStatus) -> str:
    """A status for people."""
    return _IN_WORDS.get(status) or status.name.lower().replace("_", " ")
