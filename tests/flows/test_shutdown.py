"""Leaving: a group or the whole engine, in good order or at once (PROTOCOL 4 and 6)."""

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final, Literal

import pytest
import trio
import trio.testing

from pytofu import (
    AllocationStrategy,
    Ampe,
    AmpeStatus,
    Holder,
    OpCode,
    Options,
    ShutdownException,
    TCPServerAddress,
    UDSServerAddress,
    open_ampe,
)
from tests.support import (
    FIN,
    HELLO_HEADERS,
    PATIENCE,
    App,
    RawListener,
    RawPeer,
    ServerAddress,
    Side,
    abort_ending,
    abort_reason,
    address_headers,
    clog,
    connect_apps,
    frame,
    from_app,
    from_engine,
    has_socket_file,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
    tls_options,
)

LOOPBACK: Final = TCPServerAddress("127.0.0.1", 0)

type Scope = Literal["group", "engine"]


@pytest.fixture(params=["group", "engine"])
def scope(request: pytest.FixtureRequest) -> Scope:
    """What is left: the channel group, or the engine with all its groups."""
    scope: Scope = request.param
    return scope


@asynccontextmanager
async def open_either(scope: Scope, options: Options | None = None) -> AsyncIterator[App]:
    """An application, of which the block's end leaves the group only, or the engine."""
    if scope == "group":
        async with open_ampe(tls_options(options)) as ampe:
            async with ampe.open_channel_group() as chnls:
                yield App(ampe, chnls)
            assert ampe.statistics().groups == ampe.statistics().channels == 0
            ampe.put(Holder(ampe.get()))  # the engine is as well as ever
    else:
        async with open_ampe(tls_options(options)) as ampe:
            yield App(ampe, ampe.create())
        assert ampe.statistics().groups == ampe.statistics().channels == 0


async def connect_raw_peers(
    app: App, address: ServerAddress, stack: ExitStack
) -> dict[int, RawPeer]:
    """Two peers that have said hello, by channel number: a client, and a server.

    They belong to `stack`, so that they can outlive the application.
    """
    listener = await app.listen(address)
    client = stack.enter_context(await RawPeer.connect(listener.client_address))
    await client.send(hello(5))
    incoming = await app.event()
    assert incoming == from_app(OpCode.HELLO_REQUEST, incoming.channel, 5, headers=HELLO_HEADERS)
    app.post(OpCode.HELLO_RESPONSE, incoming.channel, 5)
    assert (await client.receive_frame()).opcode is OpCode.HELLO_RESPONSE
    where: ServerAddress = LOOPBACK
    if isinstance(address, UDSServerAddress):
        where = UDSServerAddress(f"{address.path}.raw")
    raw_listener = stack.enter_context(RawListener(where))
    outgoing = app.connect(raw_listener.client_address)
    server = stack.enter_context(await raw_listener.accept())
    await server.receive_frame()
    await server.send(frame(OpCode.HELLO_RESPONSE, outgoing.message_id))
    assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
    return {incoming.channel: client, outgoing.number: server}


# ---------------------------------------------------------------------- in good order


async def test_what_was_posted_is_sent_then_fin(address: ServerAddress, scope: Scope) -> None:
    """Far more than fits the sockets; the peers read while the application leaves."""
    body = bytes(60_000)

    async def read(number: int, peer: RawPeer) -> None:
        sent = b"".join(frame(2, i, channel=number, body=body) for i in range(1000, 1100))
        assert await peer.ending() == (sent, FIN)
        peer.close()

    with ExitStack() as stack:
        async with trio.open_nursery() as nursery, open_either(scope) as app:
            peers = await connect_raw_peers(app, address, stack)
            for number, peer in peers.items():
                for message_id in range(1000, 1100):
                    app.post(OpCode.SIGNAL, number, message_id, body=body)
                nursery.start_soon(read, number, peer)


