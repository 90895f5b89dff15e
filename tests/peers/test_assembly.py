"""Bodies in parts (peers/assembly.py)."""

from hypothesis import given
from hypothesis import strategies as st

from pytofu import OpCode, Peer
from pytofu.peers.assembly import Assembly, Budget
from tests.peers.pairs import scripted_client, serving


@given(st.lists(st.lists(st.binary(max_size=20), max_size=5), min_size=1, max_size=5))
def test_bodies_are_put_together_and_the_budget_is_given_back(bodies: list[list[bytes]]) -> None:
    budget = Budget(10_000, 60)
    assembly = Assembly(budget)
    for parts in bodies:
        length = 0
        for part in parts:
            assert assembly.add(part) is None
            length += len(part)
            assert budget.left < 10_000
        if length > 60:
            assert assembly.too_long
            assert budget.left == 10_000 - 512 * _parts_too_many(parts)
            assembly.drop()
            break
        assert assembly.take() == b"".join(parts)
    assert budget.left == 10_000


def _parts_too_many(parts: list[bytes]) -> int:
    """How many parts were not taken: each time what is held is dropped for the cost of one."""
    return 1


def test_a_body_of_nothing_costs_too() -> None:
    budget = Budget(1000)
    assembly = Assembly(budget)
    assembly.add(b"")
    assembly.add(b"")
    assert budget.left < 0


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), min_size=1, max_size=5))
def test_the_last_part_gives_the_whole_body_unless_it_is_too_long(
    bodies: list[list[bytes]],
) -> None:
    budget = Budget(10_000, 60)
    assembly = Assembly(budget)
    for *parts, last in bodies:
        for part in parts:
            assert assembly.add(part) is None
        whole = b"".join([*parts, last])
        fits = len(whole) <= 60
        assert assembly.add(last, last=True) == (whole if fits else None)
        assert assembly.too_long == (not fits)
        if not fits:
            assembly.drop()
            break
    assert budget.left == 10_000


async def test_headers_that_wait_for_the_rest_of_a_request_cost_too() -> None:
    """Else so many requests that have begun, each with long ones, would be next to free."""
    peers: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        peers.append(peer)

    whole = Budget().left
    headers = b"name:" + b"x" * 60_000 + b"\r\n"
    async with serving(on_peer=on_peer) as where, scripted_client(where) as script:
        for ident in (3, 5, 7):
            await script.send(OpCode.REQUEST, ident, headers, more=True)
        await script.send(OpCode.SIGNAL, 1, b"tofu-heartbeat:ask\r\n")
        await script.expect(OpCode.SIGNAL)
        budget = peers[0]._link._budget
        assert budget.left <= whole - 3 * len(headers)
        await script.send(OpCode.SIGNAL, 3, b"tofu-cancel:1\r\n")
        await script.send(OpCode.REQUEST, 5)
        await script.send(OpCode.REQUEST, 7)
        for _ in range(2):
            await script.expect(OpCode.RESPONSE)
        assert budget.left == whole
