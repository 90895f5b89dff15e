"""The engine's budget and its channels' accounts, seen from one at a time (PROTOCOL 2 and 4).

What holds in any order of calls is in `test_accounts_in_any_order.py`.
"""

import threading
from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pytofu.engine.accounts import UNCOUNTED, Budget, ChannelAccount
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.message import Message, MessageReleasedError

ALWAYS = AllocationStrategy.ALWAYS
POOL_ONLY = AllocationStrategy.POOL_ONLY
MANY = 1 << 40


def budget_of(
    initial: int, maximum: int | None = None, *, max_bytes: int = MANY, share: float = 1.0
) -> Budget:
    return Budget(initial, maximum or initial, max_bytes, share)


class Channel:
    """A channel, as far as its account goes: it counts how often it was told of room."""

    def __init__(self, budget: Budget) -> None:
        self.told = 0
        self.account = ChannelAccount(budget, self._on_room)
        self._received = 0

    def _on_room(self) -> None:
        self.told += 1

    def receive(self, *costs: int) -> list[Message]:
        """Messages of so many bytes."""
        self._received += sum(costs)
        self.account.charge(len(costs), self._received)
        return [Message(None, b"", b"", self.account, cost) for cost in costs]


# ---------------------------------------------------------------------- the message pool


def test_a_maximum_below_the_initial_number_is_raised_to_it() -> None:
    assert budget_of(16, 8).maximum == 16


def test_get_takes_from_the_pool_and_then_creates_or_not() -> None:
    budget = budget_of(1)
    lent = budget.get(POOL_ONLY)
    assert lent is not None
    assert budget.free == 0
    assert budget.get(POOL_ONLY) is None
    assert budget.get(ALWAYS) is not None
    assert budget.free == 0
    budget.put(lent)
    assert budget.free == 1


def test_every_message_is_a_new_one() -> None:
    budget = budget_of(2)
    first, second = budget.get(ALWAYS), budget.get(ALWAYS)
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.to_bytes() == bytes(16)


@pytest.mark.parametrize("lend", [False, True])
def test_a_message_that_was_put_back_is_released_and_counts_once(lend: bool) -> None:
    budget = budget_of(1, 2)
    message = budget.get(ALWAYS) if lend else Message()
    assert message is not None
    budget.put(message)
    free = budget.free
    with pytest.raises(MessageReleasedError):
        budget.put(message)
    assert budget.free == free == (1 if lend else 2)


def test_messages_from_outside_add_to_the_pool_up_to_its_maximum() -> None:
    budget = budget_of(1, 3)
    for free in (2, 3, 3):
        budget.put(Message())
        assert budget.free == free


def test_what_is_lent_has_its_place_in_the_pool_as_well() -> None:
    budget = budget_of(2, 2)
    lent = [budget.get(ALWAYS), budget.get(ALWAYS)]
    budget.put(Message())
    for message in lent:
        assert message is not None
        budget.put(message)
    assert budget.free == budget.maximum == 2


def test_what_the_engine_makes_costs_nothing_and_brings_nothing() -> None:
    budget = budget_of(1, 5)
    message = Message()
    message._account = UNCOUNTED
    budget.put(message)
    assert budget.free == 1
    message = Message()
    message._account = UNCOUNTED
    del message
    assert budget.free == 1


def test_a_message_of_another_engine_is_credited_there() -> None:
    here, there = budget_of(1, 5), budget_of(1, 5)
    lent = there.get(ALWAYS)
    assert lent is not None
    here.put(lent)
    assert (here.free, there.free) == (1, 1)


def test_a_successor_is_charged_for_what_it_succeeds() -> None:
    budget = budget_of(4)
    (message,) = Channel(budget).receive(10)
    successor = message.hand_over()
    assert (budget.free, budget.bytes_held) == (3, 10)
    budget.put(successor)
    assert (budget.free, budget.bytes_held) == (4, 0)


# ---------------------------------------------------------------------- room


