"""What holds for every link and every listening, whatever carries it."""

import errno
import os
import socket
from contextlib import ExitStack

import pytest

from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.by_scheme import begin_connect, begin_listen
from pytofu.values.address import Address
from pytofu.values.status import AmpeError
from tests.links.ends import (
    SOCKETS,
    Kind,
    Pair,
    accept,
    accepted,
    client_of,
    connected,
    ending,
    failed,
    fill,
    listening,
    received,
    wait,
)
from tests.support import PATIENCE


def knows_reset(kind: Kind) -> bool:
    return kind != "uds"


def test_an_orderly_end_is_told_from_all_others() -> None:
    assert PEER_CLOSED.orderly
    assert not LinkError(AmpeError.COMMUNICATION_FAILED, "whatever").orderly


# ---------------------------------------------------------------------- bytes


def test_bytes_go_both_ways(pair: Pair) -> None:
    for one, other in (pair, pair[::-1]):
        assert other.receive(9) is Wait.READABLE
        assert one.send(b"ping") == 4
        assert one.send(memoryview(b"...pong")[3:]) == 4
        assert received(other, 8) == b"pingpong"
        assert other.receive(9) is Wait.READABLE


def test_no_more_is_received_than_asked_for(pair: Pair) -> None:
    one, other = pair
    one.send(b"abcdefgh")
    assert received(other, 8) == b"abcdefgh"
    one.send(b"abcdefgh")
    if other.fileno() >= 0:
        wait(other)
    assert other.receive(3) == b"abc"
    assert received(other, 5) == b"defgh"


def test_a_link_that_is_full_takes_more_when_the_other_side_has_received(pair: Pair) -> None:
    one, other = pair
    taken = fill(one)
    assert received(other, len(taken)) == taken
    if one.fileno() >= 0:
        wait(one, Wait.WRITABLE)
    assert one.send(b"more") == 4
    assert received(other, 4) == b"more"


def test_a_link_that_is_open_stays_open(pair: Pair) -> None:
    for link in pair:
        assert link.open() is None


def test_acknowledging_is_harmless(pair: Pair) -> None:
    one, other = pair
    one.send(b"x")
    assert received(other, 1) == b"x"
    other.acknowledge()
    one.close(reset=True)
    other.acknowledge()


# ---------------------------------------------------------------------- ends


def test_the_end_comes_behind_the_bytes_and_receiving_goes_on(pair: Pair) -> None:
    one, other = pair
    one.send(b"last")
    assert one.end() is None
    assert ending(other) == (b"last", PEER_CLOSED)
    assert other.receive(9) == PEER_CLOSED
    assert other.send(b"answer") == 6
    assert received(one, 6) == b"answer"
    assert one.receive(9) is Wait.READABLE


def test_both_sides_may_end(pair: Pair) -> None:
    one, other = pair
    assert one.end() is None
    assert ending(other) == (b"", PEER_CLOSED)
    assert other.end() is None
    assert ending(one) == (b"", PEER_CLOSED)


def test_nothing_can_be_sent_behind_the_end(pair: Pair) -> None:
    one, other = pair
    one.end()
    assert one.send(b"more") == PEER_CLOSED
    assert ending(other) == (b"", PEER_CLOSED)


def test_what_was_sent_before_an_orderly_close_arrives(pair: Pair) -> None:
    one, other = pair
    taken = fill(one)
    one.close(reset=False)
    assert one.fileno() == -1
    assert ending(other) == (taken, PEER_CLOSED)


def test_a_reset_is_told_from_an_orderly_end(kind: Kind, pair: Pair) -> None:
    one, other = pair
    one.send(b"before")
    if other.fileno() >= 0:
        wait(other)
    one.close(reset=True)
    assert one.fileno() == -1
    data, end = ending(other)
    assert data == b"before"
    if knows_reset(kind):
        assert end.error is AmpeError.COMMUNICATION_FAILED
        assert end.detail == f"ECONNRESET, {os.strerror(errno.ECONNRESET)}"
    else:
        assert end == PEER_CLOSED
    assert other.receive(9) == end


def test_closing_with_bytes_unread_is_an_orderly_end_over_tcp_alone(kind: Kind, pair: Pair) -> None:
    """Over TCP the end is said before the system resets the connection because of them."""
    one, other = pair
    one.send(b"sent")
    other.send(b"unread")
    if one.fileno() >= 0:
        wait(one)
    one.close(reset=False)
    data, end = ending(other)
    assert data == b"sent"
    assert end.orderly is kind.startswith("tcp")


