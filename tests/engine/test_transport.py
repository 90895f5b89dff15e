"""Sockets: connecting, listening, and the two ways of closing (PROTOCOL 2 and 6)."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu.engine import transport
from pytofu.engine.transport import ACCEPT_LATER, Listening, accept_all, connect, listen
from pytofu.patterns.result import Err
from pytofu.values.address import (
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
)
from pytofu.values.status import AmpeError
from tests.support import PATIENCE, ClientAddress, ServerAddress, client_address_of

CONNECT_FAILED = Err(AmpeError.CONNECT_FAILED)
INVALID_ADDRESS = Err(AmpeError.INVALID_ADDRESS)
LISTEN_FAILED = Err(AmpeError.LISTEN_FAILED)
LOCALHOST = TCPServerAddress("127.0.0.1", 0)


async def listening(address: ServerAddress, *, reuse_port: bool = False) -> closing[Listening]:
    """A listening socket, for a `with`."""
    return closing((await listen(address, reuse_port=reuse_port)).unwrap())


async def connected(address: ClientAddress) -> closing[socket.socket]:
    """A connection, for a `with`."""
    with trio.fail_after(PATIENCE):
        return closing((await connect(address)).unwrap())


def exists(path: str) -> bool:
    return os.path.lexists(path)


def write(path: str, text: str = "") -> None:
    Path(path).write_text(text)


def read(path: str) -> str:
    return Path(path).read_text()


def has_ipv6() -> bool:
    """Whether ::1 can be used here."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


class NoSuchHost(trio.abc.HostnameResolver):
    """Knows no name, without asking anybody."""

    async def getaddrinfo(self, *args: object, **kwargs: object) -> list[object]:  # type: ignore[override]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: object) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


# ---------------------------------------------------------------------- both ends


async def test_a_connection_carries_bytes_both_ways(address: ServerAddress) -> None:
    with await listening(address) as listener:
        assert list(accept_all(listener.sock)) == []
        with await connected(client_address_of(listener.address)) as client:
            (accepted,) = accept_all(listener.sock)
            with accepted:
                client.send(b"ping")
                await trio.lowlevel.wait_readable(accepted)
                assert accepted.recv(9) == b"ping"
                accepted.send(b"pong")
                await trio.lowlevel.wait_readable(client)
                assert client.recv(9) == b"pong"


async def test_no_socket_blocks_and_no_child_process_inherits_one(address: ServerAddress) -> None:
    with (
        await listening(address) as listener,
        await connected(client_address_of(listener.address)) as client,
    ):
        (accepted,) = accept_all(listener.sock)
        with accepted:
            for sock in (listener.sock, client, accepted):
                assert not sock.getblocking()
                assert not sock.get_inheritable()


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_both_ends_of_a_tcp_connection_send_without_delay(host: str) -> None:
    with (
        await listening(TCPServerAddress(host, 0)) as listener,
        await connected(client_address_of(listener.address)) as client,
    ):
        (accepted,) = accept_all(listener.sock)
        with accepted:
            for sock in (client, accepted):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_all_connections_that_wait_are_accepted(address: ServerAddress) -> None:
    with await listening(address) as listener, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(await connected(client_address_of(listener.address)))
        accepted = [stack.enter_context(sock) for sock in accept_all(listener.sock)]
        assert len(accepted) == 20


# ---------------------------------------------------------------------- connecting over TCP


async def test_connecting_where_nobody_listens_is_refused() -> None:
    with await listening(LOCALHOST) as listener:
        address = client_address_of(listener.address)
    assert await connect(address) == CONNECT_FAILED


async def test_connecting_to_port_zero_fails() -> None:
    assert await connect(TCPClientAddress("127.0.0.1", 0)) == CONNECT_FAILED


async def test_connecting_to_an_empty_host_or_path_has_no_valid_address() -> None:
    assert await connect(TCPClientAddress("", 7099)) == INVALID_ADDRESS
    assert await connect(UDSClientAddress("")) == INVALID_ADDRESS


async def test_a_name_that_nobody_knows_is_no_valid_address() -> None:
    trio.socket.set_custom_hostname_resolver(NoSuchHost())
    assert await connect(TCPClientAddress("nowhere.invalid")) == INVALID_ADDRESS
    assert await listen(TCPServerAddress("nowhere.invalid"), reuse_port=False) == INVALID_ADDRESS


