"""However many channels have something to do, the loop has its turn between."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, OpCode, Options
from pytofu.engine import eviction, passes
from pytofu.links.base import LinkError, Wait
from pytofu.protocol.framing import LONG_BURST
from tests.engine.scripted import ScriptedLink, open_server
from tests.support import App, End, frame, hello, open_app

CHANNELS: Final = 60
AT_ONCE: Final = 5
"""So many looks at the clock are within a pass, when each takes a fifth of it, and one more."""

Turns = Counter[int]


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * passes.LONGEST / AT_ONCE)


@attrs.define
class Many:
    """Channels, and how many of them did something in each turn of the loop."""

    app: App
    turns: Turns = attrs.Factory(Counter)
    channels: list[tuple[End, "CountedLink"]] = attrs.Factory(list)

    @property
    def turn(self) -> int:
        return self.app.chnls._group._turn.number

    async def open(self, count: int) -> None:
        """Accept so many."""
        for _ in range(count):
            link = CountedLink(self)
            self.channels.append((await open_server(self.app, link), link))
        self.turns.clear()

    def in_bounds(self, each: int = AT_ONCE + 1) -> bool:
        """Whether all did something, few in a turn."""
        return sum(self.turns.values()) >= len(self.channels) and max(self.turns.values()) <= each


class CountedLink(ScriptedLink):
    def __init__(self, many: Many) -> None:
        super().__init__()
        self.many = many

    def receive(self, size: int) -> bytes | Wait | LinkError:
        found = super().receive(size)
        if isinstance(found, bytes):
            self.many.turns[self.many.turn] += 1
        return found

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        self.many.turns[self.many.turn] += 1
        return super().send(data)


async def test_reading() -> None:
    async with open_app() as app:
        many = Many(app)
        await many.open(CHANNELS)
        for end, link in many.channels:
            link.arrived.append(frame(OpCode.SIGNAL, end.number))
            link.wake()
        await wait_all_tasks_blocked()
        assert many.in_bounds()
        events = await app.rest()
        assert [event.channel for event in events] == [end.number for end, _ in many.channels]


@pytest.mark.parametrize("receiving", [False, True], ids=["behind the turn", "while receiving"])
async def test_writing(receiving: bool) -> None:
    async with open_app() as app:
        many = Many(app)
        await many.open(CHANNELS)
        for end, _ in many.channels:
            end.post(OpCode.SIGNAL, 8)
        if receiving:
            app.chnls.update_receiver(Holder())
            await app.event()
        await wait_all_tasks_blocked()
        assert many.in_bounds(2 * (AT_ONCE + 1))  # what receives works, and what ends the turn
        assert all(
            link.sent == frame(OpCode.SIGNAL, 8, channel=end.number) for end, link in many.channels
        )


async def test_writing_while_a_receiver_leads() -> None:
    """It waits for the links, and is called for what is left to do."""
    async with open_app() as app, trio.open_nursery() as nursery:
        many = Many(app)
        await many.open(CHANNELS)
        nursery.start_soon(app.events, 2)
        end, link = many.channels[0]
        link.arrived.append(frame(OpCode.SIGNAL, end.number))
        link.wake()  # who follows takes the lead with its first message
        await wait_all_tasks_blocked()
        assert app.chnls._group._receiver_leads
        many.turns.clear()
        for end, _ in many.channels:
            end.post(OpCode.SIGNAL, 8)
        await wait_all_tasks_blocked()
        assert many.in_bounds(2 * (AT_ONCE + 1))
        app.chnls.update_receiver(Holder())


async def test_writing_between_messages_that_are_taken_without_waiting() -> None:
    async with open_app() as app:
        many = Many(app)
        await many.open(CHANNELS)
        (busy, link), *others = many.channels
        link.arrived.append(frame(OpCode.SIGNAL, busy.number) * 40)
        link.wake()
        await wait_all_tasks_blocked()
        many.turns.clear()
        for end, _ in others:
            end.post(OpCode.SIGNAL, 8)
        now = many.turn
        for _ in range(40):
            message = app.chnls.receive_nowait()
            assert message is not None
            app.ampe.put(Holder(message))
        assert AT_ONCE < many.turns[now] < 4 * AT_ONCE  # it looks behind every sixteenth
        await wait_all_tasks_blocked()
        assert sum(many.turns.values()) == len(others)


async def test_a_channel_that_writes_in_bursts_is_on_the_list_once() -> None:
    """What is full is written at once, and what comes behind it is work again."""
    async with open_app() as app:
        end = await open_server(app, ScriptedLink())
        for _ in range(5):
            for _ in range(LONG_BURST):
                end.post(OpCode.SIGNAL, 8)
            end.post(OpCode.SIGNAL, 8)
            assert len(app.chnls._group._with_work) == 1
        await wait_all_tasks_blocked()
        assert not app.chnls._group._with_work


async def test_writing_while_the_group_is_destroyed() -> None:
    async with open_app() as app:
        many = Many(app)
        await many.open(CHANNELS)
        for end, _ in many.channels:
            end.post(OpCode.SIGNAL, 8)
        await app.ampe.destroy(app.chnls)
        for end, link in many.channels:
            assert link.sent.startswith(frame(OpCode.SIGNAL, 8, channel=end.number))
            assert link.closed == "orderly"


async def test_time_limits(autojump_clock: MockClock) -> None:
    async with open_app(Options(hello_timeout=5)) as app:
        many = Many(app)
        links = [CountedLink(many) for _ in range(CHANNELS)]
        closed: Turns = Counter()
        for link in links:
            app.chnls._group.accept(link)
            link.close = counting(link, closed)  # type: ignore[method-assign]
        await trio.sleep(6)
        await wait_all_tasks_blocked()
        assert sum(closed.values()) == CHANNELS
        assert max(closed.values()) <= AT_ONCE + 1


def counting(link: CountedLink, closed: Turns) -> Callable[..., None]:
    def close(*, reset: bool) -> None:
        closed[link.many.turn] += 1
        ScriptedLink.close(link, reset=reset)

    return close


async def test_evicting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read until all have gone who have to."""
    monkeypatch.setattr(eviction, "_MOST_AT_ONCE", 8)
    part = 400
    options = Options(max_received_bytes=CHANNELS * part, close_timeout=0.05)
    async with open_app(options) as app:
        many = Many(app)
        await many.open(CHANNELS)
        closed: Turns = Counter()
        for end, link in many.channels[:-1]:
            link.close = counting(link, closed)  # type: ignore[method-assign]
            link.arrived.append(frame(OpCode.SIGNAL, end.number, body=bytes(9000))[:part])
            link.wake()
        await wait_all_tasks_blocked()
        assert not closed
        for end, link in many.channels[-2:]:
            more = frame(OpCode.SIGNAL, end.number, body=bytes(9000))
            link.arrived.append(more[0 if link is many.channels[-1][1] else part : 5000])
        many.channels[-1][1].wake()
        many.channels[-2][1].wake()
        await wait_all_tasks_blocked()
        assert sum(closed.values()) > 10
        assert max(closed.values()) == 8
        assert app.ampe.statistics().limits_reached == {"max_received_bytes": sum(closed.values())}
        assert {event.reason for event in await app.rest()} == {AmpeStatus.RECV_FAILED}


async def test_a_pass_serves_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * 10.0)
    async with open_app() as app:
        many = Many(app)
        await many.open(3)
        for end, link in many.channels:
            link.arrived.append(frame(OpCode.SIGNAL, end.number))
            link.wake()
        assert len(await app.events(3)) == 3
        app.chnls._group.accept(ScriptedLink(hello(7)))
        assert (await app.event()).opcode is OpCode.HELLO_REQUEST


async def test_a_pass_asks_one_at_least_whose_time_is_up(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * 10.0)
    async with open_app(Options(hello_timeout=5)) as app:
        links = [ScriptedLink() for _ in range(3)]
        for link in links:
            app.chnls._group.accept(link)
        await trio.sleep(6)
        await wait_all_tasks_blocked()
        assert [link.closed for link in links] == ["reset"] * 3
