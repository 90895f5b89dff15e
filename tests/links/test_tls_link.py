"""Links over TLS, without an engine: records, ends, and hands that are not shaken."""

import ssl
from collections.abc import Iterator
from random import Random
from typing import cast
from weakref import ref

import pytest

from pytofu.links import tls_link
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.memory import MemoryLink
from pytofu.links.tls_link import TLSLink
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError
from tests.tls_sockets import client_context, server_context

NAME = "localhost"


def shake_hands(client: Link, server: Link) -> None:
    """Both in turn, over a link within the process: nothing has to be waited for."""
    for _ in range(20):
        done = [link.open() is None for link in (client, server)]
        if all(done):
            return
    raise AssertionError("they do not come together")


def transfer(sender: Link, receiver: Link, data: bytes, size: int = 65_552) -> bytes:
    """Send all of it, and receive what comes, so many bytes at a time."""
    rest, received = memoryview(data), b""
    for _ in range(10_000):
        if rest:
            taken = sender.send(rest)
            assert not isinstance(taken, LinkError)
            rest = rest[0 if isinstance(taken, Wait) else taken :]
        got = receiver.receive(size)
        assert not isinstance(got, LinkError)
        if isinstance(got, bytes):
            assert 0 < len(got) <= size
            received += got
        if len(received) == len(data):
            return received
    raise AssertionError("it does not arrive")


@pytest.fixture
def inner() -> tuple[MemoryLink, MemoryLink]:
    """What carries the bytes."""
    return MemoryLink.pair()


@pytest.fixture
def pair(inner: tuple[MemoryLink, MemoryLink]) -> Iterator[tuple[TLSLink, TLSLink]]:
    """Client and server, hands shaken."""
    client = TLSLink(inner[0], client_context(), NAME)
    server = TLSLink(inner[1], server_context())
    shake_hands(client, server)
    yield client, server
    for link in (client, server):
        link.close(reset=True)


@pytest.mark.parametrize("length", [1, 16_383, 16_384, 16_385, 65_536, 300_000])
@pytest.mark.parametrize("size", [1000, 16_384, 65_552])
def test_all_arrives_in_order(pair: tuple[TLSLink, TLSLink], length: int, size: int) -> None:
    data = Random(length).randbytes(length)
    assert transfer(pair[0], pair[1], data, size) == data
    assert transfer(pair[1], pair[0], data, size) == data


def test_more_than_was_asked_for_is_buffered(pair: tuple[TLSLink, TLSLink]) -> None:
    client, server = pair
    assert client.send(b"abcdef") == 6
    assert server.receive(4) == b"abcd"
    assert server.buffered
    assert server.receive(4) == b"ef"
    assert not server.buffered
    assert server.receive(4) is Wait.READABLE


def test_what_has_not_gone_out_is_not_taken(
    pair: tuple[TLSLink, TLSLink], inner: tuple[MemoryLink, MemoryLink]
) -> None:
    client, server = pair
    assert client.receive(9) is Wait.READABLE  # the server's tickets: unread, they mean a reset
    data = bytes(200_000)
    sent = 0
    while isinstance(taken := client.send(data[sent:]), int):
        sent += taken
    assert taken is Wait.WRITABLE
    client.close(reset=False)
    received = 0
    while isinstance(got := server.receive(65_552), bytes):
        received += len(got)
    assert received == sent
    assert isinstance(got, LinkError)
    assert "close_notify" in got.detail


@pytest.mark.parametrize("by", ["end", "close"])
def test_an_orderly_end(pair: tuple[TLSLink, TLSLink], by: str) -> None:
    client, server = pair
    assert client.send(b"last") == 4
    if by == "end":
        assert client.end() is None
        assert client.end() is None
    else:
        assert client.receive(1) is Wait.READABLE  # the server's tickets
        client.close(reset=False)
    assert server.receive(9) == b"last"
    assert server.receive(9) == server.receive(9) == PEER_CLOSED
    assert not server.buffered


def test_after_the_end_receiving_goes_on(pair: tuple[TLSLink, TLSLink]) -> None:
    client, server = pair
    assert server.send(b"one two") == 7
    assert client.receive(3) == b"one"
    assert server.send(b" three") == 6
    assert client.end() is None
    assert client.buffered
    assert client.receive(2) == b" t"
    assert client.receive(9) == b"wo"
    assert client.receive(9) == b" three"
    assert server.receive(9) == PEER_CLOSED
    assert server.end() is None
    assert client.receive(9) == PEER_CLOSED


