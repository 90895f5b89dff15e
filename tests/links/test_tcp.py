"""TCP: options, names and literals, several addresses, zones, connections to oneself."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu.links import tcp
from pytofu.links.base import Link, LinkError, Wait
from pytofu.links.by_scheme import begin_connect, begin_listen, connect, listen
from pytofu.links.settings import TCPSettings
from pytofu.links.tcp import TCPLink, TCPListening
from pytofu.values.address import TCPClientAddress, TCPServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError
from tests.links.ends import (
    LOCALHOST,
    Resolves,
    accept,
    accepted,
    client_of,
    connected,
    failed,
    linux_only,
    listening,
    needs_ipv6,
    opened,
    option,
    port_of,
    received,
)

REFUSED = f"ECONNREFUSED, {os.strerror(errno.ECONNREFUSED)}"


def link_local() -> str | None:
    """A link-local address of this machine, with its zone."""
    for number, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(("fe80::1", 9, 0, number))  # a datagram socket sends nothing
            except OSError:
                continue
            ip: str = sock.getsockname()[0]
            if ip.startswith("fe80:"):
                return f"{ip}%{name}"
    return None


# ---------------------------------------------------------------------- options


def test_options_that_accepted_sockets_do_not_inherit_are_set_on_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        listener = TCPListening(sock, TCPSettings())
        for _ in range(2):
            with connected(client_of(listener.address)), accepted(listener) as server:
                assert option(server, socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert option(server, socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_where_nothing_can_be_acknowledged_at_once_nothing_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "_QUICKACK", None)
    with listening(LOCALHOST) as listener, connected(client_of(listener.address)) as client:
        client.acknowledge()
        accept(listener).close(reset=True)


@linux_only
def test_what_arrived_is_acknowledged_at_once() -> None:
    with (
        listening(LOCALHOST) as listener,
        connected(client_of(listener.address)) as client,
        accepted(listener),
    ):
        with closing(socket.socket(fileno=os.dup(client.fileno()))) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        client.acknowledge()
        assert option(client, socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1


# ---------------------------------------------------------------------- who is there


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_each_side_knows_the_other(host: str) -> None:
    with (
        listening(TCPServerAddress(host, 0)) as listener,
        connected(client_of(listener.address)) as client,
        accepted(listener) as server,
    ):
        assert client.peer() == PeerInfo(host, port_of(listener), scheme="tcp")
        assert server.peer().host == host
        assert server.peer().port not in (0, port_of(listener))
        server.close(reset=True)
        assert server.peer() == PeerInfo(scheme="tcp")


# ---------------------------------------------------------------------- connecting


def test_a_port_where_nobody_listens() -> None:
    with listening(LOCALHOST) as listener:
        port = port_of(listener)
    error = failed(begin_connect(TCPClientAddress("127.0.0.1", port)))
    assert error == LinkError(AmpeError.CONNECT_FAILED, f"{REFUSED}: 127.0.0.1 port {port}")


def test_port_zero() -> None:
    error = failed(begin_connect(TCPClientAddress("127.0.0.1", 0)))
    assert error.error is AmpeError.CONNECT_FAILED
    assert error.detail.endswith(": 127.0.0.1 port 0")


def test_what_fails_at_once_leaves_no_socket() -> None:
    error = failed(begin_connect(TCPClientAddress("255.255.255.255", 80)))
    assert error.error is AmpeError.CONNECT_FAILED
    assert error.detail.endswith(": 255.255.255.255 port 80")


def test_no_host() -> None:
    error = failed(begin_connect(TCPClientAddress("", 80)))
    assert error == LinkError(AmpeError.INVALID_ADDRESS, "no host to connect to")


@pytest.mark.parametrize("port", [-1, 65536, 70_000])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_no_port(host: str, port: int) -> None:
    detail = f"no such port: {host!r} port {port}"
    expected = LinkError(AmpeError.INVALID_ADDRESS, detail)
    assert await connect(TCPClientAddress(host, port)) == expected
    assert await listen(TCPServerAddress(host, port), reuse_port=False) == expected


def test_a_name_has_to_be_waited_for() -> None:
    assert begin_connect(TCPClientAddress("localhost", 80)) is None
    assert begin_listen(TCPServerAddress("localhost", 80), reuse_port=False) is None


async def test_a_name_that_nobody_knows(resolves: Resolves) -> None:
    resolves(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    detail = "EAI_NONAME, Name or service not known: 'nowhere.invalid' port 7099"
    expected = LinkError(AmpeError.INVALID_ADDRESS, detail)
    assert await connect(TCPClientAddress("nowhere.invalid")) == expected
    assert await listen(TCPServerAddress("nowhere.invalid"), reuse_port=False) == expected


async def test_when_the_resolver_has_no_descriptor_the_name_may_be_right(
    resolves: Resolves,
) -> None:
    resolves(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    connecting = failed(await connect(TCPClientAddress("somewhere", 1)))
    again = failed(await listen(TCPServerAddress("somewhere", 1), reuse_port=False))
    assert connecting.error is AmpeError.CONNECT_FAILED
    assert again.error is AmpeError.LISTEN_FAILED
    assert os.strerror(errno.EMFILE) in connecting.detail
    assert again.detail == f"EMFILE, {os.strerror(errno.EMFILE)}: somewhere port 1"


@pytest.mark.parametrize("host", ["x" * 64, "a..b", "\xad", "a\0b"])
async def test_a_name_that_cannot_be_encoded(host: str) -> None:
    for found in (
        await connect(TCPClientAddress(host)),
        await listen(TCPServerAddress(host), reuse_port=False),
    ):
        error = failed(found)
        assert error.error is AmpeError.INVALID_ADDRESS
        assert error.detail.endswith(f": {host!r} port 7099")


async def test_a_name_can_be_connected_to(resolves: Resolves) -> None:
    resolves("127.0.0.1")
    with listening(LOCALHOST) as listener:
        link = opened(await connect(TCPClientAddress("somewhere", port_of(listener))))
        with accepted(listener) as server:
            link.send(b"x")
            assert received(server, 1) == b"x"
        link.close(reset=True)


@linux_only  # other systems refuse a broadcast in other words
async def test_all_addresses_of_a_name_that_fail_say_why(resolves: Resolves) -> None:
    resolves("127.0.0.1", "255.255.255.255")
    with listening(LOCALHOST) as listener:
        port = port_of(listener)
    error = failed(await connect(TCPClientAddress("somewhere", port)))
    assert error.error is AmpeError.CONNECT_FAILED
    assert f"ECONNREFUSED, Error connecting to ('127.0.0.1', {port})" in error.detail
    assert f"ENETUNREACH, {os.strerror(errno.ENETUNREACH)}" in error.detail


async def test_a_literal_can_be_waited_for_too() -> None:
    with listening(LOCALHOST) as listener:
        link = opened(await connect(client_of(listener.address)))
        accept(listener).close(reset=True)
        link.close(reset=True)
        port = port_of(listener)
    error = failed(await connect(TCPClientAddress("127.0.0.1", port)))
    assert error == LinkError(AmpeError.CONNECT_FAILED, f"{REFUSED}: 127.0.0.1 port {port}")


@pytest.fixture
def busy() -> Iterator[TCPClientAddress]:
    """A port whose only place in the queue is taken: connecting does not come to an end."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        with socket.create_connection(sock.getsockname()):
            yield TCPClientAddress(*sock.getsockname())