@pytest.mark.parametrize("host", ["x" * 64, "a..b", "\xad"])
async def test_a_name_that_cannot_be_encoded_is_no_valid_address(host: str) -> None:
    assert await connect(TCPClientAddress(host)) == INVALID_ADDRESS
    assert await listen(TCPServerAddress(host), reuse_port=False) == INVALID_ADDRESS


async def test_cancelling_a_connect_leaves_no_socket() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        with socket.create_connection(busy.getsockname()):  # the only place in the queue
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connect, TCPClientAddress(*busy.getsockname()))
                    await wait_all_tasks_blocked(0.01)
                    scope.cancel()
            assert scope.cancelled_caught


async def test_a_name_can_be_connected_to() -> None:
    with await listening(LOCALHOST) as listener:
        assert isinstance(listener.address, TCPServerAddress)
        with await connected(TCPClientAddress("localhost", listener.address.port)) as client:
            assert not client.getblocking()
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            (accepted,) = accept_all(listener.sock)
            accepted.close()


async def test_cancelling_a_connect_to_a_name_leaves_no_socket() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await connect(TCPClientAddress("localhost", 1))
    assert scope.cancelled_caught


@needs_ipv6
async def test_ipv6() -> None:
    with await listening(TCPServerAddress("::1", 0)) as listener:
        assert isinstance(listener.address, TCPServerAddress)
        assert listener.address.host == "::1"
        assert listener.sock.family == socket.AF_INET6
        with await connected(client_address_of(listener.address)) as client:
            assert client.family == socket.AF_INET6
            (accepted,) = accept_all(listener.sock)
            accepted.close()


# ---------------------------------------------------------------------- connecting over UDS


async def test_a_path_that_does_not_exist_is_not_found(path: str) -> None:
    assert await connect(UDSClientAddress(path)) == Err(AmpeError.UDS_PATH_NOT_FOUND)
    assert await connect(UDSClientAddress(f"{path}/s")) == Err(AmpeError.UDS_PATH_NOT_FOUND)


async def test_a_path_where_nobody_listens_fails(path: str) -> None:
    write(path)
    assert await connect(UDSClientAddress(path)) == CONNECT_FAILED
    assert await connect(UDSClientAddress(f"{path}/s")) == CONNECT_FAILED
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert await connect(UDSClientAddress(path)) == CONNECT_FAILED
    os.unlink(path)


@pytest.fixture
def busy(path: str) -> Iterator[socket.socket]:
    """A listener on `path` that has no room for another connection."""
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(path)
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        yield busy
    os.unlink(path)


async def test_a_busy_listener_is_waited_for(
    busy: socket.socket, path: str, nursery: trio.Nursery
) -> None:
    connections: list[socket.socket] = []

    async def client() -> None:
        connections.append((await connect(UDSClientAddress(path))).unwrap())

    nursery.start_soon(client)
    await wait_all_tasks_blocked()
    assert connections == []
    accepted, _ = busy.accept()
    accepted.close()
    with trio.fail_after(PATIENCE):
        while not connections:
            await trio.lowlevel.checkpoint()
    assert not connections[0].getblocking()
    connections[0].close()


async def test_waiting_for_a_busy_listener_can_be_cancelled(busy: socket.socket, path: str) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, UDSClientAddress(path))
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_busy_listener_that_goes_away_is_no_longer_waited_for(
    busy: socket.socket, path: str, nursery: trio.Nursery
) -> None:
    results: list[object] = []

    async def client() -> None:
        results.append(await connect(UDSClientAddress(path)))

    nursery.start_soon(client)
    await wait_all_tasks_blocked()
    busy.close()
    with trio.fail_after(PATIENCE):
        while not results:
            await trio.lowlevel.checkpoint()
    assert results == [CONNECT_FAILED]


# ---------------------------------------------------------------------- listening over TCP


async def test_port_zero_lets_the_system_choose() -> None:
    with await listening(LOCALHOST) as one, await listening(LOCALHOST) as other:
        assert isinstance(one.address, TCPServerAddress)
        assert isinstance(other.address, TCPServerAddress)
        assert one.address.host == "127.0.0.1"
        assert 0 < one.address.port != other.address.port > 0