def send_in_vain(link: Link) -> LinkError:
    """Send until that fails: over TCP, the first only makes the other system answer."""
    for _ in range(1000):
        sent = link.send(b"x")
        if isinstance(sent, LinkError):
            return sent
    raise AssertionError("it never fails")


def test_sending_to_who_has_closed_does_not_hide_what_he_sent(pair: Pair) -> None:
    one, other = pair
    one.send(b"last words")
    if other.fileno() >= 0:
        wait(other)
    one.close(reset=False)
    assert send_in_vain(other) == PEER_CLOSED
    assert ending(other) == (b"last words", PEER_CLOSED)


def test_sending_to_who_has_reset_hides_neither_his_words_nor_the_reset(
    kind: Kind, pair: Pair
) -> None:
    one, other = pair
    one.send(b"last words")
    if other.fileno() >= 0:
        wait(other)
    one.close(reset=True)
    send_in_vain(other)
    data, end = ending(other)
    assert data == b"last words"
    assert end.orderly is not knows_reset(kind)
    if kind.startswith("tcp"):
        assert send_in_vain(other) == end
        assert other.end() == end


# ---------------------------------------------------------------------- listening


def test_nobody_waits_to_be_accepted_at_first(address: Address) -> None:
    with listening(address) as listener:
        assert listener.accept() is Wait.READABLE


def test_all_connections_that_wait_are_accepted(address: Address) -> None:
    with listening(address) as listener, ExitStack() as stack:
        for i in range(20):
            client = stack.enter_context(connected(client_of(listener.address)))
            client.send(bytes([i]))
        seen = [received(stack.enter_context(accepted(listener)), 1) for _ in range(20)]
        assert seen == [bytes([i]) for i in range(20)]
        assert listener.accept() is Wait.READABLE


def test_an_address_that_is_taken_is_refused(address: Address) -> None:
    with listening(address) as listener:
        error = failed(begin_listen(listener.address, reuse_port=False))
        assert error.error is AmpeError.LISTEN_FAILED
        assert error.detail.startswith(f"EADDRINUSE, {os.strerror(errno.EADDRINUSE)}")
        with connected(client_of(listener.address)) as client, accepted(listener) as server:
            server.send(b"still here")
            assert received(client, 10) == b"still here"


def test_an_address_can_be_used_again_when_the_listener_has_closed(address: Address) -> None:
    with listening(address) as first, connected(client_of(first.address)) as client:
        accept(first).close(reset=False)  # this side first: over TCP the port is in TIME_WAIT
        client.close(reset=False)
        again = first.address
    with listening(again) as second:
        assert second.address == again
        with connected(client_of(again)):
            accept(second).close(reset=True)


def test_who_was_not_accepted_sees_a_reset_when_the_listener_closes(address: Address) -> None:
    with listening(address) as listener, connected(client_of(listener.address)) as client:
        listener.close()
        assert listener.fileno() == -1
        data, end = ending(client)
        assert (data, end.error) == (b"", AmpeError.COMMUNICATION_FAILED)


def test_nobody_can_connect_when_the_listener_has_closed(kind: Kind, address: Address) -> None:
    with listening(address) as listener:
        where = client_of(listener.address)
    error = failed(begin_connect(where))
    if kind == "uds":
        assert error.error is AmpeError.UDS_PATH_NOT_FOUND
    else:
        assert error.error is AmpeError.CONNECT_FAILED
        assert error.detail.startswith(f"ECONNREFUSED, {os.strerror(errno.ECONNREFUSED)}: ")


# ---------------------------------------------------------------------- sockets


@pytest.mark.parametrize("kind", SOCKETS, indirect=True)
def test_a_socket_is_watched_by_its_descriptor_alone(address: Address) -> None:
    with (
        listening(address) as listener,
        connected(client_of(listener.address)) as client,
        accepted(listener) as server,
    ):
        server.send(b"x")
        wait(client)
        assert not client.buffered
        for end in (listener, client):
            end.on_ready(lambda: pytest.fail("somebody was woken"))
        assert received(client, 1) == b"x"


@pytest.mark.parametrize("kind", SOCKETS, indirect=True)
def test_no_socket_blocks_and_no_program_inherits_one(address: Address) -> None:
    socket.setdefaulttimeout(PATIENCE)  # a program's wish, for its own sockets
    try:
        with (
            listening(address) as listener,
            connected(client_of(listener.address)) as client,
            accepted(listener) as server,
        ):
            assert listener.accept() is Wait.READABLE
            assert client.receive(1) is server.receive(1) is Wait.READABLE
            for end in (listener, client, server):
                assert not os.get_blocking(end.fileno())
                assert not os.get_inheritable(end.fileno())
    finally:
        socket.setdefaulttimeout(None)