@linux_only
def test_connecting_is_under_way_until_the_other_side_answers(busy: TCPClientAddress) -> None:
    link = begin_connect(busy)
    assert isinstance(link, Link)
    assert link.open() is Wait.WRITABLE
    assert link.open() is Wait.WRITABLE
    link.close(reset=False)


@linux_only
@pytest.mark.parametrize("name", [False, True])
async def test_cancelling_leaves_no_socket(
    busy: TCPClientAddress, name: bool, resolves: Resolves
) -> None:
    resolves("127.0.0.1")
    address = attrs.evolve(busy, host="somewhere") if name else busy
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, address)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


# ---------------------------------------------------------------------- connected to oneself


@pytest.fixture
def own_end() -> Iterator[socket.socket]:
    """A socket that is connected to itself, as happens by chance where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        sock.setblocking(False)
        yield sock


def test_a_socket_connected_to_itself_is_not_connected(own_end: socket.socket) -> None:
    port = own_end.getsockname()[1]
    detail = "ECONNREFUSED, the socket was connected to itself: 127.0.0.1 port"
    error = failed(TCPLink(own_end, own_end.getsockname()))
    assert error == LinkError(AmpeError.CONNECT_FAILED, f"{detail} {port}")


async def test_that_is_so_for_names_too(
    own_end: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = own_end.getsockname()[1]

    async def open_tcp_stream(*args: object) -> trio.SocketStream:
        return trio.SocketStream(trio.socket.from_stdlib_socket(own_end))

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
    error = failed(await connect(TCPClientAddress("somewhere", port)))
    assert error.error is AmpeError.CONNECT_FAILED
    assert error.detail.endswith(f"connected to itself: somewhere port {port}")


@linux_only  # elsewhere 127.0.0.2 is not this machine
def test_the_same_port_at_two_addresses_is_not_oneself() -> None:
    with listening(LOCALHOST) as listener, socket.socket() as sock:
        sock.bind(("127.0.0.2", port_of(listener)))
        sock.setblocking(False)
        link = TCPLink(sock, ("127.0.0.1", port_of(listener)))
        assert opened(link).peer() == PeerInfo("127.0.0.1", port_of(listener), scheme="tcp")
        accept(listener).close(reset=True)


# ---------------------------------------------------------------------- zones


@pytest.mark.skipif(link_local() is None, reason="no link-local address on this machine")
def test_the_zone_of_a_link_local_address_is_kept() -> None:
    host = link_local()
    assert host is not None
    with (
        listening(TCPServerAddress(host, 0)) as listener,
        connected(client_of(listener.address)) as client,
        accepted(listener) as server,
    ):
        assert listener.address == TCPServerAddress(host, port_of(listener))
        assert client.peer() == PeerInfo(host, port_of(listener), scheme="tcp")
        assert server.peer().host == host
        ip, _, zone = host.partition("%")
        number = f"{ip}%{socket.if_nametoindex(zone)}"
        with connected(TCPClientAddress(number, port_of(listener))) as second:
            assert second.peer() == PeerInfo(host, port_of(listener), scheme="tcp")
            accept(listener).close(reset=True)


def test_a_zone_that_does_not_exist() -> None:
    for error in (
        failed(begin_connect(TCPClientAddress("fe80::1%nosuch", 80))),
        failed(begin_listen(TCPServerAddress("fe80::1%nosuch", 80), reuse_port=False)),
    ):
        assert error.error is AmpeError.INVALID_ADDRESS
        assert error.detail.endswith(": 'fe80::1%nosuch' port 80")
        assert len(error.detail) > len(": 'fe80::1%nosuch' port 80")