def test_a_record_that_was_changed_on_the_way(
    pair: tuple[TLSLink, TLSLink], inner: tuple[MemoryLink, MemoryLink]
) -> None:
    client, server = pair
    assert client.receive(9) is Wait.READABLE
    assert inner[0].send(b"\x17\x03\x03\x00\x20" + bytes(32)) == 37
    error = server.receive(9)
    assert isinstance(error, LinkError)
    assert error.error is AmpeError.COMMUNICATION_FAILED
    assert server.send(b"x") == PEER_CLOSED  # reading knows why
    # The client hears of it, by an alert; and has received nothing before.
    told = client.receive(9)
    assert isinstance(told, LinkError)
    assert told.error is AmpeError.CONNECT_FAILED


@pytest.mark.parametrize("reset", [True, False])
def test_closed_it_keeps_nothing_of_openssl_s(pair: tuple[TLSLink, TLSLink], reset: bool) -> None:
    """Sixty kilobytes a link, of which the garbage collector does not know."""
    kept = [ref(cast("ssl.SSLObject", link._tls)) for link in pair]
    pair[0].send(bytes(60_000))
    for link in pair:
        link.close(reset=reset)
        assert (link._in.pending, link._out.pending, len(link._left)) == (0, 0, 0)
    assert [one() for one in kept] == [None, None]


def test_a_reset_is_seen(
    pair: tuple[TLSLink, TLSLink], inner: tuple[MemoryLink, MemoryLink]
) -> None:
    client, server = pair
    client.close(reset=True)
    error = server.receive(9)
    assert isinstance(error, LinkError)
    assert not error.orderly
    assert server.send(b"x") == PEER_CLOSED


def test_who_it_is_before_and_after(inner: tuple[MemoryLink, MemoryLink]) -> None:
    client = TLSLink(inner[0], client_context(), NAME)
    server = TLSLink(inner[1], server_context())
    assert client.has_handshake
    assert client.fileno() == -1
    assert client.peer().scheme == "tls"
    assert client.peer().tls_version == ""
    shake_hands(client, server)
    assert "DNS:localhost" in client.peer().names
    assert server.peer() == PeerInfo(
        pid=client.peer().pid,
        scheme="tls",
        tls_version="TLSv1.3",
        tls_cipher=client.peer().tls_cipher,
    )
    client.acknowledge()
    for link in (client, server):
        link.close(reset=False)


def test_what_the_peer_asks_for_and_does_not_take(
    pair: tuple[TLSLink, TLSLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = pair
    monkeypatch.setattr(tls_link, "_MOST_ANSWERS", -1)
    server._out.write(b"answer")
    server._records.append((1, 1))
    assert client.send(b"x") == 1
    assert server.receive(9) == b"x"
    assert server.receive(9) == tls_link._FLOODED


class Renegotiating:
    """What OpenSSL is when the peer wants to shake hands once more."""

    def __init__(self, real: ssl.SSLObject) -> None:
        self._real = real
        self._asked = False

    def write(self, data: memoryview) -> int:
        if not self._asked:
            self._asked = True
            raise ssl.SSLWantReadError
        return self._real.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_sending_may_have_to_wait_for_reading(pair: tuple[TLSLink, TLSLink]) -> None:
    client, server = pair
    assert client.receive(9) is Wait.READABLE
    client._tls = cast("ssl.SSLObject", Renegotiating(cast("ssl.SSLObject", client._tls)))
    assert client.send(b"x") is Wait.READABLE
    assert client.send(b"x") == 1
    assert server.receive(9) == b"x"


def test_a_context_that_has_gone_wrong_since(inner: tuple[MemoryLink, MemoryLink]) -> None:
    client = TLSLink(inner[0], server_context(), NAME)
    error = client.open()
    assert isinstance(error, LinkError)
    assert error.error is AmpeError.CONNECT_FAILED
    client.close(reset=False)
    inner[1].close(reset=False)


def test_where_the_system_takes_nothing_nothing_is_encrypted(
    pair: tuple[TLSLink, TLSLink], inner: tuple[MemoryLink, MemoryLink]
) -> None:
    client, server = pair
    client._out.write(bytes(100_000))  # more than the way holds
    assert client.send(b"x") is Wait.WRITABLE
    assert not client._records
    assert server.peer().scheme == "tls"


def test_records_without_data_do_not_keep_everybody_waiting(
    pair: tuple[TLSLink, TLSLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = pair
    monkeypatch.setattr(tls_link, "_MOST_EMPTY", 1)
    assert client.send(b"x") == 1
    assert server.send(b"y") == 1
    assert client.receive(9) in (b"y", Wait.READABLE)  # the tickets, then the data
    monkeypatch.setattr(tls_link, "_MOST_EMPTY", 0)
    assert server.receive(9) is Wait.READABLE
