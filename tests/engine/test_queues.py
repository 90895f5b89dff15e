"""What waits to be sent, in all channels of an engine together."""

import pytest

from pytofu.engine.queues import SendQueues

KIB = 1024


def test_a_channel_may_queue_what_it_may_until_all_together_have_too_much() -> None:
    queues = SendQueues(max_channel=500 * KIB, max_total=1000 * KIB)
    for _ in range(2):
        queues.note(500 * KIB)
        assert (queues.limit, queues.reached) == (500 * KIB, "max_queued_bytes")
    queues.note(1)
    assert (queues.total, queues.limit) == (1000 * KIB + 1, 64 * KIB)
    assert queues.reached == "max_total_queued_bytes"
    queues.note(-1)
    assert (queues.limit, queues.reached) == (500 * KIB, "max_queued_bytes")


def test_a_small_limit_does_not_grow_because_the_total_is_reached() -> None:
    queues = SendQueues(max_channel=10, max_total=20)
    queues.note(21)
    assert queues.limit == 10


@pytest.mark.parametrize(("total", "excess"), [(0, 0), (100, 0), (125, 0), (126, 26), (200, 100)])
def test_channels_are_closed_only_a_quarter_above_the_limit(total: int, excess: int) -> None:
    queues = SendQueues(max_channel=10, max_total=100)
    queues.note(total)
    assert queues.excess == excess


def test_what_is_on_its_way_back_costs_nobody_else_his_channel() -> None:
    queues = SendQueues(max_channel=10, max_total=100)
    queues.note(130)
    queues.returning += 60
    assert (queues.excess, queues.reached) == (0, "max_total_queued_bytes")
    queues.note(60)
    assert queues.excess == 30


def test_above_that_nobody_is_read_from_whose_answers_wait() -> None:
    queues = SendQueues(max_channel=10, max_total=100)
    queues.note(125)
    assert (queues.too_much, queues.limit_to_read) == (False, 10)
    queues.returning += 100
    queues.note(1)
    assert (queues.too_much, queues.limit_to_read, queues.limit) == (True, 0, 10)
    queues.note(-1)
    assert (queues.too_much, queues.limit_to_read) == (False, 10)
