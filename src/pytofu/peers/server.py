"""`serve`: a handler for whoever connects, until it is cancelled."""

import ssl
from contextlib import nullcontext
from functools import partial

import trio

from pytofu.patterns.arguments import seconds, wrong_type
from pytofu.peers.arguments import (
    count,
    must_be_optional,
    must_fit_tls,
    must_take,
    server_target,
)
from pytofu.peers.calls import log
from pytofu.peers.ctrl_c import protected, run_program
from pytofu.peers.errors import NotSent, RemoteError, Unanswered, single
from pytofu.peers.heartbeat import watch
from pytofu.peers.hub import Hub
from pytofu.peers.link import Link
from pytofu.peers.outlet import Outlet
from pytofu.peers.peer import Handler, OnPeer, Peer
from pytofu.peers.topics import Topics
from pytofu.peers.wire import Features, Headers, read_headers
from pytofu.public.ampe import Ampe, open_ampe
from pytofu.public.borrowing import borrowed_message
from pytofu.public.channel_group import ChannelGroup
from pytofu.values.address import parse_address
from pytofu.values.address_text import ServerAddress, address_text
from pytofu.values.errors import InvalidMessageIdException
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeStatus
from pytofu.values.text_headers import DETAIL, REASON

type Where = str | ServerAddress