async def test_the_peers_application_receives_everything(
    address: ServerAddress, scope: Scope, side: Side
) -> None:
    async with open_app() as far_app:
        async with open_either(scope) as near_app:
            server, client = (near_app, far_app) if side == "server" else (far_app, near_app)
            listener = await server.listen(address)
            client_end, server_end = await connect_apps(client, listener)
            near, far = (server_end, client_end) if side == "server" else (client_end, server_end)
            for message_id in range(1000, 1100):
                near.post(OpCode.SIGNAL, message_id, body=bytes(60_000))
        assert await far.events_until_closed() == [
            *(
                from_app(OpCode.SIGNAL, far.number, message_id, body=bytes(60_000))
                for message_id in range(1000, 1100)
            ),
            far.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        assert await far_app.rest() == []


async def test_a_hello_that_is_under_way_is_sent(address: ServerAddress, scope: Scope) -> None:
    async with open_app() as server:
        listener = await server.listen(address)
        async with open_either(scope) as client:
            end = client.connect(listener.client_address)
            end.post(OpCode.REQUEST, 6, body=b"and that was all")
        accepted = await server.accept(listener.client_address, end.message_id)
        assert await accepted.events_until_closed() == [
            from_app(OpCode.REQUEST, accepted.number, 6, body=b"and that was all"),
            accepted.closed(AmpeStatus.PEER_DISCONNECTED),
        ]


async def test_a_peer_that_is_sending_does_not_destroy_what_is_on_its_way(
    address: ServerAddress, scope: Scope
) -> None:
    """A close with something unread would be a reset, which overtakes what was sent."""
    talking = trio.CancelScope()

    async def talk(peer: RawPeer) -> None:
        with talking:
            while True:
                await peer.send(frame(OpCode.REQUEST, 9, body=bytes(50_000)))

    async def read(number: int, peer: RawPeer) -> None:
        for message_id in range(1000, 1020):
            received = await peer.receive_frame()
            assert (received.message_id, received.channel) == (message_id, number)
        talking.cancel()
        peer.fin()
        assert await peer.ending() == (b"", FIN)

    with ExitStack() as stack:
        options = Options(initial_pool_msgs=4, max_pool_msgs=4)
        async with trio.open_nursery() as nursery, open_either(scope, options) as app:
            (_, other), (number, peer) = (await connect_raw_peers(app, address, stack)).items()
            other.fin()
            nursery.start_soon(talk, peer)
            await trio.testing.wait_all_tasks_blocked(0.002)  # the pool is dry, the sockets full
            for message_id in range(1000, 1020):
                app.post(OpCode.SIGNAL, number, message_id, body=bytes(1000))
            nursery.start_soon(read, number, peer)


async def test_unsent_messages_of_the_peer_come_back_to_it(
    address: ServerAddress, scope: Scope
) -> None:
    """The application leaves without having read them; the peer is told of all that were left."""
    count, body = 200, bytes(60_000)
    options = Options(initial_pool_msgs=1, max_pool_msgs=1, close_timeout=0.2)
    async with open_app() as client:
        async with open_either(scope, options) as server:
            listener = await server.listen(address)
            end, _ = await connect_apps(client, listener)
            before = client.chnls.statistics().messages_sent
            for message_id in range(1000, 1000 + count):
                end.post(OpCode.SIGNAL, message_id, body=body)
            await trio.testing.wait_all_tasks_blocked(0.002)
            sent = client.chnls.statistics().messages_sent - before
            assert sent < count
        # What the leaving side throws away while it waits for the peer counts as sent.
        *returned, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.PEER_DISCONNECTED)
        assert len(returned) <= count - sent
        assert returned == [
            from_engine(OpCode.SIGNAL, AmpeStatus.CHANNEL_CLOSED, end.number, i, body=body)
            for i in range(1000 + count - len(returned), 1000 + count)
        ]


async def test_listeners_close(address: ServerAddress, scope: Scope) -> None:
    async with open_app() as client:
        async with open_either(scope) as server:
            listener = await server.listen(address)
            await connect_apps(client, listener)
        assert not has_socket_file(listener.address)
        end = client.connect(listener.client_address)
        *_, last = await client.events_until_closed(end.number)
        assert last.reason in (AmpeStatus.CONNECT_FAILED, AmpeStatus.UDS_PATH_NOT_FOUND)


async def test_what_was_received_goes_back_to_the_pool(address: ServerAddress) -> None:
    options = Options(initial_pool_msgs=100, max_pool_msgs=100, channel_share=1)
    async with open_app(options) as app:
        group = app.ampe.create()
        inner = App(app.ampe, group)
        listener = await inner.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5) + frame(0) * 20)
            await trio.testing.wait_all_tasks_blocked(0.002)
            assert group.statistics().messages_waiting == 21
            assert app.ampe.statistics().pool_free == 100 - 21
            peer.fin()
            await app.ampe.destroy(group)
            assert app.ampe.statistics().pool_free == 100
            assert group.statistics().messages_waiting == 0


