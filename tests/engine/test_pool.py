"""The message pool: the budget of messages that receiving may spend (PROTOCOL 2 and 4)."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pytofu.engine.pool import Pool
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.message import Message, MessageReleasedError

ALWAYS = AllocationStrategy.ALWAYS
POOL_ONLY = AllocationStrategy.POOL_ONLY


class Readers:
    """Readers that wait for a message each, take it, and say so."""

    def __init__(self, pool: Pool, nursery: trio.Nursery) -> None:
        self.pool = pool
        self.nursery = nursery
        self.served: list[str] = []

    async def add(self, name: str, scope: trio.CancelScope | None = None) -> None:
        self.nursery.start_soon(self._read, name, scope or trio.CancelScope())
        await wait_all_tasks_blocked()

    async def _read(self, name: str, scope: trio.CancelScope) -> None:
        with scope:
            await self.pool.wait_free()
            if not scope.cancel_called:
                self.pool.take(1)
                self.served.append(name)
        self.pool.pass_on()


def test_a_pool_starts_with_its_initial_number_and_never_holds_more_than_its_maximum() -> None:
    pool = Pool(2, 3)
    assert (pool.free, pool.initial, pool.maximum) == (2, 2, 3)
    pool.put(1)
    pool.put(1)
    assert pool.free == 3
    pool.put(100)
    assert pool.free == 3


def test_a_maximum_below_the_initial_number_is_raised_to_it() -> None:
    assert Pool(16, 8).maximum == 16


def test_get_takes_from_the_pool_and_then_creates_or_not() -> None:
    pool = Pool(1, 1)
    assert pool.get(POOL_ONLY) is not None
    assert pool.free == 0
    assert pool.get(POOL_ONLY) is None
    assert pool.get(ALWAYS) is not None
    assert pool.free == 0


def test_every_message_is_a_new_one() -> None:
    pool = Pool(2, 2)
    first, second = pool.get(ALWAYS), pool.get(ALWAYS)
    assert first is not None
    assert second is not None
    assert first is not second
    assert first.to_bytes() == bytes(16)


def test_a_message_that_is_taken_back_is_released() -> None:
    pool = Pool(1, 2)
    message = Message()
    pool.take_back(message)
    assert pool.free == 2
    with pytest.raises(MessageReleasedError):
        pool.take_back(message)
    assert pool.free == 2


def test_a_posted_message_is_free_again_as_far_as_the_maximum_allows() -> None:
    pool = Pool(1, 2)
    for free in (2, 2):
        pool.posted()
        assert pool.free == free


def test_take_spends_messages_that_the_caller_makes_itself() -> None:
    pool = Pool(5, 5)
    pool.take(3)
    assert pool.free == 2


@given(
    initial=st.integers(1, 5),
    maximum=st.integers(1, 8),
    steps=st.lists(st.sampled_from(["get", "get only", "put", "put many", "posted", "take"])),
)
def test_what_is_free_stays_between_nothing_and_the_maximum(
    initial: int, maximum: int, steps: list[str]
) -> None:
    pool = Pool(initial, maximum)
    for step in steps:
        before = pool.free
        match step:
            case "get":
                assert pool.get(ALWAYS) is not None
                assert pool.free == max(0, before - 1)
            case "get only":
                assert (pool.get(POOL_ONLY) is None) == (before == 0)
                assert pool.free == max(0, before - 1)
            case "put":
                pool.put(1)
                assert pool.free == min(pool.maximum, before + 1)
            case "put many":
                pool.put(3)
                assert pool.free == min(pool.maximum, before + 3)
            case "posted":
                pool.posted()
                assert pool.free == min(pool.maximum, before + 1)
            case _:
                pool.take(before)
                assert pool.free == 0
        assert 0 <= pool.free <= pool.maximum


@pytest.mark.parametrize(("initial", "enough"), [(1, 1), (2, 1), (3, 1), (4, 2), (10, 5), (11, 5)])
def test_a_dry_spell_ends_when_the_pool_is_half_full(initial: int, enough: int) -> None:
    pool = Pool(initial, initial)
    pool.take(initial)
    assert pool.spell == 0
    assert pool.run_dry() == pool.run_dry() == pool.spell == 1
    pool.put(enough - 1)
    assert pool.run_dry() == 1
    pool.put(1)
    assert pool.run_dry() == 2
    pool.take(enough)
    assert pool.run_dry() == 2


async def test_waiting_ends_at_once_when_a_message_is_free() -> None:
    await Pool(1, 1).wait_free()


async def test_readers_are_served_in_the_order_in_which_they_came(nursery: trio.Nursery) -> None:
    pool = Pool(2, 2)
    pool.take(2)
    readers = Readers(pool, nursery)
    for name in "abc":
        await readers.add(name)
    assert readers.served == []
    pool.put(1)
    await wait_all_tasks_blocked()
    assert readers.served == ["a"]
    pool.put(2)
    await wait_all_tasks_blocked()
    assert sorted(readers.served) == ["a", "b", "c"]
    assert pool.free == 0


async def test_a_reader_that_finds_its_message_gone_waits_on(nursery: trio.Nursery) -> None:
    pool = Pool(1, 1)
    pool.take(1)
    readers = Readers(pool, nursery)
    await readers.add("a")
    pool.put(1)
    assert pool.get(POOL_ONLY) is not None
    await wait_all_tasks_blocked()
    assert readers.served == []
    pool.put(1)
    await wait_all_tasks_blocked()
    assert readers.served == ["a"]


async def test_a_reader_that_waits_is_woken_in_whatever_spell(nursery: trio.Nursery) -> None:
    pool = Pool(8, 8)
    pool.take(8)
    pool.run_dry()
    readers = Readers(pool, nursery)
    for name in "abc":
        await readers.add(name)
    for served in range(1, 4):
        pool.put(1)
        await wait_all_tasks_blocked()
        assert readers.served == list("abc")[:served]
    pool.put(8)  # the spell is over
    pool.take(8)
    await readers.add("d")
    pool.put(1)
    await wait_all_tasks_blocked()
    assert readers.served == list("abcd")


async def test_a_reader_cancelled_while_it_waits_costs_no_wake_up(nursery: trio.Nursery) -> None:
    pool = Pool(1, 1)
    pool.take(1)
    readers = Readers(pool, nursery)
    scope = trio.CancelScope()
    await readers.add("cancelled", scope)
    await readers.add("b")
    scope.cancel()
    await wait_all_tasks_blocked()
    pool.put(1)
    await wait_all_tasks_blocked()
    assert readers.served == ["b"]


async def test_a_woken_reader_that_is_cancelled_passes_its_turn_on(nursery: trio.Nursery) -> None:
    pool = Pool(1, 1)
    pool.take(1)
    readers = Readers(pool, nursery)
    scope = trio.CancelScope()
    await readers.add("cancelled", scope)
    await readers.add("b")
    pool.put(1)
    scope.cancel()
    await wait_all_tasks_blocked()
    assert readers.served == ["b"]


async def test_there_may_be_nothing_to_pass_on_and_nobody_to_pass_it_on_to(
    nursery: trio.Nursery,
) -> None:
    pool = Pool(1, 1)
    pool.pass_on()
    pool.take(1)
    readers = Readers(pool, nursery)
    await readers.add("a")
    pool.pass_on()
    await wait_all_tasks_blocked()
    assert readers.served == []
    pool.put(1)
