"""`Peer`: the program at the other end, as programs see it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from pytofu.patterns.arguments import must_be
from pytofu.patterns.arguments import seconds as time_of
from pytofu.peers.codec import Codec
from pytofu.peers.ctrl_c import protected
from pytofu.peers.incoming import NO_HEADERS, Incoming, Reply
from pytofu.peers.link import BYE_TIME, Link
from pytofu.peers.proxy import make_proxy
from pytofu.peers.streams import OpenedStream
from pytofu.peers.subscriptions import DEFAULT_WINDOW, Subscription
from pytofu.peers.topics import pattern_tokens
from pytofu.public.managers import block
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeStatus

_JSON: Final = Codec.json()

type Handler = Callable[["Peer", Incoming], Awaitable[bytes | Reply | None]]
"""What answers requests: an async function of the peer that asks and of what it asks."""

type OnPeer = Callable[["Peer"], Awaitable[None]]
"""What is run for each peer that has come."""


class Peer:
    """The program at the other end of a connection; both sides may call, signal and stream.

    Made by `connect` and `serve`. To be used from the Trio thread that made it.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    @protected
    async def call(
        self,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        method: str = "",
        idempotent: bool = False,
    ) -> Incoming:
        """Ask the peer, and wait for its answer.

        Bodies are of any length up to 64 MiB, both ways. The deadline of the surrounding cancel
        scopes travels with the call and bounds the handler there; so does it for calls that the
        handler makes in turn. Waits while as many calls are under way as the peer carries out at a
        time. `idempotent` says that it may be carried out twice, which matters on a peer that
        reconnects.

        Raises `RemoteError` if the handler raised, `NotSent` if the request has not left or was
        not looked at, `Unanswered` if it may have been acted upon and no answer will come,
        ValueError for a body that is too long or a header that is not the program's to use, and
        `AmpeException` for headers that cannot travel: an empty name or value, a line end in one.

        A checkpoint. Cancelling it cancels the handler, and never waits for that.
        """
        must_be("idempotent", "True or False", bool, idempotent)
        return await self._link.asking.call(method, headers, body)

    def stream(
        self, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS, *, method: str = ""
    ) -> AbstractAsyncContextManager[OpenedStream]:
        """Open a stream: `async with peer.stream(...) as stream`.

        The handler there gets a request with this body (65,535 bytes at the most) and these
        headers, whose `stream` is the other end. Leaving the block before the peer has ended the
        stream, be it by an exception or by cancellation, cancels the handler. Deadlines travel as
        they do for `call`, and the same is raised, here or when the stream is used.
        """
        return self._link.asking.stream(method, headers, body)

    @block
    async def subscribe(
        self, pattern: str, *, window: int = DEFAULT_WINDOW
    ) -> AsyncGenerator[Subscription]:
        """Hear what the peer publishes: `async with peer.subscribe("news.*") as messages`.

        In a pattern `*` stands for one token, and `>` at the end for one or more. What is
        published once the block is entered is heard. `window` is how many bytes may be on their
        way or wait here; when the block's loop is slower than that, the publisher's policy
        decides (see `Topics`).

        Raises `RemoteError` if the peer publishes nothing, or not this, `NotSent` or `Unanswered`
        if it has gone, `AllocationFailedException` if too much is queued for it already, and
        ValueError for what is no pattern. Entering is a checkpoint.
        """
        pattern_tokens(pattern)
        subscription = Subscription(pattern, window)
        self._link.asking.subscribe(subscription)
        try:
            await subscription.wait_confirmed()
            yield subscription
        finally:
            subscription.left()

    def proxy[P](
        self,
        protocol: Callable[..., P],
        *,
        codec: Codec = _JSON,
        idempotent: Collection[str] = (),
    ) -> P:
        """The peer's methods as methods: `peer.proxy(Calculator).add(1, 2)`.

        `protocol` is a class, a `Protocol` at best, whose async methods are those of a `Service`
        there, with the same annotations; arguments and results travel by `codec`. Those named in
        `idempotent` may be carried out twice, as in `call`, which also says what is raised; what
        is no answer of the method's type is a `RemoteError` with code INTERNAL.

        Raises TypeError for a method whose parameters or result cannot travel.
        """
        proxy: P = make_proxy(self.call, protocol, codec, idempotent)
        return proxy

    @protected
    async def signal(self, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Send something that wants no answer: it reaches `messages` there.

        Waits while the peer is behind with those that it has. Raises `NotSent`, and ValueError
        for more than 65,535 bytes. A checkpoint; cancelled, nothing was sent.
        """
        await self._link.signalling.send(headers, body)

    @property
    def messages(self) -> AsyncIterator[Incoming]:
        """What the peer sends that belongs to no call: `async for incoming in peer.messages`.

        Signals, and Responses to nothing, in order; the iteration ends when the peer has gone. A
        peer that is one of these waits when nobody takes them. Of what any other sends, the
        oldest is dropped then: `Incoming.missed`.
        """
        return self._link.inbox

    @property
    def info(self) -> Mapping[str, str]:
        """The text headers that the peer's program gave in its Hello, or in its answer to ours."""
        return self._link.hello

    @property
    def identity(self) -> PeerInfo:
        """Who the peer is, as the system and TLS say it: its address, user, certificate.

        What a peer could make up is in `info`. Empty if the connection had ended before this was
        asked for the first time.
        """
        return self._link.identity

    @property
    def connected(self) -> bool:
        """Whether the peer is there, as far as is known, and takes calls."""
        return self._link.usable

    @property
    def queued_bytes(self) -> int:
        """Bytes for this peer that the operating system has not taken yet; 0 once it has gone.

        Above `Options.high_water` what sends waits. What is in the kernel's buffers is not counted.
        """
        return self._link.outlet.queued_bytes

    @property
    def closed(self) -> trio.Event:
        """Set when the peer has gone for good."""
        return self._link.closed

    @property
    def reason(self) -> AmpeStatus:
        """Why it has gone; SUCCESS until then, and if it was in good order."""
        return self._link.reason

    @protected
    async def bye(self) -> None:
        """Close in good order: calls under way end first. Waits until the channel has closed.

        Nothing new can be asked from here on. A checkpoint; cancelled, it closes all the same.
        """
        await self._link.bye()

    @protected
    async def drain(self, seconds: float = BYE_TIME) -> None:
        """Take no more calls of the peer, let those under way end within the time, then say Bye.

        Those that have not ended by then are cut off: handlers are cancelled, callers get
        `Unanswered`.

        A checkpoint; cancelled, no more calls are taken all the same.
        """
        await self._link.drain(time_of("Peer.drain", seconds, or_none=True))

    def __repr__(self) -> str:
        state = f"closed: {self.reason.name}" if self.closed.is_set() else "open"
        return f"<Peer {state}>"
