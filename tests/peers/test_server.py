"""`serve` (peers/server.py): listening, peers that come, draining."""

from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import (
    AmpeError,
    Incoming,
    NotSent,
    OpCode,
    Options,
    Peer,
    TCPServerAddress,
    UDSServerAddress,
    Unanswered,
    connect,
    open_ampe,
    serve,
)
from pytofu.engine.listener import Listener
from pytofu.links.base import LinkError
from pytofu.peers.link import Link
from pytofu.values.address_text import client_address
from tests.peers.pairs import TCP, connected, counted, echo, scripted_client, serving
from tests.support import RawPeer, hello


async def test_several_addresses(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        path = tmp_path / "s"
        texts = await nursery.start(serve, echo, TCP, "tcp://127.0.0.1:0", f"uds://{path}")
        assert len(set(texts)) == 3
        assert texts[2] == f"uds://{path}"
        for text in texts:
            async with connect(text) as peer:
                assert (await peer.call(b"x")).body == b"x"
        nursery.cancel_scope.cancel()


async def test_where_it_cannot_listen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no address"):
        await serve(echo)
    with pytest.raises(ValueError, match="not an address"):
        await serve(echo, "nowhere")
    async with serving() as where:
        port = int(where.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on {where}: LISTEN_FAILED"):
            await serve(echo, TCPServerAddress("127.0.0.1", port))
    with pytest.raises(OSError, match="cannot listen on uds"):
        await serve(echo, UDSServerAddress(tmp_path / "no" / "s"))


async def test_where_it_can_listen_no_more() -> None:
    """It lets calls under way end, as when it is cancelled."""
    go_on = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        (listener,) = (one for one in engine.numbers.open.values() if isinstance(one, Listener))
        listener.cannot_accept(LinkError(AmpeError.ACCEPT_FAILED, "EINVAL"))
        await go_on.wait()
        return b"all the same"

    async def call(peer: Peer) -> None:
        assert (await peer.call()).body == b"all the same"

    async with counted() as ampe, trio.open_nursery() as nursery:
        engine = ampe._engine

        async def run(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
            why = r"cannot listen on tcp://127.0.0.1:0 any more: ACCEPT_FAILED \(EINVAL\)"
            with pytest.raises(OSError, match=why):
                await serve(handler, TCP, ampe=ampe, task_status=task_status)

        (where,) = await nursery.start(run)
        async with connect(where) as peer, trio.open_nursery() as calls:
            calls.start_soon(call, peer)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
            await peer.closed.wait()


async def test_on_peer_is_run_for_each_peer_and_ends_with_it() -> None:
    ended: list[str] = []

    async def on_peer(peer: Peer) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(peer.info["name"])

    async with serving(on_peer=on_peer) as where:
        for name in "ab":
            async with connect(where, hello={"name": name}):
                pass
            await trio.testing.wait_all_tasks_blocked()
        assert ended == ["a", "b"]


async def test_an_on_peer_that_fails_sends_the_peer_away(caplog: pytest.LogCaptureFixture) -> None:
    async def on_peer(peer: Peer) -> None:
        await anext(peer.messages)
        raise ValueError

    async with serving(on_peer=on_peer) as where, connect(where) as peer:
        await peer.signal()
        with trio.fail_after(5):
            await peer.closed.wait()
    assert caplog.records[0].getMessage() == "on_peer failed: the peer is sent away"


@pytest.mark.parametrize("others", [None, 0, 1])
async def test_an_on_peer_whose_peer_goes_is_no_failure(
    others: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it in a nursery, with or without tasks that are cancelled at the same moment."""

    async def on_peer(peer: Peer) -> None:
        if others is None:
            await peer.call()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.call)
            for _ in range(others or 0):
                nursery.start_soon(trio.sleep_forever)

    async with serving(on_peer=on_peer) as where:
        async with scripted_client(where) as script:
            await script.expect(OpCode.REQUEST)
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with scripted_client(where) as script:
            await script.expect(OpCode.REQUEST)
    assert caplog.records == []


async def test_a_handler_that_ends_the_program_ends_the_server() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise SystemExit

    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
            with pytest.RaisesGroup(SystemExit, flatten_subgroups=True):
                await serve(handler, TCP, task_status=task_status)

        (where,) = await nursery.start(run)
        async with connect(where) as peer:
            with pytest.raises(ConnectionError):
                await peer.call()


async def test_a_task_of_a_link_that_has_ended_ends_at_once() -> None:
    started = False

    async def task() -> None:
        nonlocal started
        started = True
        await trio.sleep_forever()

    async with connected() as both:
        await both.client.bye()
        both.client._link.accompany(task)
        await trio.testing.wait_all_tasks_blocked()
        assert started
        assert not both.client._link._companions


async def test_peers_that_go_before_they_are_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        came.append(peer)

    def gone(link: Link) -> None:
        raise NotSent(AmpeError.CHANNEL_CLOSED)

    async with counted() as ampe, serving(ampe=ampe, on_peer=on_peer) as where:
        with monkeypatch.context() as patched:
            patched.setattr(Link, "answer_hello", gone)
            with await RawPeer.connect(client_address(where)) as raw:
                await raw.send(hello())
                await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert came == []
        async with connect(where) as peer:
            await peer.call()


# ---------------------------------------------------------------------- draining


async def test_a_cancelled_server_lets_calls_end(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        started.set()
        await trio.sleep(1)
        return b"done"

    async with trio.open_nursery() as nursery:
        server = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
            with server:
                await serve(handler, TCP, task_status=task_status)

        (where,) = await nursery.start(run)
        async with connect(where) as peer:
            async with trio.open_nursery() as callers:

                async def ask() -> None:
                    assert (await peer.call()).body == b"done"

                callers.start_soon(ask)
                await started.wait()
                server.cancel()
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(NotSent, match="takes no more calls"):
                    await peer.call()
                with pytest.raises(NotSent, match="leaving"):
                    await peer.call()
            await peer.closed.wait()
        with pytest.raises(ConnectionError):
            async with connect(where):
                raise AssertionError


@pytest.mark.parametrize("seconds", [0, 2])
async def test_draining_ends_what_does_not_end_in_time(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    ended = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    async with connected(handler) as both, trio.open_nursery() as nursery:
        before = trio.current_time()

        async def ask() -> None:
            with pytest.raises(Unanswered):
                await both.client.call()

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await both.server.drain(seconds)
        await ended.wait()
        await both.client.closed.wait()
        assert trio.current_time() - before == seconds


async def test_a_stream_that_has_ended_holds_up_no_drain(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Though the block that opened it goes on."""
    async with connected() as both, both.client.stream() as stream:
        await stream.finish()
        before = trio.current_time()
        await both.server.drain(0)
        assert trio.current_time() == before


async def test_one_peer_is_drained() -> None:
    async with connected() as both:
        await both.server.drain()
        assert both.server.closed.is_set()
        with pytest.raises(NotSent):
            await both.client.call()


async def test_a_server_that_is_full_goes_on() -> None:
    options = Options(max_channels=3)
    async with (
        open_ampe(options) as ampe,
        serving(ampe=ampe) as where,
        connect(where) as first,
        connect(where),
        trio.open_nursery() as nursery,
    ):

        async def come_later() -> None:
            async with connect(where) as third:
                assert (await third.call(b"x")).body == b"x"

        nursery.start_soon(come_later)
        await trio.testing.wait_all_tasks_blocked()
        assert ampe.statistics().limits_reached["max_channels"] >= 1
        await first.bye()


async def test_a_hello_while_draining_is_rejected(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        started.set()
        await trio.sleep(1)
        return b""

    async with trio.open_nursery() as nursery:
        server = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
            with server:
                await serve(handler, TCP, task_status=task_status)

        (where,) = await nursery.start(run)
        # Connected, but silent until the server drains.
        with await RawPeer.connect(client_address(where)) as raw:
            async with connect(where) as peer, trio.open_nursery() as callers:
                callers.start_soon(peer.call)
                await started.wait()
                server.cancel()
                await trio.testing.wait_all_tasks_blocked()
                await raw.send(hello())
                assert (await raw.receive_frame()).opcode is OpCode.BYE_RESPONSE


async def test_a_handler_under_way_may_ask_others_while_the_server_drains() -> None:
    """As a broker does: its answer to the one is the answer of the other."""
    workers: list[Peer] = []
    asked, go_on = trio.Event(), trio.Event()

    async def on_peer(peer: Peer) -> None:
        if "worker" in peer.info:
            workers.append(peer)

    async def broker(peer: Peer, request: Incoming) -> bytes:
        asked.set()
        await go_on.wait()
        parts = [(await workers[0].call(request.body)).body for _ in range(3)]
        return b"".join(parts)

    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        async with serving(broker, on_peer=on_peer) as where:

            async def work(*, task_status: trio.TaskStatus[None]) -> None:
                async with connect(where, echo, hello={"worker": "1"}) as peer:
                    task_status.started()
                    await peer.closed.wait()

            async def ask() -> None:
                async with connect(where) as peer:
                    answers.append((await peer.call(b"x")).body)

            await nursery.start(work)
            nursery.start_soon(ask)
            await asked.wait()
            nursery.start_soon(_set_when_blocked, go_on)
        assert answers == [b"xxx"]


async def _set_when_blocked(event: trio.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    event.set()