def test_room_is_what_is_free_and_within_the_share() -> None:
    budget = budget_of(8, share=0.5)
    one, other = Channel(budget), Channel(budget)
    assert one.account.room == 4
    held = one.receive(1, 1, 1)
    assert (one.account.room, other.account.room) == (1, 4)
    held += other.receive(1, 1, 1)
    assert (one.account.room, other.account.room) == (1, 1)
    held += one.receive(1)
    assert (one.account.room, other.account.room) == (0, 1)
    assert len(held) == 7


def test_room_is_limited_by_bytes_too() -> None:
    budget = budget_of(100, max_bytes=100, share=0.5)
    one, other, third = Channel(budget), Channel(budget), Channel(budget)
    held = one.receive(49)
    assert one.account.room == 49
    held += one.receive(1)
    assert one.account.room == 0
    assert other.account.room == 50
    held += other.receive(50)
    assert budget.used_up
    assert (other.account.room, third.account.room) == (0, 1)
    assert len(held) == 3


def test_who_holds_nothing_may_have_one_whatever_the_others_hold() -> None:
    budget = budget_of(1, max_bytes=1)
    channels = [Channel(budget) for _ in range(5)]
    held = [channel.receive(10) for channel in channels if channel.account.room == 1]
    assert len(held) == 5
    assert budget.free == -4
    assert [channel.account.room for channel in channels] == [0] * 5


@pytest.mark.parametrize("share", [1e-9, 0.1, 1.0])
def test_a_share_is_one_message_and_one_byte_at_least(share: float) -> None:
    budget = budget_of(3, max_bytes=5, share=share)
    assert 1 <= budget.share <= 3
    assert 1 <= budget.share_bytes <= 5


# ---------------------------------------------------------------------- waiting for room


def test_who_has_used_its_share_is_told_when_half_of_it_is_given_back() -> None:
    budget = budget_of(100, share=0.08)
    channel = Channel(budget)
    held = channel.receive(*[1] * 8)
    channel.account.wait_for_room()
    for told in (0, 0, 0, 1):
        held.pop().release()
        assert channel.told == told
    assert budget.watchers == 0
    held.pop().release()
    assert channel.told == 1


def test_the_half_is_one_of_bytes_too() -> None:
    budget = budget_of(100, max_bytes=100, share=0.5)
    channel = Channel(budget)
    held = channel.receive(20, 20, 9, 1)
    channel.account.wait_for_room()
    for told in (0, 0, 1):  # 49, 40 and 20 bytes are left
        held.pop().release()
        assert channel.told == told


def test_who_holds_more_than_half_its_share_gets_its_turn_when_it_was_short_of_budget() -> None:
    """The application may need the next message to be through with those that it holds."""
    budget = budget_of(4, share=1.0)
    one, other = Channel(budget), Channel(budget)
    held, others = one.receive(1, 1, 1), other.receive(1)
    one.account.wait_for_room()
    assert one.told == 0
    others.pop().release()
    assert one.told == 1
    assert one.account.room == 1
    assert len(held) == 3


def test_who_gets_its_turn_and_has_no_share_left_waits_for_that() -> None:
    budget = budget_of(4, share=0.5)
    one, other = Channel(budget), Channel(budget)
    held, others = one.receive(1, 1), other.receive(1, 1)
    one.account.wait_for_room()
    others.pop().release()
    assert one.told == 0
    held.pop().release()
    assert one.told == 1
    assert len(others) == len(held) == 1


def test_who_waits_and_holds_nothing_any_more_is_told_though_nothing_is_free() -> None:
    budget = budget_of(1)
    one, other = Channel(budget), Channel(budget)
    (mine,), others = one.receive(1), other.receive(1)
    one.account.wait_for_room()
    mine.release()
    assert budget.free == 0
    assert one.told == 1
    assert len(others) == 1


def test_who_is_told_without_delay_does_not_wait() -> None:
    budget = budget_of(2)
    channel = Channel(budget)
    channel.account.wait_for_room()
    assert channel.told == 1
    assert budget.watchers == 0


