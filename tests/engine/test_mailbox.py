"""The mailbox: order, interrupt, timeout, close, several receivers (pattern guide, section 6)."""

import math
from collections import deque

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from pytofu import Err, MailBox, MailBoxStatus, Ok
from pytofu.patterns.result import Result

TIMEOUT = Err(MailBoxStatus.TIMEOUT)
INTERRUPTED = Err(MailBoxStatus.INTERRUPTED)
CLOSED = Err(MailBoxStatus.CLOSED)

type Received = Result[int, MailBoxStatus]


@pytest.fixture
def box() -> MailBox[int]:
    return MailBox()


class Receivers:
    """Tasks that receive once each; `results` fills up in the order in which they end."""

    def __init__(self, box: MailBox[int], nursery: trio.Nursery) -> None:
        self.box = box
        self.nursery = nursery
        self.results: list[Received] = []

    async def add(
        self, count: int = 1, *, seconds: float = math.inf, scope: trio.CancelScope | None = None
    ) -> None:
        """Start some and let them wait."""
        for _ in range(count):
            self.nursery.start_soon(self._receive, seconds, scope or trio.CancelScope())
            await wait_all_tasks_blocked()

    async def _receive(self, seconds: float, scope: trio.CancelScope) -> None:
        with scope:
            self.results.append(await self.box.receive(seconds))

    async def settled(self) -> list[Received]:
        await wait_all_tasks_blocked()
        return self.results


# ---------------------------------------------------------------------- sending and taking


def test_items_are_taken_in_the_order_in_which_they_were_sent(box: MailBox[int]) -> None:
    assert box.take() is None
    assert box.send(1).is_ok()
    assert box.send_all([2, 3]).is_ok()
    assert box.send_all([]).is_ok()
    assert box.send(4).is_ok()
    assert len(box) == 4
    assert [box.take(), box.take()] == [1, 2]
    assert len(box) == 2
    assert [box.take(), box.take(), box.take()] == [3, 4, None]
    assert len(box) == 0


@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(), max_size=4), st.sampled_from(["take", "interrupt", "close"])
        )
    )
)
def test_a_mailbox_is_a_queue_until_it_is_closed(steps: list[list[int] | str]) -> None:
    box: MailBox[int] = MailBox()
    queue: deque[int] = deque()
    is_closed = is_interrupted = False
    for step in steps:
        match step:
            case "take":
                assert box.take() == (queue.popleft() if queue else None)
            case "interrupt":
                expected = CLOSED if is_closed else INTERRUPTED if is_interrupted else Ok(None)
                assert box.interrupt() == expected
                is_interrupted = True
            case "close":
                assert box.close() == list(queue)
                queue.clear()
                is_closed = True
            case _:
                assert isinstance(step, list)
                assert box.send_all(step) == (CLOSED if is_closed else Ok(None))
                if not is_closed:
                    queue.extend(step)
        assert len(box) == len(queue)


# ---------------------------------------------------------------------- receiving


async def test_receive_gives_what_waits_in_order(box: MailBox[int]) -> None:
    box.send_all([1, 2])
    box.send(3)
    assert [await box.receive() for _ in range(3)] == [Ok(1), Ok(2), Ok(3)]


async def test_receive_waits_for_an_item(box: MailBox[int], nursery: trio.Nursery) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    assert receivers.results == []
    box.send(1)
    assert await receivers.settled() == [Ok(1)]
    assert len(box) == 0


async def test_an_item_that_is_false_is_an_item(nursery: trio.Nursery) -> None:
    box: MailBox[str] = MailBox()
    box.send_all(["", "a"])
    assert await box.receive() == Ok("")
    assert box.take() == "a"