async def test_an_empty_host_means_all_interfaces() -> None:
    with await listening(TCPServerAddress("", 0)) as listener:
        assert isinstance(listener.address, TCPServerAddress)
        assert listener.address.host in {"0.0.0.0", "::"}
        with await connected(TCPClientAddress("127.0.0.1", listener.address.port)):
            (accepted,) = accept_all(listener.sock)
            accepted.close()


async def test_a_name_can_be_listened_on() -> None:
    with await listening(TCPServerAddress("localhost", 0)) as listener:
        assert isinstance(listener.address, TCPServerAddress)
        assert listener.address.host in {"127.0.0.1", "::1"}


@pytest.mark.parametrize("reuse_port", [False, True])
async def test_a_port_can_be_shared_only_when_all_agree(reuse_port: bool) -> None:
    with await listening(LOCALHOST, reuse_port=True) as first:
        again = await listen(cast("TCPServerAddress", first.address), reuse_port=reuse_port)
        if reuse_port:
            again.unwrap().close()
        else:
            assert again == LISTEN_FAILED


async def test_a_port_can_be_used_again_at_once() -> None:
    with await listening(LOCALHOST) as first:
        address = cast("TCPServerAddress", first.address)
        client = (await connect(client_address_of(address))).unwrap()
        (accepted,) = accept_all(first.sock)
        accepted.close()  # this side first, so that the port is in TIME_WAIT
        client.close()
        assert await listen(address, reuse_port=False) == LISTEN_FAILED
    with await listening(address) as second:
        assert second.address == address


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    assert await listen(TCPServerAddress("192.0.2.1", 0), reuse_port=False) == LISTEN_FAILED


# ---------------------------------------------------------------------- listening over UDS