@given(order=st.permutations(range(4)), count=st.integers(0, 12))
def test_those_short_of_budget_are_served_in_turn(order: list[int], count: int) -> None:
    """Each takes what is free and waits again, behind the others."""
    budget = budget_of(16)
    channels = [Channel(budget) for _ in range(4)]
    held = [channel.receive(1) for channel in channels]
    others = Channel(budget).receive(*[1] * 12)
    for index in order:
        channels[index].account.wait_for_room()
    for number in range(count):
        before = [channel.told for channel in channels]
        others.pop().release()
        (served,) = [i for i, channel in enumerate(channels) if channel.told > before[i]]
        assert served == order[number % 4]
        held.append(channels[served].receive(1))
        channels[served].account.wait_for_room()
    assert len(held) == 4 + count


def test_who_has_closed_is_passed_over() -> None:
    budget = budget_of(2)
    channels = [Channel(budget) for _ in range(3)]
    one, other, third = channels
    held = [channel.receive(1) for channel in channels]
    for channel in channels:
        channel.account.wait_for_room()
    one.account.close()
    assert one.account.closed
    third.account.close()
    held[0].pop().release()
    assert budget.free == 0
    held[2].pop().release()
    assert [channel.told for channel in channels] == [0, 1, 0]
    assert budget.watchers == 0
    other.account.close()
    assert budget.watchers == 0


def test_of_who_has_closed_nothing_is_kept_though_nothing_is_ever_free() -> None:
    budget = budget_of(1)
    held = [budget.get(POOL_ONLY)]
    for _ in range(100):
        channel = Channel(budget)
        message, *_ = channel.receive(1)
        channel.account.wait_for_room()
        channel.account.close()
        message.release()
    assert len(held) == 1
    assert budget.free == 0
    assert len(budget._waiting) == 0


def test_who_has_got_room_out_of_its_turn_keeps_its_place() -> None:
    budget = budget_of(1)
    one, other, third = (Channel(budget) for _ in range(3))
    held = {channel: channel.receive(1) for channel in (one, other, third)}
    for channel in (one, other):
        channel.account.wait_for_room()
    held[one].pop().release()  # it holds nothing now, and may have one
    assert (one.told, other.told) == (1, 0)
    held[one] = one.receive(1)
    one.account.wait_for_room()
    held[third].pop().release()
    assert (one.told, other.told) == (1, 0)
    assert budget.free == -1


# ---------------------------------------------------------------------- unfinished messages


def test_bytes_of_unfinished_messages_add_up_over_all_channels() -> None:
    budget = budget_of(1, max_bytes=80)
    one, other = Channel(budget).account, Channel(budget).account
    one.note_unfinished(30)
    other.note_unfinished(30)
    assert (budget.bytes_unfinished, budget.tight, budget.excess) == (60, True, 0)
    one.note_unfinished(10)
    assert (budget.bytes_unfinished, budget.tight, budget.excess) == (40, False, 0)
    one.note_unfinished(51)
    assert (budget.bytes_unfinished, budget.excess) == (81, 11)
    one.close()
    assert budget.bytes_unfinished == 30


def test_nobody_has_to_go_for_what_waits_for_room() -> None:
    budget = budget_of(1, max_bytes=80)
    one, other = Channel(budget).account, Channel(budget).account
    one.note_unfinished(0, 100)
    assert (budget.bytes_unfinished, budget.tight, budget.excess) == (100, True, 0)
    other.note_unfinished(1)
    assert (budget.bytes_begun, budget.excess) == (1, 31)
    other.note_unfinished(0, 1)
    assert (budget.bytes_begun, budget.excess) == (0, 0)


def test_a_budget_without_free_messages_is_tight() -> None:
    budget = budget_of(1)
    assert not budget.tight
    lent = budget.get(ALWAYS)
    assert budget.tight
    assert lent is not None


# ---------------------------------------------------------------------- dry spells


@pytest.mark.parametrize(("initial", "enough"), [(1, 1), (2, 1), (3, 1), (4, 2), (10, 5), (11, 5)])
def test_a_dry_spell_ends_when_half_of_the_messages_are_free(initial: int, enough: int) -> None:
    budget = budget_of(initial)
    lent = [budget.get(ALWAYS) for _ in range(initial)]
    assert budget.spells == 0
    assert budget.run_dry() == budget.run_dry() == budget.spells == 1
    assert budget.watchers == 1

    def put(count: int) -> None:
        for _ in range(count):
            message = lent.pop()
            assert message is not None
            budget.put(message)

    put(enough - 1)
    assert budget.run_dry() == 1
    put(1)
    assert budget.watchers == 0
    assert budget.run_dry() == 2


