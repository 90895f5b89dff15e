"""`connect`: a peer for the length of an `async with` block."""

import math
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Final

import trio

from pytofu.patterns.arguments import seconds
from pytofu.peers.arguments import (
    client_target,
    must_be_optional,
    must_fit_tls,
    must_take,
)
from pytofu.peers.ctrl_c import run_program
from pytofu.peers.errors import ConnectError
from pytofu.peers.heartbeat import watch
from pytofu.peers.hub import Hub
from pytofu.peers.incoming import NO_HEADERS
from pytofu.peers.link import BYE_TIME, Link
from pytofu.peers.peer import Handler, OnPeer, Peer
from pytofu.peers.reconnect import Backoff, LastingPeer
from pytofu.peers.wire import FEATURES, Features, checked, encoded
from pytofu.public.ampe import Ampe, open_ampe
from pytofu.public.borrowing import borrowed_message
from pytofu.public.managers import block
from pytofu.values.address_text import ClientAddress, address_text

_CALLS: Final = 64
"""How many calls of the peer the connecting side carries out at a time."""


@block
async def connect(
    address: str | ClientAddress,
    handler: Handler | None = None,
    *,
    hello: Mapping[str, str] = NO_HEADERS,
    reconnect: Backoff | None = None,
    heartbeat: float | None = None,
    on_peer: OnPeer | None = None,
    tls: ssl.SSLContext | None = None,
    ampe: Ampe | None = None,
) -> AsyncGenerator[Peer]:
    """A peer for the length of an `async with` block.

    `address` is `tcp://HOST:PORT`, `tls://HOST:PORT`, `uds://PATH` or an address object; `tls` says
    whom to trust. `handler` answers what the peer asks, 64 calls at a time. `hello` are headers for
    the peer to see as its `Peer.info`. `on_peer(peer)` is run, to its end, when the connection is
    there, before anything else is asked on it; what it raises leaves the block. With `heartbeat`, a
    peer from which nothing is heard for twice as many seconds is closed, here and by the peer, if
    both know of this. Without `ampe`, an engine for this connection alone is opened.

    With `reconnect`, entering the block waits until the peer is there, and a connection that ends
    is followed by another; `on_peer` is run on each, subscriptions come back by themselves, and
    calls wait while there is none: see `Backoff` and `Peer.call`. After `ConnectError`, `NotSent`
    and `Unanswered`, of `on_peer` too, it tries again; anything else that ends it while the block
    runs cancels that, and leaves it in an exception group.

    Raises `ConnectError` if nobody can be reached (not with `reconnect`), `RemoteError` if the peer
    does not let this one in, and ValueError for what is no address, for `tls` with one in clear,
    and for `tls://` with no context. Leaving the block says Bye and waits a short while for the
    answer; leaving it by an exception or by cancellation closes the connection at once, and the
    exception leaves it as itself.
    """
    target = client_target("connect", address)
    must_take("connect's handler", handler, "peer", "request")
    must_take("connect's on_peer", on_peer, "peer")
    must_be_optional("connect's reconnect", "a Backoff", Backoff, reconnect, "Backoff()")
    must_be_optional("connect's ampe", "an Ampe", Ampe, ampe)
    must_be_optional("connect's tls", "an ssl.SSLContext", ssl.SSLContext, tls)
    must_fit_tls("connect", [target], tls, own_engine=ampe is None)
    # It travels as a number in the Hello, and so has an end.
    if heartbeat is not None and seconds("connect's heartbeat", heartbeat) == math.inf:
        raise ValueError("connect's heartbeat takes a time with an end, not inf: None is none")
    # Raises for what no message can carry, before anything is opened.
    lines = encoded(*checked("connect's hello", hello).items())
    engine_manager = open_ampe() if ampe is None else nullcontext(ampe)
    async with engine_manager as engine, engine.open_channel_group(tls_client=tls) as chnls:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            try:
                hub = Hub(engine, chnls)
                nursery.start_soon(hub.run)
                open_one = partial(_open_link, hub, target, handler, lines, heartbeat)
                if reconnect is None:
                    peer = Peer(await open_one())
                    if on_peer is not None:
                        await run_program(on_peer, peer)
                else:
                    peer = LastingPeer()
                    nursery.start_soon(peer.keep, open_one, on_peer, reconnect, nursery)
                    await peer.wait_first_link()
                yield peer
                with trio.move_on_after(BYE_TIME):
                    await peer.bye()
            except BaseException as error:
                if nursery.cancel_scope.cancel_called:
                    raise  # it may be the cancellation that followed what failed in the nursery
                failure = error  # passes by the nursery, which would wrap it
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


async def _open_link(
    hub: Hub,
    target: ClientAddress,
    handler: Handler | None,
    hello: bytes,
    heartbeat: float | None,
) -> Link:
    """Connect, say Hello, and wait for the answer. Raises `ConnectError`."""
    own = Features(0 if handler is None else _CALLS, heartbeat)
    with borrowed_message(hub.ampe) as holder:
        message = holder.unwrap()
        target.format(message)
        features = encoded((FEATURES, own.to_text("client")))
        message.set_text_headers(message.raw_text_headers + features + hello)
        header = hub.chnls.post(holder)
    link = Link(
        hub.ampe,
        hub.chnls,
        hub.spawn,
        header.channel_number,
        hello_id=header.message_id,
        connecting=True,
        own=own,
    )
    hub.links[header.channel_number] = link
    if handler is not None:
        link.answering.handler = partial(handler, Peer(link))
    try:
        await link.settled.wait()
    except BaseException:
        link.abort()
        raise
    if link.refusal is not None:
        link.abort()
        raise link.refusal
    if link.closed.is_set():
        detail = f" ({link.detail})" if link.detail else ""
        where = address_text(target)
        text = f"cannot connect to {where}: {link.reason.name}{detail}"
        raise ConnectError(text, link.reason, link.detail)
    if heartbeat is not None and link.features is not None:
        link.accompany(partial(watch, link, heartbeat))
    return link
