"""`connect` (peers/client.py)."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import (
    Ampe,
    AmpeStatus,
    ConnectError,
    Incoming,
    OpCode,
    Peer,
    TCPClientAddress,
    UDSClientAddress,
    connect,
    open_ampe,
)
from pytofu.values.address_text import AddressError
from tests.peers.pairs import TCP, connected, counted, echo, scripted_server, serving
from tests.support import RawListener, ServerAddress, frame


async def test_nobody_there(tmp_path: Path) -> None:
    with RawListener(TCP) as listener:
        address = listener.client_address
    assert isinstance(address, TCPClientAddress)
    where = f"tcp://127.0.0.1:{address.port}"
    with pytest.raises(ConnectError, match=f"cannot connect to {where}: CONNECT_FAILED") as caught:
        async with connect(address):
            raise AssertionError
    assert caught.value.reason is AmpeStatus.CONNECT_FAILED
    assert caught.value.detail.startswith("ECONNREFUSED, ")
    with pytest.raises(ConnectError, match="UDS_PATH_NOT_FOUND"):
        async with connect(UDSClientAddress(tmp_path / "none")):
            raise AssertionError
    with pytest.raises(ConnectError, match="INVALID_ADDRESS"):
        async with connect("tcp://does-not-exist.invalid:1"):
            raise AssertionError


@pytest.mark.parametrize("text", ["", "tcp:/x", "http://x", "tcp://h:p"])
async def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressError):
        async with connect(text):
            raise AssertionError


async def test_a_rejected_hello() -> None:
    with RawListener(TCP) as listener:

        async def reject() -> None:
            with await listener.accept() as raw:
                await raw.receive_frame()
                await raw.send(frame(OpCode.BYE_RESPONSE, 1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reject)
            with pytest.raises(ConnectError):
                async with connect(listener.client_address):
                    raise AssertionError


async def test_what_the_hellos_say() -> None:
    async with connected(client={"hello": {"name": "me"}}) as both:
        assert both.server.info["name"] == "me"
        assert both.client.info == {}
    with pytest.raises(ValueError, match="tofu-x"):
        async with connect("tcp://127.0.0.1:1", hello={"tofu-x": "1"}):
            raise AssertionError


async def test_exceptions_leave_the_block_as_themselves(address: ServerAddress) -> None:
    async with serving(address=address) as where:
        with pytest.raises(KeyError):
            async with connect(where):
                raise KeyError
        with trio.CancelScope() as scope:
            async with connect(where):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_leaving_says_bye(address: ServerAddress) -> None:
    async with connected(address=address) as both:
        assert both.client.connected
        server = both.server
        assert repr(server) == "<Peer open>"
        await both.client.bye()
        assert both.client.closed.is_set()
        assert both.client.reason is AmpeStatus.SUCCESS
        await server.closed.wait()
        assert server.reason is AmpeStatus.SUCCESS
        assert not server.connected
        assert repr(server) == "<Peer closed: SUCCESS>"


async def test_a_peer_that_never_answers_the_bye_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with AsyncExitStack() as stack:
        peer, script = await stack.enter_async_context(scripted_server())
        stack.push_async_callback(script.expect, OpCode.BYE_REQUEST)
        before = trio.current_time()
        with trio.move_on_after(60):
            await peer.bye()
        assert trio.current_time() - before >= 30


async def test_several_peers_on_one_engine(address: ServerAddress) -> None:
    async with (
        counted() as ampe,
        serving(address=address, ampe=ampe) as where,
        connect(where, ampe=ampe) as one,
        connect(where, ampe=ampe) as two,
    ):
        assert (await one.call(b"1")).body == b"1"
        assert (await two.call(b"2")).body == b"2"
        assert ampe.statistics().groups == 3


async def test_a_handler_that_ends_the_program_ends_the_block() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise SystemExit

    async def asks(peer: Peer) -> None:
        await peer.call()

    async with serving(on_peer=asks) as where:
        with pytest.RaisesGroup(SystemExit, flatten_subgroups=True):
            async with connect(where, handler):
                await trio.sleep_forever()


async def test_the_engine_goes_away() -> None:
    async def engine(task_status: trio.TaskStatus[Ampe]) -> None:
        async with open_ampe() as ampe:
            task_status.started(ampe)
            await leave.wait()

    leave = trio.Event()
    async with serving() as where, trio.open_nursery() as nursery:
        ampe = await nursery.start(engine)
        async with connect(where, ampe=ampe) as peer:
            leave.set()
            await peer.closed.wait()
            assert peer.reason is AmpeStatus.SHUTDOWN_STARTED
            with pytest.raises(ConnectionError):
                await peer.call()


async def test_handlers_of_the_client_are_limited_too() -> None:
    running, most = 0, 0

    async def handler(peer: Peer, request: Incoming) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.testing.wait_all_tasks_blocked()
        running -= 1
        return b""

    async with connected(echo, client_handler=handler) as both, trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(both.server.call)
    assert most == 64