@protected
async def serve(
    handler: Handler | None,
    *addresses: Where,
    calls_per_peer: int = 64,
    admit: OnPeer | None = None,
    on_peer: OnPeer | None = None,
    topics: Topics | None = None,
    grace: float = 5.0,
    tls: ssl.SSLContext | None = None,
    ampe: Ampe | None = None,
    task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls at the addresses until cancelled.

    Addresses are `tcp://HOST:PORT` (port 0: the system chooses), `tls://HOST:PORT`, `uds://PATH` or
    address objects; `nursery.start` gives them back as texts, with the real ports. `tls` has the
    certificate for those over TLS, and says whose to ask for. `handler(peer, request)` is run for
    each request, `calls_per_peer` at a time for each peer, and none waits for another; what it
    returns is the answer. `RemoteError` that it raises goes to the caller as it is, any other
    exception as code INTERNAL, and to the log (`pytofu.peers`).

    `admit(peer)` is run before a peer is let in, with what it said of itself (`Peer.info`) and what
    is known of it (`Peer.identity`): if it raises `RemoteError`, the peer's `connect` raises that,
    and the connection ends. Until it has returned, nothing that the peer asks is looked at.
    `on_peer(peer)` is run for each peer that has come, and cancelled when it goes; requests do not
    wait for it. What is published on `topics` peers can subscribe to.

    Cancelled, it stops accepting, lets calls under way end within `grace` seconds, and says Bye;
    of those that have not ended by then the handlers are cancelled, and callers get `Unanswered`.
    As long as one of them runs, handlers may still ask: their own peer, and others.
    Raises OSError if it cannot listen, or no more, and ValueError for what is no address, for `tls`
    with only addresses in clear, and for `tls://` with no context. Nothing is left behind.
    """
    if not addresses:
        raise ValueError("no address to listen on")
    targets = [server_target("serve", one) for one in addresses]
    must_take("serve's handler", handler, "peer", "request")
    must_take("serve's admit", admit, "peer")
    must_take("serve's on_peer", on_peer, "peer")
    must_be_optional("serve's topics", "Topics", Topics, topics, "Topics()")
    must_be_optional("serve's ampe", "an Ampe", Ampe, ampe)
    must_be_optional("serve's tls", "an ssl.SSLContext", ssl.SSLContext, tls)
    must_fit_tls("serve", targets, tls, own_engine=ampe is None)
    if not callable(getattr(task_status, "started", None)):
        raise wrong_type("serve's task_status", "what nursery.start gives", task_status)
    count("serve's calls_per_peer", calls_per_peer)
    seconds("serve's grace", grace, or_none=True)
    engine_manager = open_ampe() if ampe is None else nullcontext(ampe)
    async with engine_manager as engine, engine.open_channel_group(tls_server=tls) as chnls:
        failure: BaseException
        accepting = _Accepting(engine, chnls, handler, admit, on_peer, topics, calls_per_peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepting.hub.run)
            try:
                task_status.started(tuple([await accepting.listen(target) for target in targets]))
                await accepting.deaf.wait()
                raise accepting.why_deaf
            except BaseException as error:
                if nursery.cancel_scope.cancel_called:
                    raise  # it may be the cancellation that followed what failed in the nursery
                failure = error  # passes by the nursery, which would wrap it
            finally:
                with trio.CancelScope(shield=True):
                    await accepting.drain(grace)
                accepting.hub.scope.cancel()
        raise failure


class _Accepting:
    """Listeners, and a link for each peer that comes."""

    def __init__(
        self,
        ampe: Ampe,
        chnls: ChannelGroup,
        handler: Handler | None,
        admit: OnPeer | None,
        on_peer: OnPeer | None,
        topics: Topics | None,
        calls: int,
    ) -> None:
        # Shielded: what is under way when `serve` is cancelled is to end in good order.
        self.hub = Hub(ampe, chnls, self._arrived, shield=True)
        self._handler = handler
        self._admit = admit
        self._on_peer = on_peer
        self._topics = topics
        self._own = Features(calls=calls if handler is not None else 0)
        self.deaf: trio.Event = trio.Event()
        """Set when a listener has ended, whatever the others do."""
        self.why_deaf: OSError = OSError()
        self._listeners: dict[int, ServerAddress] = {}
        self._welcome: trio.Event = trio.Event()
        self._welcomed: tuple[str, AmpeStatus] = ("", AmpeStatus.SUCCESS)
        self._draining = False

    async def listen(self, target: ServerAddress) -> str:
        """Listen there; returns the address really bound. Raises OSError."""
        with borrowed_message(self.hub.ampe) as holder:
            target.format(holder.unwrap())
            self._welcome = trio.Event()
            self._listeners[self.hub.chnls.post(holder).channel_number] = target
        await self._welcome.wait()
        text, status = self._welcomed
        if status is not AmpeStatus.SUCCESS:
            raise OSError(f"cannot listen on {address_text(target)}: {text}")
        return text

    def _arrived(self, message: Message) -> None:
        """Take what belongs to no link."""
        if message.opcode is OpCode.WELCOME_RESPONSE:
            status = message.status
            detail = message.text_headers.get(DETAIL)
            failure = f"{status.name} ({detail})" if detail else status.name
            bound = address_text(parse_address(message))
            self._welcomed = (bound if status is AmpeStatus.SUCCESS else failure, status)
            self._welcome.set()
        elif message.opcode is OpCode.HELLO_REQUEST:
            self._accept(message)
        elif message.status is AmpeStatus.CHANNEL_CLOSED:
            self._closed(message)

    def _closed(self, message: Message) -> None:
        """Note the end of a listener, of which nobody else would hear."""
        target = self._listeners.get(message.channel_number)
        if target is None:
            return
        reason, detail = (message.text_headers.get(name) or "" for name in (REASON, DETAIL))
        why = f"{reason} ({detail})" if detail else reason
        self.why_deaf = OSError(f"cannot listen on {address_text(target)} any more: {why}")
        self.deaf.set()

    def _accept(self, message: Message) -> None:
        number, ident = message.channel_number, message.message_id
        link = Link(
            self.hub.ampe,
            self.hub.chnls,
            self.hub.spawn,
            number,
            hello_id=ident,
            connecting=False,
            own=self._own,
        )
        if self._draining:
            link.turn_away()
            return
        self.hub.links[number] = link
        peer = Peer(link)
        if self._handler is not None:
            link.answering.handler = partial(self._handler, peer)
        link.answering.topics = self._topics
        headers = read_headers(message)
        if self._admit is None:
            self._welcome_peer(link, peer, headers)
        else:
            link.keep_waiting(headers)
            link.accompany(partial(self._ask, self._admit, peer, link, headers))

    async def _ask(self, admit: OnPeer, peer: Peer, link: Link, headers: Headers) -> None:
        try:
            await run_program(admit, peer)
        except Exception as error:
            refusal = single(error)
            if not isinstance(refusal, RemoteError):
                log.exception("admit failed: the peer is sent away")
                refusal = RemoteError("INTERNAL")
            await link.refuse(refusal)
        else:
            if not self._draining:
                self._welcome_peer(link, peer, headers)
                link.let_in()

    def _welcome_peer(self, link: Link, peer: Peer, headers: Headers) -> None:
        try:
            link.answer_hello()
        except NotSent:
            return  # the end of the channel is on its way
        except InvalidMessageIdException:
            link.abort()  # the Hello's is 0, which no answer can have
            return
        link.greeted(headers, "client")
        if link.features is not None and link.features.heartbeat is not None:
            link.accompany(partial(watch, link, link.features.heartbeat))
        if self._on_peer is not None:
            link.accompany(partial(self._attend, self._on_peer, peer, link))

    async def _attend(self, on_peer: OnPeer, peer: Peer, link: Link) -> None:
        try:
            await run_program(on_peer, peer)
        except* (NotSent, Unanswered):
            link.abort()  # the peer has gone, or is no good
        except* Exception:
            log.exception("on_peer failed: the peer is sent away")
            link.abort()

    async def drain(self, grace: float) -> None:
        """Take no more peers and no more calls; let those under way end, and say Bye."""
        self._draining = True
        for number in self._listeners:
            Outlet(self.hub.ampe, self.hub.chnls, number).tell(OpCode.BYE_SIGNAL)
        links = list(self.hub.links.values())
        for link in links:
            if not link.settled.is_set():  # `admit` has not returned
                link.turn_away()
        end = trio.current_time() + grace
        with trio.CancelScope(deadline=end):  # a handler may need other peers than its own
            async with trio.open_nursery() as nursery:
                for link in links:
                    nursery.start_soon(link.finish_answering)
        async with trio.open_nursery() as nursery:
            for link in links:
                nursery.start_soon(link.drain, max(0, end - trio.current_time()))
