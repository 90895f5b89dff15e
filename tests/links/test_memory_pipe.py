"""A memory link is a byte pipe: it does what a pair of sockets does."""

import socket

from hypothesis import given
from hypothesis import strategies as st

from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.memory import CAPACITY, MemoryLink
from pytofu.links.uds import UDSLink
from tests.links.ends import ending

sides = st.integers(0, 1)
operations = st.one_of(
    st.tuples(st.just("send"), sides, st.binary(min_size=1, max_size=2000)),
    st.tuples(st.just("receive"), sides, st.integers(1, 3000)),
    st.tuples(st.just("end"), sides),
    st.tuples(st.just("close"), sides),
)


def outcome(link: Link, operation: tuple[object, ...]) -> object:
    """What an operation answers, as far as it has to be the same for all links."""
    match operation:
        case ("send", _, bytes(data)):
            sent = link.send(data)
            # Why is for the receiving side to say.
            return "in vain" if isinstance(sent, LinkError) else sent
        case ("receive", _, int(size)):
            got = link.receive(size)
            return got.error if isinstance(got, LinkError) else got
        case ("end", _):
            return link.end()
        case _:
            return link.close(reset=False)


@given(st.lists(operations, max_size=30))
def test_any_operations_do_what_they_do_with_a_pair_of_sockets(
    operations: list[tuple[object, ...]],
) -> None:
    """Up to 60,000 bytes each way, which both can have on the way."""
    socks = socket.socketpair()
    with socks[0], socks[1]:
        for sock in socks:
            sock.setblocking(False)
        real = [UDSLink(sock) for sock in socks]
        ours = MemoryLink.pair()
        closed = [False, False]
        # In the end, what each side that is still there may receive.
        for operation in (*operations, ("receive", 0, 1), ("receive", 1, 1)):
            side = int(str(operation[1]))
            if not closed[side]:
                closed[side] = operation[0] == "close"
                assert outcome(ours[side], operation) == outcome(real[side], operation)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, CAPACITY)), max_size=40))
def test_a_byte_pipe_keeps_every_byte_in_order_within_its_bound(
    operations: list[tuple[bool, int]],
) -> None:
    one, other = MemoryLink.pair()
    sent = received_so_far = 0
    stream = bytes(range(251)) * (CAPACITY * 45 // 251)
    for sending, size in operations:
        if sending:
            room = CAPACITY - (sent - received_so_far)
            taken = one.send(stream[sent : sent + size])
            assert taken == (min(size, room) or Wait.WRITABLE)
            sent += min(size, room)
        else:
            waiting = min(size, sent - received_so_far)
            expected = stream[received_so_far : received_so_far + waiting]
            assert other.receive(size) == (expected or Wait.READABLE)
            received_so_far += waiting
        assert other.buffered is (sent > received_so_far)
    one.close(reset=False)
    assert ending(other) == (stream[received_so_far:sent], PEER_CLOSED)
    other.close(reset=False)