async def test_items_that_come_while_one_waits_stay_in_order(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    box.send_all([1, 2, 3])
    box.send(4)
    assert await receivers.settled() == [Ok(1)]
    assert len(box) == 3
    assert [box.take(), box.take(), box.take()] == [2, 3, 4]


@pytest.mark.parametrize("batches", [[[1, 2, 3, 4, 5]], [[1], [2, 3], [], [4, 5]], [[1, 2], [3]]])
async def test_several_receivers_at_once_get_everything(
    box: MailBox[int], nursery: trio.Nursery, batches: list[list[int]]
) -> None:
    items = [item for batch in batches for item in batch]
    receivers = Receivers(box, nursery)
    await receivers.add(len(items))
    for batch in batches:
        box.send_all(batch)
    results = await receivers.settled()
    assert sorted(result.unwrap() for result in results) == items
    assert len(box) == 0


async def test_receivers_that_have_nothing_go_on_waiting(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(3)
    box.send_all([1, 2])
    assert sorted(result.unwrap() for result in await receivers.settled()) == [1, 2]
    box.send(3)
    assert (await receivers.settled())[-1] == Ok(3)


async def test_a_receiver_does_not_wait_while_something_is_there(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    box.send_all([1, 2, 3])
    await receivers.add(2)
    assert sorted(result.unwrap() for result in await receivers.settled()) == [1, 2, 3]


# ---------------------------------------------------------------------- a receiver just woken


async def test_an_item_is_everybodys_until_the_woken_receiver_runs(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    box.send_all([1, 2])
    assert box.take() == 1
    assert len(box) == 1
    assert await receivers.settled() == [Ok(2)]


async def test_a_woken_receiver_that_finds_nothing_waits_on(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    box.send(1)
    assert box.take() == 1
    assert await receivers.settled() == []
    box.send(2)
    assert await receivers.settled() == [Ok(2)]


@pytest.mark.parametrize("receiving", [1, 2, 3, 4])
async def test_close_in_the_step_in_which_receivers_are_woken(
    box: MailBox[int], nursery: trio.Nursery, receiving: int
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(receiving)
    box.send(1)
    box.send_all([2, 3])
    assert box.close() == [1, 2, 3]
    assert await receivers.settled() == [CLOSED] * receiving
    assert len(box) == 0


async def test_a_receiver_that_comes_when_another_is_woken_takes_nothing_twice(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    box.send(1)
    result = await box.receive(0)
    box.send(2)
    results = await receivers.settled()
    received = [*results, *([result] if result != TIMEOUT else [])]
    left = box.take()
    assert sorted([*(r.unwrap() for r in received), *([left] if left else [])]) == [1, 2]
    assert len(results) == 1


# ---------------------------------------------------------------------- timeouts and polling


async def test_receive_gives_up_when_time_is_up(
    box: MailBox[int], autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    assert await box.receive(7) == TIMEOUT
    assert trio.current_time() - start == 7


async def test_receive_with_a_timeout_gives_what_comes_in_time(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(seconds=60)
    box.send(1)
    assert await receivers.settled() == [Ok(1)]
    box.send(2)
    assert await box.receive(60) == Ok(2)


async def test_zero_polls(box: MailBox[int]) -> None:
    assert await box.receive(0) == TIMEOUT
    box.send(1)
    assert await box.receive(0) == Ok(1)
    assert await box.receive(0) == TIMEOUT


# ---------------------------------------------------------------------- interrupt


async def test_interrupt_wakes_the_one_that_waits(box: MailBox[int], nursery: trio.Nursery) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add()
    assert box.interrupt() == Ok(None)
    assert await receivers.settled() == [INTERRUPTED]


async def test_interrupt_wakes_the_next_to_wait_once(box: MailBox[int]) -> None:
    assert box.interrupt() == Ok(None)
    assert await box.receive() == INTERRUPTED
    assert await box.receive(0) == TIMEOUT
    box.send(1)
    assert await box.receive() == Ok(1)


async def test_interrupt_wakes_only_one_of_several(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(3)
    box.interrupt()
    assert await receivers.settled() == [INTERRUPTED]
    box.send_all([1, 2])
    assert sorted(result.unwrap() for result in (await receivers.settled())[1:]) == [1, 2]


async def test_a_second_interrupt_says_so_until_the_first_was_noticed(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    assert box.interrupt() == Ok(None)
    assert box.interrupt() == INTERRUPTED
    assert await box.receive() == INTERRUPTED
    receivers = Receivers(box, nursery)
    await receivers.add(2)
    assert box.interrupt() == Ok(None)
    assert box.interrupt() == INTERRUPTED
    assert await receivers.settled() == [INTERRUPTED]
    assert box.interrupt() == Ok(None)
    assert await receivers.settled() == [INTERRUPTED, INTERRUPTED]


async def test_an_interrupt_costs_no_item(box: MailBox[int], nursery: trio.Nursery) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(2)
    box.interrupt()
    box.send(1)
    results = await receivers.settled()
    assert INTERRUPTED in results
    assert Ok(1) in results


async def test_what_waits_is_received_before_the_interrupt_is_noticed(box: MailBox[int]) -> None:
    box.send_all([1, 2])
    box.interrupt()
    assert [await box.receive(), await box.receive()] == [Ok(1), Ok(2)]
    assert box.interrupt() == INTERRUPTED
    assert await box.receive(60) == INTERRUPTED


async def test_an_interrupt_is_not_an_item(box: MailBox[int]) -> None:
    box.interrupt()
    assert len(box) == 0
    assert box.take() is None
    assert box.close() == []


# ---------------------------------------------------------------------- close


async def test_close_hands_back_what_waits_and_refuses_more(box: MailBox[int]) -> None:
    box.send_all([1, 2])
    box.send(3)
    assert box.take() == 1
    assert box.close() == [2, 3]
    assert len(box) == 0
    assert box.send(4) == CLOSED
    assert box.send_all([5]) == CLOSED
    assert box.take() is None
    assert box.interrupt() == CLOSED
    assert await box.receive() == CLOSED
    assert await box.receive(0) == CLOSED
    assert await box.receive(60) == CLOSED


async def test_close_wakes_everybody_who_waits(box: MailBox[int], nursery: trio.Nursery) -> None:
    receivers = Receivers(box, nursery)
    await receivers.add(2)
    await receivers.add(seconds=60)
    assert box.close() == []
    assert await receivers.settled() == [CLOSED] * 3


async def test_closing_twice_is_harmless(box: MailBox[int]) -> None:
    box.send(1)
    assert box.close() == [1]
    assert box.close() == []


# ---------------------------------------------------------------------- cancellation


async def test_a_cancelled_receiver_loses_nothing(box: MailBox[int], nursery: trio.Nursery) -> None:
    receivers = Receivers(box, nursery)
    scope = trio.CancelScope()
    await receivers.add(scope=scope)
    scope.cancel()
    await wait_all_tasks_blocked()
    box.send(1)
    assert await receivers.settled() == []
    assert box.take() == 1


@pytest.mark.parametrize("others", [0, 1, 2])
async def test_a_receiver_cancelled_in_the_step_in_which_it_is_woken_loses_nothing(
    box: MailBox[int], nursery: trio.Nursery, others: int
) -> None:
    receivers = Receivers(box, nursery)
    scope = trio.CancelScope()
    await receivers.add(scope=scope)
    await receivers.add(others)
    box.send_all([1, 2, 3])
    scope.cancel()
    received = [result.unwrap() for result in await receivers.settled()]
    left = [item for item in (box.take(), box.take(), box.take()) if item is not None]
    assert sorted([*received, *left]) == [1, 2, 3]
    assert len(received) >= others


async def test_an_interrupt_that_a_cancelled_receiver_was_woken_for_is_not_lost(
    box: MailBox[int], nursery: trio.Nursery
) -> None:
    receivers = Receivers(box, nursery)
    scope = trio.CancelScope()
    await receivers.add(scope=scope)
    scope.cancel()
    box.interrupt()
    results = await receivers.settled()
    if not results:
        results = [await box.receive(0)]
    assert results == [INTERRUPTED]


async def test_receiving_in_a_cancelled_scope_takes_nothing(box: MailBox[int]) -> None:
    box.send(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await box.receive()
    assert scope.cancelled_caught
    assert box.take() == 1


@pytest.mark.parametrize("seconds", [math.inf, 60, 0])
@pytest.mark.parametrize("what", ["an item", "an interrupt", "nothing", "the end"])
async def test_receive_is_always_a_checkpoint(box: MailBox[int], seconds: float, what: str) -> None:
    match what:
        case "an item":
            box.send(1)
        case "an interrupt":
            box.interrupt()
        case "the end":
            box.close()
        case _:
            seconds = 0
    with assert_checkpoints():
        await box.receive(seconds)


@pytest.mark.parametrize("call", ["send", "interrupt", "close"])
async def test_a_foreign_thread_is_told_before_anything_has_changed(call: str) -> None:
    mailbox = MailBox[int]()
    arguments = (1,) if call == "send" else ()
    with pytest.raises(RuntimeError, match=rf"MailBox\.{call} was called in another thread"):
        await trio.to_thread.run_sync(getattr(mailbox, call), *arguments)
    assert (len(mailbox), mailbox.closed) == (0, False)
    assert await mailbox.receive(0) == Err(MailBoxStatus.TIMEOUT)