async def test_the_socket_file_is_private_and_goes_with_the_listener(path: str) -> None:
    before = os.umask(0)
    try:
        with await listening(UDSServerAddress(path)) as listener:
            assert listener.address == UDSServerAddress(path)
            status = os.stat(path)
            assert stat.S_ISSOCK(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o600
    finally:
        os.umask(before)
    assert not exists(path)


async def test_an_empty_path_cannot_be_listened_on() -> None:
    assert await listen(UDSServerAddress(""), reuse_port=False) == INVALID_ADDRESS


async def test_a_path_with_a_nul_is_no_valid_address() -> None:
    assert await listen(UDSServerAddress("a\0b"), reuse_port=False) == INVALID_ADDRESS


async def test_the_path_of_a_live_listener_is_refused(path: str) -> None:
    with await listening(UDSServerAddress(path)) as first:
        assert await listen(UDSServerAddress(path), reuse_port=True) == LISTEN_FAILED
        for sock in accept_all(first.sock):  # the question whether anybody listens
            sock.close()
        with await connected(UDSClientAddress(path)):
            (accepted,) = accept_all(first.sock)
            accepted.close()


async def test_the_path_of_a_busy_listener_is_refused(busy: socket.socket, path: str) -> None:
    assert await listen(UDSServerAddress(path), reuse_port=False) == LISTEN_FAILED
    assert exists(path)


async def test_the_path_of_a_live_datagram_socket_is_refused(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert await listen(UDSServerAddress(path), reuse_port=False) == LISTEN_FAILED
    assert exists(path)
    os.unlink(path)


async def test_the_path_of_a_datagram_socket_that_has_a_peer_is_refused(
    path: str, tmp_path: Path
) -> None:
    """Nobody else may connect to it, not even to ask whether it lives."""
    peer_path = str(tmp_path / "peer")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(path)
        peer.bind(peer_path)
        sock.connect(peer_path)
        assert await listen(UDSServerAddress(path), reuse_port=False) == LISTEN_FAILED
    assert exists(path)
    os.unlink(path)
    os.unlink(peer_path)


async def test_the_file_of_a_dead_listener_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    with await listening(UDSServerAddress(path)), await connected(UDSClientAddress(path)):
        pass
    assert not exists(path)


@pytest.mark.parametrize("what", ["file", "directory"])
async def test_what_is_no_socket_is_not_touched(path: str, what: str) -> None:
    if what == "file":
        write(path, "precious")
    else:
        os.mkdir(path)
    assert await listen(UDSServerAddress(path), reuse_port=False) == LISTEN_FAILED
    if what == "file":
        assert read(path) == "precious"
    else:
        assert exists(path)


async def test_a_directory_that_does_not_exist_fails(path: str) -> None:
    assert await listen(UDSServerAddress(f"{path}/s"), reuse_port=False) == LISTEN_FAILED


async def test_a_listener_that_fails_half_way_leaves_no_file(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_chmod(*args: object) -> None:
        raise PermissionError(errno.EPERM, "not today")

    monkeypatch.setattr(os, "chmod", no_chmod)
    assert await listen(UDSServerAddress(path), reuse_port=False) == LISTEN_FAILED
    assert not exists(path)


async def test_somebody_elses_socket_file_stays(path: str) -> None:
    with await listening(UDSServerAddress(path)):
        os.unlink(path)
        other = socket.socket(socket.AF_UNIX)
        other.bind(path)
        other.listen()
    with other, await connected(UDSClientAddress(path)):
        pass
    os.unlink(path)


async def test_a_file_that_is_gone_is_not_missed(path: str) -> None:
    with await listening(UDSServerAddress(path)):
        os.unlink(path)


async def test_a_directory_that_is_no_longer_there_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with await listening(UDSServerAddress(tmp_path / "d/s")):
        os.rename(tmp_path / "d", tmp_path / "e")
        (tmp_path / "d").touch()  # where a directory was is a file: ENOTDIR
    os.unlink(tmp_path / "e/s")


async def test_closing_a_listener_twice_is_harmless(address: ServerAddress) -> None:
    with await listening(address) as listener:
        listener.close()


# ---------------------------------------------------------------------- accepting


class Queue:
    """A listening socket, as far as `accept_all` sees it; errors where it is told."""

    def __init__(self, *outcomes: socket.socket | OSError) -> None:
        self._outcomes = list(outcomes)

    def accept(self) -> tuple[socket.socket, str]:
        outcome = self._outcomes.pop(0) if self._outcomes else BlockingIOError()
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, "somebody"


def accepted_from(*outcomes: socket.socket | OSError) -> Iterator[socket.socket]:
    return accept_all(cast("socket.socket", Queue(*outcomes)))


@pytest.fixture
def two_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    ],
    ids=errno.errorcode.get,
)
def test_an_error_of_one_connection_costs_only_that_one(
    number: int, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    one, other = two_ends
    error = OSError(number, os.strerror(number))
    assert list(accepted_from(error, one, error, error, other)) == [one, other]
    assert not one.getblocking()


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get
)
def test_when_the_system_has_no_more_the_listener_is_told(
    number: int, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    one, _ = two_ends
    connections = accepted_from(one, OSError(number, os.strerror(number)))
    assert next(connections) is one
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        next(connections)
    assert caught.value.errno in ACCEPT_LATER


def test_when_the_listening_socket_is_broken_the_listener_is_told() -> None:
    with pytest.raises(OSError, match="Bad file") as caught:
        next(accepted_from(OSError(errno.EBADF, "Bad file descriptor")))
    assert caught.value.errno not in ACCEPT_LATER


class Dropped(socket.socket):
    """A connection that was reset before it was accepted, as some systems report it."""

    def setsockopt(self, *args: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")


def test_a_connection_that_was_reset_while_it_waited_does_no_harm() -> None:
    with Dropped() as dropped, socket.socket() as other:
        assert other in list(accepted_from(dropped, other))


# ---------------------------------------------------------------------- closing


@pytest.mark.parametrize("reset", [False, True])
async def test_a_reset_is_told_from_an_orderly_end(address: ServerAddress, reset: bool) -> None:
    with (
        await listening(address) as listener,
        await connected(client_address_of(listener.address)) as client,
    ):
        (accepted,) = accept_all(listener.sock)
        transport.close(accepted, reset=reset)
        assert accepted.fileno() == -1
        await trio.lowlevel.wait_readable(client)
        if reset and client.family != socket.AF_UNIX:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""


async def test_closing_wakes_whoever_waits_for_the_socket(
    address: ServerAddress, nursery: trio.Nursery
) -> None:
    woken: list[str] = []

    async def reader(sock: socket.socket) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(sock)
        woken.append("reader")

    with (
        ExitStack() as stack,
        await listening(address) as listener,
        await connected(client_address_of(listener.address)) as client,
    ):
        (accepted,) = accept_all(listener.sock)
        stack.enter_context(accepted)
        nursery.start_soon(reader, client)
        nursery.start_soon(reader, listener.sock)
        await wait_all_tasks_blocked()
        transport.close(client, reset=False)
        listener.close()
        await wait_all_tasks_blocked()
    assert woken == ["reader", "reader"]
