"""Listeners: opening, serving, failing, closing (PROTOCOL 2, 4 and 6)."""

import contextlib
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pytofu import (
    AmpeStatus,
    MemoryServerAddress,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    parse_address,
)
from tests.leaks import open_files
from tests.support import (
    App,
    Event,
    Headers,
    RawListener,
    RawPeer,
    ServerAddress,
    address_headers,
    closed,
    connect_apps,
    connect_socket,
    from_app,
    from_engine,
    has_socket_file,
    hello,
    open_app,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
LOOPBACK: Final = TCPServerAddress("127.0.0.1", 0)


# ---------------------------------------------------------------------- opening


async def test_the_answer_is_the_request_with_the_address_bound(tmp_path: Path) -> None:
    headers: Headers = (
        ("before", "1"),
        ("~listen_on", "tcp|127.0.0.1|0"),
        ("behind", "2"),
        ("~listen_on", "tcp|127.0.0.1|1"),
    )
    async with open_app() as app:
        header = app.post(OpCode.WELCOME_REQUEST, 0, 5, headers=headers, body=b"abc")
        assert header.message_id == 5
        answer = await app.event()
        bound = answer.headers[1][1]
        assert answer == from_app(
            OpCode.WELCOME_RESPONSE,
            header.channel_number,
            5,
            headers=(headers[0], ("~listen_on", bound), *headers[2:]),
            body=b"abc",
        )
        scheme, host, port = bound.split("|")
        assert (scheme, host) == ("tcp", "127.0.0.1")
        assert int(port) > 0
        with await RawPeer.connect(TCPClientAddress(host, int(port))) as peer:
            await peer.send(hello(6))
            assert (await app.event()).opcode is OpCode.HELLO_REQUEST


async def test_a_given_port_is_kept() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    async with open_app() as app:
        listener = await app.listen(TCPServerAddress("127.0.0.1", port))
        assert listener.address == TCPServerAddress("127.0.0.1", port)


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
async def test_all_interfaces(host: str) -> None:
    async with open_app() as app:
        header = app.post(OpCode.WELCOME_REQUEST, headers=(("~listen_on", f"tcp|{host}|0"),))
        answer = await app.receive()
        bound = parse_address(answer)
        assert isinstance(bound, TCPServerAddress)
        assert bound.host in ("0.0.0.0", "::")
        assert Event.of(answer) == from_app(
            OpCode.WELCOME_RESPONSE,
            header.channel_number,
            header.message_id,
            headers=(("~listen_on", f"tcp|{bound.host}|{bound.port}"),),
        )
        client = app.connect(TCPClientAddress("127.0.0.1", bound.port))
        request = await app.event()
        assert (request.opcode, request.message_id) == (OpCode.HELLO_REQUEST, client.message_id)


async def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with open_app() as app:
        listener = await app.listen(TCPServerAddress("::1", 0))
        assert isinstance(listener.address, TCPServerAddress)
        assert listener.address.host == "::1"
        await connect_apps(app, listener)


async def test_a_host_name() -> None:
    async with open_app() as app:
        header = app.post(OpCode.WELCOME_REQUEST, headers=(("~listen_on", "tcp|localhost|0"),))
        answer = await app.receive()
        assert Event.of(answer).status is AmpeStatus.SUCCESS
        assert answer.channel_number == header.channel_number
        bound = parse_address(answer)
        assert isinstance(bound, TCPServerAddress)
        assert bound.host in ("127.0.0.1", "::1")


async def test_the_socket_file_is_private_and_goes_with_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with open_app() as app:
        listener = await app.listen(UDSServerAddress(path))
        assert stat.filemode(path.stat().st_mode) == "srw-------"
        listener.post(OpCode.BYE_SIGNAL)
        await listener.events_until_closed()
        assert not path.exists()
        await app.listen(UDSServerAddress(path))
        assert path.exists()
    assert not path.exists()


async def test_the_port_of_a_listener_can_be_used_again_at_once() -> None:
    """Even with connections of it in TIME_WAIT."""
    async with open_app() as app:
        listener = await app.listen(LOOPBACK)
        client, server = await connect_apps(app, listener)
        server.post(OpCode.BYE_REQUEST, 6)
        await app.event()
        client.post(OpCode.BYE_RESPONSE, 6)
        await app.events_until_closed(client.number, server.number)
        listener.post(OpCode.BYE_SIGNAL)
        await listener.events_until_closed()
        again = await app.listen(listener.address)
        assert again.address == listener.address
        await connect_apps(app, again)


# ---------------------------------------------------------------------- failing to open


@attrs.frozen
class Refusal:
    """A WelcomeRequest that fails: its address header, and the status."""

    headers: Headers
    status: AmpeStatus


def listen_on(value: str) -> Headers:
    """The header for this address."""
    return (("~listen_on", value),)


@contextlib.contextmanager
def _refusal(name: str, path: Path) -> Iterator[Refusal]:
    match name:
        case "tcp port taken":
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))
                sock.listen()
                headers = listen_on(f"tcp|127.0.0.1|{sock.getsockname()[1]}")
                yield Refusal(headers, AmpeStatus.LISTEN_FAILED)
        case "not our host":
            yield Refusal(listen_on("tcp|192.0.2.1|0"), AmpeStatus.LISTEN_FAILED)
        case "uds live":
            with RawListener(UDSServerAddress(path)):
                yield Refusal(listen_on(f"uds|{path}"), AmpeStatus.LISTEN_FAILED)
        case "uds a file":
            path.write_text("precious")
            yield Refusal(listen_on(f"uds|{path}"), AmpeStatus.LISTEN_FAILED)
            assert path.read_text() == "precious"
        case "uds no directory":
            yield Refusal(listen_on(f"uds|{path}/s"), AmpeStatus.LISTEN_FAILED)
        case "connect_to":
            headers = (("~connect_to", "tcp|127.0.0.1|0"),)
            yield Refusal(headers, AmpeStatus.INVALID_ADDRESS)
        case "connect_to before listen_on":
            headers = (("~connect_to", "tcp|127.0.0.1|0"), *listen_on("tcp|127.0.0.1|0"))
            yield Refusal(headers, AmpeStatus.INVALID_ADDRESS)
        case "mem taken":
            with RawListener(MemoryServerAddress("taken")):
                yield Refusal(listen_on("mem|taken"), AmpeStatus.LISTEN_FAILED)
        case "no address":
            yield Refusal((("name", "value"),), AmpeStatus.INVALID_ADDRESS)
        case _:
            yield Refusal(listen_on(name), AmpeStatus.INVALID_ADDRESS)


