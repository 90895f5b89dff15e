"""Credit (peers/flow.py): both sides' accounts, driven together."""

from hypothesis import given
from hypothesis import strategies as st

from pytofu.peers.flow import MAX_OVERDRAFT, ReceiveWindow

COSTS = st.lists(
    st.tuples(st.sampled_from(["send", "take", "grant"]), st.integers(16, MAX_OVERDRAFT)),
    max_size=200,
)


@given(COSTS, st.integers(1, 1 << 18))
def test_no_more_is_held_than_the_window_and_a_frame_and_nothing_stalls(
    steps: list[tuple[str, int]], size: int
) -> None:
    window = ReceiveWindow(size)
    credit = size
    under_way: list[int] = []
    held: list[int] = []
    for step, cost in steps:
        if step == "send" and credit > 0:
            credit -= cost
            assert window.arrived(cost)
            held.append(cost)
        elif step == "take" and held:
            grant = window.consumed(held.pop(0))
            if grant:
                under_way.append(grant)
        elif step == "grant" and under_way:
            credit += under_way.pop(0)
        assert sum(held) < size + MAX_OVERDRAFT
    for cost in held:
        credit += window.consumed(cost)
    credit += sum(under_way)
    assert 2 * credit > size or (size == 1 and credit == 1)


@given(st.integers(1, 1000))
def test_what_comes_without_credit_is_seen(size: int) -> None:
    window = ReceiveWindow(size)
    assert window.arrived(size)
    assert not window.arrived(1)
