"""Bodies in parts (peers/assembly.py)."""

from hypothesis import given
from hypothesis import strategies as st

from pytofu.peers.assembly import Assembly, Budget


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