REFUSALS: Final = [
    *("tcp port taken", "not our host", "uds live", "uds a file", "uds no directory"),
    *("connect_to", "connect_to before listen_on", "no address"),
    *("foo|bar|80", "tcp|127.0.0.1|1|2", "tcp|127.0.0.1", "tcp|127.0.0.1|-1", "uds|", "TCP|h|1"),
    *("tcp|127.0.0.1|65536", f"uds|/{'x' * 107}", "mem taken", "mem|", f"mem|{'x' * 108}"),
]


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_listener_that_cannot_be(name: str, tmp_path: Path) -> None:
    with _refusal(name, tmp_path / "s") as refusal:
        headers = (*refusal.headers, ("more", "headers"))
        async with open_app() as app:
            header = app.post(OpCode.WELCOME_REQUEST, 0, 5, headers=headers, body=b"abc")
            number = header.channel_number
            assert await app.events_until_closed(number) == [
                from_engine(
                    OpCode.WELCOME_RESPONSE,
                    refusal.status,
                    number,
                    5,
                    headers=headers,
                    body=b"abc",
                ),
                closed(number, 5, refusal.status),
            ]
            assert await app.rest() == []


@pytest.mark.parametrize("where", ["group", "engine", "another engine"])
async def test_a_second_listener_on_the_same_address(address: ServerAddress, where: str) -> None:
    async with open_app() as app, open_app() as foreign:
        listener = await app.listen(address)
        async with app.ampe.open_channel_group() as chnls:
            others = {"group": app, "engine": App(app.ampe, chnls), "another engine": foreign}
            other = others[where]
            headers = address_headers(listener.address)
            number = other.post(OpCode.WELCOME_REQUEST, 0, 5, headers=headers).channel_number
            status = AmpeStatus.LISTEN_FAILED
            assert await other.events_until_closed(number) == [
                from_engine(OpCode.WELCOME_RESPONSE, status, number, 5, headers=headers),
                closed(number, 5, status),
            ]
        await connect_apps(foreign, listener)  # which is as well as ever


async def test_reuse_port() -> None:
    """Zig always shares; here both have to ask for it. The system spreads the connections."""
    options = Options(reuse_port=True)
    async with open_app(options) as first, open_app(options) as second, open_app() as client:
        listener = await first.listen(LOOPBACK)
        twin = await second.listen(listener.address)
        assert twin.address == listener.address
        ends = {client.connect(listener.client_address).message_id for _ in range(64)}
        served: dict[str, int] = {"first": 0, "second": 0}

        async def serve(name: str, app: App) -> None:
            async for holder in app.chnls:
                assert holder.value is not None
                ends.discard(holder.value.message_id)
                served[name] += 1
                if not ends:
                    nursery.cancel_scope.cancel()

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve, "first", first)
                nursery.start_soon(serve, "second", second)
        assert sum(served.values()) == 64
        assert all(served.values())