async def test_unsent_messages_of_a_closed_group_go_back_to_the_pool(
    address: ServerAddress, side: Side
) -> None:
    options = Options(initial_pool_msgs=1000, max_pool_msgs=1000, close_timeout=0.05)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        await clog(pair)
        assert pair.app.ampe.statistics().pool_free == 1000
        await pair.app.ampe.destroy(pair.app.chnls)
        assert pair.app.ampe.statistics().pool_free == 1000


async def test_other_groups_live_on(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        ampe = pair.server.app.ampe
        async with ampe.open_channel_group() as chnls:
            other = App(ampe, chnls)
            listener = await other.listen(LOOPBACK)
            late, _ = await connect_apps(pair.client.app, listener)
        assert await late.events_until_closed() == [late.closed(AmpeStatus.PEER_DISCONNECTED)]
        pair.client.post(OpCode.REQUEST, 6)
        assert await pair.server.app.event() == from_app(OpCode.REQUEST, pair.server.number, 6)
        await connect_apps(pair.client.app, pair.listener)


async def test_engines_know_nothing_of_each_other(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        async with open_app() as third:
            await connect_apps(third, pair.listener)
        await pair.server.app.event()
        pair.client.post(OpCode.REQUEST, 6)
        assert await pair.server.app.event() == from_app(OpCode.REQUEST, pair.server.number, 6)


async def test_destroying_an_empty_or_a_closed_group() -> None:
    async with open_app() as app:
        group = app.ampe.create()
        await app.ampe.destroy(group)  # whose task has not even begun
        await app.ampe.destroy(group)
        another = app.ampe.create()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(app.ampe.destroy, another)
        assert app.ampe.statistics().groups == 1


async def test_groups_that_nobody_destroyed_close_with_the_engine(address: ServerAddress) -> None:
    async with open_app() as client:
        async with open_ampe(tls_options()) as ampe:
            groups = [App(ampe, ampe.create()) for _ in range(3)]
            listener = await groups[0].listen(address)
            ends = [(await connect_apps(client, listener))[0] for _ in range(3)]
        assert sorted(await client.events(3), key=lambda event: event.channel) == [
            end.closed(AmpeStatus.PEER_DISCONNECTED)
            for end in sorted(ends, key=lambda end: end.number)
        ]
        for group in groups:
            with pytest.raises(ShutdownException):
                await group.chnls.wait_receive()


# ---------------------------------------------------------------------- afterwards


async def test_what_still_works_in_a_closed_group(address: ServerAddress) -> None:
    async with open_app() as app:
        async with app.ampe.open_channel_group() as chnls:
            closed = App(app.ampe, chnls)
            listener = await closed.listen(address)
        holder = closed.message(OpCode.WELCOME_REQUEST, headers=address_headers(listener.address))
        with pytest.raises(ShutdownException):
            chnls.post(holder)
        with pytest.raises(ShutdownException):
            await chnls.send(holder)
        with pytest.raises(ShutdownException):
            chnls.update_receiver(holder)
        with pytest.raises(ShutdownException):
            await chnls.wait_receive(timeout_ns=0)
        with pytest.raises(ShutdownException):
            chnls.receive_nowait()
        assert holder.value is not None
        assert holder.value.status is AmpeStatus.SHUTDOWN_STARTED
        app.chnls.post(holder)  # another group of the engine takes it
        assert (await app.event()).opcode is OpCode.WELCOME_RESPONSE


async def test_what_still_works_in_a_closed_engine() -> None:
    async with open_ampe(tls_options()) as ampe:
        chnls = ampe.create()
        app = App(ampe, chnls)
        holder = app.message(OpCode.WELCOME_REQUEST, headers=address_headers(LOOPBACK))
        free = ampe.statistics().pool_free
    for strategy in AllocationStrategy:
        with pytest.raises(ShutdownException):
            ampe.get(strategy)
    with pytest.raises(ShutdownException):
        ampe.create()
    with pytest.raises(ShutdownException):
        async with ampe.open_channel_group():
            pass
    with pytest.raises(ShutdownException):
        chnls.post(holder)
    with pytest.raises(ShutdownException):
        await chnls.wait_receive()
    with pytest.raises(ShutdownException):
        chnls.update_receiver(Holder())
    await ampe.destroy(chnls)
    ampe.put(holder)
    assert holder.is_empty()
    assert ampe.statistics().pool_free == free + 1


async def test_while_the_engine_is_closing(address: ServerAddress, side: Side) -> None:
    """A peer that does not close keeps it closing; nothing new begins meanwhile."""
    options = Options(close_timeout=0.1)
    checked = False
    async with open_raw_pair(side, address, options=options) as pair:

        async def check() -> None:
            nonlocal checked
            assert await pair.peer.ending() == (b"", FIN)  # half of it: it waits for ours
            with pytest.raises(ShutdownException):
                pair.app.ampe.get()
            with pytest.raises(ShutdownException):
                pair.app.ampe.create()
            with pytest.raises(ShutdownException):
                pair.end.post(OpCode.REQUEST, 6)
            checked = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(check)
            pair.app.ampe._engine.close(abort=False)
            await pair.app.ampe._engine.closed.wait()
    assert checked


# ---------------------------------------------------------------------- at once


class OwnError(Exception):
    """The application's own."""


async def test_an_exception_resets_everything_and_goes_on_bare(
    address: ServerAddress, scope: Scope
) -> None:
    error = OwnError()
    peers: dict[int, RawPeer] = {}

    async def leave() -> None:
        async with open_either(scope) as app:
            peers.update(await connect_raw_peers(app, address, stack))
            for number, peer in peers.items():
                app.post(OpCode.SIGNAL, number, 6)
                await peer.receive_frame()
            for number in peers:
                app.post(OpCode.SIGNAL, number, 7, body=b"never sent")
            raise error

    with ExitStack() as stack:
        with pytest.raises(OwnError) as caught:
            await leave()
        assert caught.value is error
        for peer in peers.values():
            assert await peer.ending() == (b"", abort_ending(address))


async def test_a_cancellation_resets_everything(address: ServerAddress, scope: Scope) -> None:
    with ExitStack() as stack:
        with trio.CancelScope() as cancelled:
            async with open_either(scope) as app:
                peers = await connect_raw_peers(app, address, stack)
                cancelled.cancel()
                await app.chnls.wait_receive()
        assert cancelled.cancelled_caught
        for peer in peers.values():
            assert await peer.ending() == (b"", abort_ending(address))


async def test_a_peers_application_when_the_other_is_aborted(
    address: ServerAddress, scope: Scope
) -> None:
    async with open_app() as client:
        with contextlib.suppress(OwnError):
            async with open_either(scope) as server:
                listener = await server.listen(address)
                end, _ = await connect_apps(client, listener)
                raise OwnError
        assert await end.events_until_closed() == [end.closed(abort_reason(address))]
        assert not has_socket_file(address)


async def test_cancelling_the_orderly_end_resets_the_rest(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        started = time.monotonic()
        with trio.move_on_after(0.02) as cancelled:
            await pair.app.ampe.destroy(pair.app.chnls)
        assert cancelled.cancelled_caught
        assert time.monotonic() - started < 1
        assert pair.app.ampe.statistics().channels == 0
        received, ending = await pair.peer.ending()
        assert ending == abort_ending(address)
        assert clogged.stream().startswith(received)


async def test_cancelling_the_orderly_end_of_the_engine(address: ServerAddress) -> None:
    """The block is done; the exit hangs on a peer that does not close; somebody loses patience."""
    with ExitStack() as stack:
        started = time.monotonic()
        with trio.CancelScope() as cancelled:
            async with open_either("engine") as app:
                peers = await connect_raw_peers(app, address, stack)
                cancelled.deadline = trio.current_time() + 0.02
        assert cancelled.cancelled_caught
        assert time.monotonic() - started < 1
        for peer in peers.values():
            data, _ = await peer.ending()
            assert data == b""


async def test_an_exception_ends_a_group_that_is_closing_in_good_order(
    address: ServerAddress, side: Side
) -> None:
    options = Options(close_timeout=PATIENCE)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        await clog(pair)
        ampe: Ampe = pair.app.ampe
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ampe.destroy, pair.app.chnls)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert ampe.statistics().groups == 0
