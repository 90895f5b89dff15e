"""A group's mailbox: fair between channels, in order within each."""

from collections import deque

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pytofu.engine.fair_mailbox import FairMailBox, Inbox
from pytofu.engine.mailbox import MailBoxStatus
from pytofu.patterns.result import OK, Err
from pytofu.values.message import Message

CLOSED = Err(MailBoxStatus.CLOSED)

OWN = -1
"""Instead of a channel: a message that belongs to none."""

type Step = tuple[str, int, int]

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(OWN, 3), st.integers(1, 5)),
        st.tuples(st.just("take"), st.just(0), st.integers(1, 5)),
    ),
    max_size=50,
)


class Box:
    """A mailbox and the inboxes of some channels; messages are known by their numbers."""

    def __init__(self) -> None:
        self.mailbox = FairMailBox()
        self.inboxes: list[Inbox] = [[] for _ in range(4)]
        self._count = 0

    def send(self, channel: int, count: int = 1) -> list[int]:
        """Numbers of the messages sent."""
        messages = [Message() for _ in range(count)]
        for message in messages:
            self._count += 1
            message.message_id = self._count
        if channel == OWN:
            assert self.mailbox.send_all(messages) is OK
        else:
            assert self.mailbox.send_to(self.inboxes[channel], messages) is OK
        return [message.message_id for message in messages]

    def take(self) -> int | None:
        message = self.mailbox.take()
        return None if message is None else message.message_id

    def take_all(self) -> list[int]:
        return [message.message_id for message in iter(self.mailbox.take, None)]


def test_channels_take_turns_however_much_each_has_sent() -> None:
    box = Box()
    busy, quiet, third = box.send(0, 5), box.send(1, 1), box.send(2, 2)
    assert len(box.mailbox) == 8
    expected = [busy[0], quiet[0], third[0], busy[1], third[1], *busy[2:]]
    assert box.take_all() == expected
    assert not box.mailbox


def test_who_comes_anew_is_the_next_but_few() -> None:
    box = Box()
    busy = box.send(0, 100)
    assert [box.take(), box.take()] == busy[:2]
    quiet = box.send(1)
    assert [box.take(), box.take()] == [busy[2], quiet[0]]


def test_what_belongs_to_no_channel_comes_behind_all_that_was_there() -> None:
    box = Box()
    first, own = box.send(0, 3), box.send(OWN)
    more, other = box.send(0, 2), box.send(1, 1)
    taken = [box.take() for _ in range(3)]
    assert own[0] not in taken
    rest = [box.take() for _ in range(4)]
    assert own[0] in rest[:2]
    assert sorted(n for n in (*taken, *rest) if n) == sorted([*first, *own, *more, *other])


@given(_steps)
def test_with_a_single_channel_everything_is_in_order(steps: list[Step]) -> None:
    box = Box()
    expected: deque[int] = deque()
    for what, channel, count in steps:
        if what == "send":
            expected.extend(box.send(min(channel, 0), count))
        else:
            for _ in range(count):
                assert box.take() == (expected.popleft() if expected else None)
        assert len(box.mailbox) == len(expected)
        assert bool(box.mailbox) == bool(expected)
    assert box.take_all() == list(expected)


@given(_steps)
def test_order_within_and_turns_between_and_nothing_lost(steps: list[Step]) -> None:
    box = Box()
    waiting: dict[int, deque[int]] = {channel: deque() for channel in range(OWN, 4)}
    # Who was taken from since this channel has waited to be taken from.
    passed: dict[int, list[int]] = {channel: [] for channel in waiting}
    sent = taken = 0
    due: deque[int] = deque()

    def take() -> None:
        nonlocal taken
        number = box.take()
        if number is None:
            assert not any(waiting.values())
            return
        (channel,) = (c for c, numbers in waiting.items() if numbers and numbers[0] == number)
        waiting[channel].popleft()
        if channel == OWN:
            assert taken >= due.popleft()
        else:
            assert len(set(passed[channel])) == len(passed[channel])  # nobody twice
            for other, numbers in waiting.items():
                if numbers and other not in (channel, OWN):
                    passed[other].append(channel)
        passed[channel] = []
        taken += 1

    for what, channel, count in steps:
        if what == "send":
            if channel == OWN:
                due.extend(range(sent, sent + count))
            if not waiting[channel]:
                passed[channel] = []
            waiting[channel].extend(box.send(channel, count))
            sent += count
        else:
            for _ in range(count):
                take()
        assert len(box.mailbox) == sum(map(len, waiting.values()))
    while box.mailbox:
        take()
    assert not any(waiting.values())


@given(_steps)
def test_close_gives_everything_back_and_refuses_more(steps: list[Step]) -> None:
    box = Box()
    waiting: set[int] = set()
    for what, channel, count in steps:
        if what == "send":
            waiting.update(box.send(channel, count))
        else:
            for _ in range(count):
                number = box.take()
                if number is not None:
                    waiting.discard(number)
    given_back = [message.message_id for message in box.mailbox.close()]
    assert sorted(given_back) == sorted(waiting)
    assert box.mailbox.closed
    assert box.take() is None
    assert not box.mailbox
    assert all(not inbox for inbox in box.inboxes)
    for inbox in box.inboxes:
        assert box.mailbox.send_to(inbox, [Message()]) == CLOSED
    assert box.mailbox.send_all([Message()]) == box.mailbox.send(Message()) == CLOSED
    assert box.mailbox.close() == []


@pytest.mark.parametrize("channel", [OWN, 0])
async def test_whoever_waits_is_woken(nursery: trio.Nursery, channel: int) -> None:
    box = Box()
    received: list[int] = []

    async def receive() -> None:
        message = (await box.mailbox.receive()).unwrap()
        received.append(message.message_id)

    for _ in range(3):
        nursery.start_soon(receive)
    await wait_all_tasks_blocked()
    sent = box.send(channel, 2)
    await wait_all_tasks_blocked()
    assert sorted(received) == sent
    sent += box.send(channel)
    await wait_all_tasks_blocked()
    assert sorted(received) == sent