async def test_a_dead_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    assert path.exists()
    async with open_app() as app:
        listener = await app.listen(UDSServerAddress(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await connect_apps(app, listener)
    assert not path.exists()


async def test_somebody_elses_socket_file_is_left_alone(tmp_path: Path) -> None:
    """Ours was removed, and another program listens there now."""
    path = tmp_path / "s"
    async with open_app() as app:
        listener = await app.listen(UDSServerAddress(path))
        path.unlink()
        with RawListener(UDSServerAddress(path)):
            listener.post(OpCode.BYE_SIGNAL)
            await listener.events_until_closed()
            assert path.exists()


# ---------------------------------------------------------------------- closing


async def test_bye_signal_closes_the_listener_and_leaves_what_it_accepted(
    address: ServerAddress,
) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        client_end, server_end = await connect_apps(client, listener)
        server.post(OpCode.BYE_SIGNAL, listener.number, 9, headers=(("a", "b"),), body=b"enough")
        assert await listener.events_until_closed() == [
            from_engine(
                OpCode.BYE_SIGNAL,
                CLOSED,
                listener.number,
                9,
                headers=(("a", "b"),),
                body=b"enough",
            ),
            listener.closed(CLOSED),
        ]
        late = client.connect(listener.client_address)
        failed, last = await late.events_until_closed()
        assert failed.status in (AmpeStatus.CONNECT_FAILED, AmpeStatus.UDS_PATH_NOT_FOUND)
        assert last == late.closed(failed.status)
        client_end.post(OpCode.REQUEST, 6)
        assert await server.event() == from_app(OpCode.REQUEST, server_end.number, 6)
        server_end.post(OpCode.RESPONSE, 6)
        assert await client.event() == from_app(OpCode.RESPONSE, client_end.number, 6)
        assert await server.rest() == await client.rest() == []


async def test_bye_signal_before_the_listener_listens(address: ServerAddress) -> None:
    async with open_app() as app:
        headers = address_headers(address)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 5, headers=headers).channel_number
        app.post(OpCode.BYE_SIGNAL, number, 6)
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, number, 6),
            from_engine(OpCode.WELCOME_RESPONSE, CLOSED, number, 5, headers=headers),
            closed(number, 5, CLOSED),
        ]
        assert not has_socket_file(address)


async def test_several_listeners_in_one_group(tmp_path: Path) -> None:
    async with open_app() as server, open_app() as client:
        listeners = [
            await server.listen(LOOPBACK),
            await server.listen(LOOPBACK),
            await server.listen(UDSServerAddress(tmp_path / "a")),
            await server.listen(UDSServerAddress(tmp_path / "b")),
        ]
        assert len({listener.number for listener in listeners}) == 4
        for listener in listeners:
            await connect_apps(client, listener)
        listeners[0].post(OpCode.BYE_SIGNAL)
        await listeners[0].events_until_closed()
        for listener in listeners[1:]:
            await connect_apps(client, listener)


async def test_what_connects_before_the_listener_looks_is_served(
    address: ServerAddress,
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with contextlib.ExitStack() as stack:
            for message_id in range(50):
                peer = stack.enter_context(await RawPeer.connect(listener.client_address))
                await peer.send(hello(1 + message_id))
            requests = await app.events(50)
            assert {request.opcode for request in requests} == {OpCode.HELLO_REQUEST}
            assert {request.message_id for request in requests} == set(range(1, 51))
            assert len({request.channel for request in requests}) == 50


async def test_accepting_goes_on_when_there_are_files_again(
    socket_address: ServerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        listener = await app.listen(socket_address)
        where = listener.client_address
        assert isinstance(where, TCPClientAddress | UDSClientAddress)
        tcp = isinstance(where, TCPClientAddress)
        sock = trio.socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        with RawPeer(sock) as peer:
            with no_more_files():
                await connect_socket(sock, where)
                await peer.send(hello(5))
                assert await app.rest() == []
            request = await app.event()
            assert (request.opcode, request.message_id) == (OpCode.HELLO_REQUEST, 5)
    assert "accepting again later" in caplog.text


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open no file, socket or anything while the block lasts."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(open_files())
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        with contextlib.suppress(OSError):  # too many open files
            while True:
                stack.callback(os.close, os.dup(0))
        yield