def test_a_dry_spell_lasts_as_long_as_more_than_half_of_the_bytes_are_held() -> None:
    budget = budget_of(100, max_bytes=100)
    channel = Channel(budget)
    held = channel.receive(40, 40, 20)
    assert budget.used_up
    assert budget.run_dry() == 1
    held.pop().release()
    assert budget.run_dry() == 1
    held.pop().release()
    assert budget.run_dry() == 2
    assert len(held) == 1


# ---------------------------------------------------------------------- what was forgotten


class Token:
    """A Trio run that does at once what it is told to do soon, or that has ended."""

    def __init__(self, *, ended: bool = False) -> None:
        self._ended = ended
        self.soon: list[Callable[[], object]] = []

    def run_sync_soon(self, call: Callable[[], object], *, idempotent: bool) -> None:
        assert idempotent
        if self._ended:
            raise trio.RunFinishedError
        self.soon.append(call)


def watched(budget: Budget, token: Token) -> None:
    budget.watch_for_forgotten(token)  # type: ignore[arg-type]


def test_what_is_forgotten_is_credited_in_the_engines_own_time() -> None:
    budget, token = budget_of(4), Token()
    watched(budget, token)
    held = [*Channel(budget).receive(10, 20), budget.get(ALWAYS)]
    assert (budget.free, budget.bytes_held) == (1, 30)
    held.clear()
    assert (budget.free, budget.bytes_held) == (1, 30)
    assert len(token.soon) == 3
    token.soon[0]()
    assert (budget.free, budget.bytes_held) == (4, 0)
    token.soon[1]()
    assert budget.free == 4


def in_another_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_what_is_given_back_in_another_thread_is_credited_in_the_engines_own() -> None:
    budget, token, other = budget_of(2), Token(), budget_of(2)
    watched(budget, token)
    channel = Channel(budget)
    received, lent = channel.receive(20), budget.get(ALWAYS)
    assert lent is not None
    channel.account.wait_for_room()
    in_another_thread(received.pop().release)
    in_another_thread(lambda: other.put(lent))
    assert (budget.free, budget.bytes_held, channel.told) == (0, 20, 0)
    with pytest.raises(MessageReleasedError):
        lent.release()
    for call in token.soon:
        call()
    assert (budget.free, budget.bytes_held, channel.told) == (2, 0, 1)
    assert other.free == 2


@pytest.mark.parametrize("ended", ["the engine", "its Trio run"])
def test_what_another_thread_gives_back_after_the_end_is_owed_to_nobody(ended: str) -> None:
    budget = budget_of(4)
    watched(budget, Token(ended=ended == "its Trio run"))
    (message,) = Channel(budget).receive(10)
    if ended == "the engine":
        budget.stop_watching()
    in_another_thread(message.release)
    assert budget.free == 3


def test_before_an_engine_has_begun_and_after_its_end_nothing_is_owed_to_it() -> None:
    budget, token = budget_of(4), Token()
    channel = Channel(budget)
    del channel.receive(10)[:]
    watched(budget, token)
    held = channel.receive(10)
    budget.stop_watching()
    held.clear()
    assert token.soon == []
    budget.collect()
    assert budget.free == 2


def test_after_the_trio_run_has_ended_nothing_is_said() -> None:
    budget = budget_of(4)
    watched(budget, Token(ended=True))
    del Channel(budget).receive(10)[:]
    budget.collect()
    assert budget.free == 4


def test_what_comes_back_into_a_full_pool_adds_nothing() -> None:
    budget = budget_of(1)
    channel = Channel(budget)
    (message,) = channel.receive(10)
    budget.put(Message())  # takes the place of the one that was received
    assert budget.free == 1
    budget.put(message)
    assert (budget.free, budget.bytes_held, channel.account.held) == (1, 0, 0)
