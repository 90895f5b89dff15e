"""Reconnecting: one `Peer` for a row of links, each made when the one before is of no more use."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from math import isinf
from typing import Final, Self

import attrs
import trio

from pytofu.patterns.arguments import must_be
from pytofu.patterns.arguments import seconds as time_of
from pytofu.peers.calls import log
from pytofu.peers.ctrl_c import protected, run_program
from pytofu.peers.errors import ConnectError, NotSent, RemoteError, Unanswered, single
from pytofu.peers.incoming import NO_HEADERS, Incoming
from pytofu.peers.link import BYE_TIME, Link
from pytofu.peers.peer import OnPeer, Peer
from pytofu.peers.streams import OpenedStream
from pytofu.peers.subscriptions import DEFAULT_WINDOW, Subscription
from pytofu.peers.topics import pattern_tokens
from pytofu.public.managers import block
from pytofu.values.errors import AllocationFailedException
from pytofu.values.status import AmpeError

# Not the program's, whose state is its own; nor one with a state, which forked children would share
# and so come back together.
_RANDOM: Final = random.SystemRandom()


@attrs.frozen
class Backoff:
    """How long to wait between attempts to connect, in seconds.

    Each pause is drawn between 0 and a limit, which begins with `first` and doubles up to
    `longest`: many clients that lost their server at one moment come back spread over the time.
    The limit begins anew once a connection has lasted for `longest`. The first attempt of a row
    that fails is logged as a warning (`pytofu.peers`), and the connection after it as INFO.
    """

    first: float = 0.1
    longest: float = 5.0

    def __attrs_post_init__(self) -> None:
        time_of("Backoff's first", self.first)
        if isinf(time_of("Backoff's longest", self.longest)):
            raise ValueError("Backoff's longest is a pause that ends, not inf")

    def pauses(self) -> Iterator[float]:
        """The pauses to make, one after the other, without end."""
        limit = self.first
        while True:
            limit = min(limit, self.longest)
            yield _RANDOM.uniform(0, limit)
            limit *= 2


class LastingPeer(Peer):
    """What `connect` gives with `reconnect`: what needs a connection waits for the next one."""

    def __init__(self) -> None:
        self._closed = trio.Event()
        self._scope = trio.CancelScope()
        # `_link` is the newest that has been open, of use or not; there is one behind `wait_link`.
        self._began = False
        self._failure: Exception | None = None  # of what ended it before it began
        self._news = trio.Event()  # that there is another or will be none; replaced when set
        self._subscriptions: dict[Subscription, None] = {}
        self._messages = _Messages(self)

    # ------------------------------------------------------------------ links

    @protected
    async def keep(
        self,
        open_link: Callable[[], Awaitable[Link]],
        on_peer: OnPeer | None,
        backoff: Backoff,
        nursery: trio.Nursery,
    ) -> None:
        """Connect, again and again, until the peer is closed.

        In the nursery, which has to be the one that this runs in, links that leave are seen off.
        What the program's `on_peer` raises, or the peer that does not let us in, ends it. What
        cannot work is tried as well, for ever: so what lasts is a warning, once.
        """
        with self._scope:
            pauses = backoff.pauses()
            away = _Away(backoff.longest)
            while True:
                try:
                    link = await open_link()
                    began = trio.current_time()
                    try:
                        if on_peer is not None:
                            await run_program(on_peer, Peer(link))
                    except BaseException:
                        link.abort()
                        raise
                    self._use(link)
                    away.ends()
                    await link.asking.left.wait()
                    nursery.start_soon(link.see_off)  # there is another soon
                    if trio.current_time() - began >= backoff.longest:
                        pauses = backoff.pauses()
                except Exception as error:
                    reason = single(error)  # of a nursery that `on_peer` has opened
                    if isinstance(reason, ConnectError | NotSent | Unanswered):
                        away.goes_on(reason)
                    elif self._began:
                        raise
                    else:
                        self._failure = error  # who waits for the first link raises it, as itself
                        self.close()
                await trio.sleep(next(pauses))

    def _use(self, link: Link) -> None:
        self._link = link
        self._began = True
        for subscription in self._subscriptions:
            _begin(subscription, link)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def wait_first_link(self) -> None:
        """Wait until the peer is there. Raises why it never will be."""
        try:
            await self.wait_link()
        except NotSent:
            assert self._failure is not None  # the program, which could close it, has it not yet
            raise self._failure from None

    async def wait_link(self, after: Link | None = None) -> Link:
        """A link on which something can be asked, other than that one.

        Raises `NotSent` when there will be none.
        """
        while not self._closed.is_set():
            if self._began and self._link is not after and self._link.usable:
                return self._link
            await self._news.wait()
        raise NotSent(AmpeError.CHANNEL_CLOSED, "this peer was closed")

    # ------------------------------------------------------------------ as of any peer

    @protected
    async def call(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        method: str = "",
        idempotent: bool = False,
    ) -> Incoming:
        """As `Peer.call`, but waits for a connection, and repeats what was not sent.

        What is in doubt is repeated if it is `idempotent`, else raises `Unanswered`.
        """
        must_be("idempotent", "True or False", bool, idempotent)
        link: Link | None = None
        while True:
            link = await self.wait_link(link)
            try:
                return await link.asking.call(method, headers, body)
            except NotSent:
                pass
            except Unanswered:
                if not idempotent:
                    raise

    @block
    async def stream(
        self, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS, *, method: str = ""
    ) -> AsyncGenerator[OpenedStream]:
        """As `Peer.stream`, but waits for a connection. The stream ends with that connection."""
        link = await self.wait_link()
        async with link.asking.stream(method, headers, body) as stream:
            yield stream

    @block
    async def subscribe(
        self, pattern: str, *, window: int = DEFAULT_WINDOW
    ) -> AsyncGenerator[Subscription]:
        """As `Peer.subscribe`, on one connection after the other.

        What is published while there is none is not heard; `interruptions` counts such times.
        """
        pattern_tokens(pattern)
        subscription = Subscription(pattern, window, lasting=True)
        link = await self.wait_link()
        self._subscriptions[subscription] = None
        try:
            _begin(subscription, link)
            await subscription.wait_confirmed()
            yield subscription
        finally:
            del self._subscriptions[subscription]
            subscription.left()

    @protected
    async def signal(self, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        """As `Peer.signal`, but waits for a connection, and repeats what was not sent."""
        link: Link | None = None
        while True:
            link = await self.wait_link(link)
            try:
                await link.signalling.send(headers, body)
            except NotSent:
                continue
            return

    @property
    def messages(self) -> AsyncIterator[Incoming]:
        """As `Peer.messages`, of one connection after the other."""
        return self._messages

    @property
    def closed(self) -> trio.Event:
        """Set when the peer was closed, here: connections that end are followed by others."""
        return self._closed

    @protected
    def close(self) -> None:
        """Make no more connections."""
        self._scope.cancel()
        self._closed.set()
        self._tell()
        for subscription in self._subscriptions:
            subscription.end(NotSent(AmpeError.CHANNEL_CLOSED, "this peer was closed"))

    @protected
    async def bye(self) -> None:
        """As `Peer.bye`; no more connections are made."""
        self.close()
        await super().bye()

    @protected
    async def drain(self, seconds: float = BYE_TIME) -> None:
        """As `Peer.drain`; no more connections are made."""
        time_of("Peer.drain", seconds, or_none=True)
        self.close()
        await super().drain(seconds)


def _begin(subscription: Subscription, link: Link) -> None:
    """Let it begin on a link; if that has gone, it will on the next."""
    subscription.leave()
    try:
        link.asking.subscribe(subscription)
    except NotSent:
        pass
    except (RemoteError, AllocationFailedException) as error:
        subscription.end(error)


class _Away:
    """Tells the log that the peer is away, once that has lasted, and that it is back."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None
        self._was_told = False

    def goes_on(self, reason: Exception) -> None:
        """Another attempt has failed."""
        if self._since is None:
            self._since = trio.current_time()
        elif not self._was_told and trio.current_time() - self._since >= self._patience:
            self._was_told = True
            log.warning("%s; trying again until it is there", reason)

    def ends(self) -> None:
        """It is there."""
        if self._was_told:
            log.info("connected again")
        self._since, self._was_told = None, False


class _Messages:
    """The messages of one link after the other."""

    def __init__(self, peer: LastingPeer) -> None:
        self._peer = peer
        self._link: Link | None = None

    def __aiter__(self) -> Self:
        return self

    @protected
    async def __anext__(self) -> Incoming:
        while True:
            if self._link is not None:
                with suppress(StopAsyncIteration):
                    return await anext(self._link.inbox)
            try:
                self._link = await self._peer.wait_link(self._link)
            except NotSent:
                raise StopAsyncIteration from None
