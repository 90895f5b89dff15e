"""Which channels are closed when all of them together take too much memory."""

from typing import Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import AmpeStatus, OpCode, Options
from tests.engine.scripted import (
    ScriptedLink,
    ScriptedListening,
    listens_at,
    open_listener,
    open_server,
)
from tests.support import App, End, Event, frame, from_engine, open_app

RECV_FAILED: Final = AmpeStatus.RECV_FAILED
SEND_FAILED: Final = AmpeStatus.SEND_FAILED
UNFINISHED: Final = Options(max_received_bytes=10_000, close_timeout=0.05)
QUEUED: Final = Options(max_total_queued_bytes=80_000, close_timeout=0.05)


async def opened(app: App, count: int) -> list[tuple[End, ScriptedLink]]:
    """So many accepted channels that have said hello."""
    links = [ScriptedLink() for _ in range(count)]
    return [(await open_server(app, link), link) for link in links]


def reasons(events: list[Event]) -> dict[int, AmpeStatus]:
    """Why each channel of which these are the last events has closed."""
    return {event.channel: event.reason for event in events if event.reason is not None}


# ---------------------------------------------------------------------- unfinished messages


async def test_who_has_an_unfinished_message_for_longest_goes_first(
    autojump_clock: MockClock,
) -> None:
    async with open_app(UNFINISHED) as app:
        channels = await opened(app, 4)
        order = [channels[index] for index in (2, 0, 3, 1)]
        for _, link in order:
            await link.bring(frame(OpCode.SIGNAL, 8, body=bytes(5000))[:3300])
            await trio.sleep(1)
        # As many as it takes to have an eighth of the limit to spare.
        assert reasons(await app.rest()) == {end.number: RECV_FAILED for end, _ in order[:2]}
        assert app.ampe.statistics().limits_reached == {"max_received_bytes": 2}
        await order[2][1].bring(bytes(5016 - 3300))  # who finishes is through with it
        assert (await app.event()).message_id == 8
        assert [link.closed for _, link in order] == ["reset", "reset", None, None]


async def test_the_last_event_names_the_limit(autojump_clock: MockClock) -> None:
    async with open_app(UNFINISHED) as app:
        ((end, link),) = await opened(app, 1)
        await link.bring(frame(OpCode.SIGNAL, 8, body=bytes(60_000))[:10_001])
        message = await app.receive()
        assert (message.channel_number, message.status) == (
            end.number,
            AmpeStatus.CHANNEL_CLOSED,
        )
        assert message.text_headers.get("~detail") == "max_received_bytes"


async def test_who_has_to_go_when_he_is_to_be_read_from_has_no_defect(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    """Others were over the limit in the turn before, when room had been made already."""
    async with open_app(UNFINISHED) as app:
        (first, link), (other, _) = await opened(app, 2)
        await link.bring(frame(OpCode.SIGNAL, 8, body=bytes(60_000))[:5000])
        budget = app.ampe._engine.budget
        budget.bytes_unfinished += 5001
        await link.bring(bytes(100))
        assert reasons(await app.rest()) == {first.number: RECV_FAILED}
        assert link.closed == "reset"
        budget.bytes_unfinished -= 5001
        other.post(OpCode.SIGNAL, 9)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_who_is_quiet_or_has_only_whole_messages_is_never_closed(
    autojump_clock: MockClock,
) -> None:
    async with open_app(UNFINISHED) as app:
        (quiet, quiet_link), (busy, busy_link), (bad, bad_link) = await opened(app, 3)
        for number in range(1, 10):
            await busy_link.bring(frame(OpCode.SIGNAL, number, body=bytes(2000)))
            await app.event()
        await bad_link.bring(frame(OpCode.SIGNAL, 8, body=bytes(60_000))[:10_001])
        assert reasons(await app.rest()) == {bad.number: RECV_FAILED}
        assert (quiet_link.closed, busy_link.closed) == (None, None)
        for end in (quiet, busy):
            end.post(OpCode.SIGNAL, 1)


async def test_channels_of_all_groups_count_and_a_listener_does_not(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(UNFINISHED) as app, app.ampe.open_channel_group() as chnls:
        other = App(app.ampe, chnls)
        listens_at(monkeypatch, ScriptedListening())
        await open_listener(app)
        ((first, link),) = await opened(app, 1)
        ((_, other_link),) = await opened(other, 1)
        await link.bring(frame(OpCode.SIGNAL, 8, body=bytes(60_000))[:6000])
        await trio.sleep(1)
        await other_link.bring(frame(OpCode.SIGNAL, 8, body=bytes(60_000))[:6000])
        assert reasons(await app.rest()) == {first.number: RECV_FAILED}
        assert reasons(await other.rest()) == {}


# ---------------------------------------------------------------------- queued messages


async def test_who_has_most_queued_goes_first() -> None:
    async with open_app(QUEUED) as app:
        channels = await opened(app, 3)
        sizes = (20, 50, 11)
        for (end, link), size in zip(channels, sizes, strict=True):
            link.capacity = 0
            for number in range(1, size + 1):
                end.post(OpCode.SIGNAL, number, body=bytes(984))
            await wait_all_tasks_blocked()
        assert await app.rest() == []  # a quarter more is borne with
        _, (large, _), (middle, _) = channels
        for number in range(12, 33):
            middle.post(OpCode.SIGNAL, number, body=bytes(984))
            await wait_all_tasks_blocked()
        events = await large.events_until_closed()
        assert reasons(events) == {large.number: SEND_FAILED}
        assert len(events) == 51
        assert events[0] == from_engine(
            OpCode.SIGNAL, AmpeStatus.COMMUNICATION_FAILED, large.number, 1, body=bytes(984)
        )
        assert app.ampe.statistics().limits_reached == {"max_total_queued_bytes": 1}
        assert app.ampe.statistics().bytes_queued < 80_000
        for _, link in (channels[0], channels[2]):
            await link.take()


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=10))
def test_behind_an_eviction_the_limit_holds_and_no_channel_too_many_has_gone(
    sizes: list[int],
) -> None:
    """Those that remain have no more queued than those that went; and one fewer was too few."""

    async def main() -> None:
        async with open_app(QUEUED) as app:
            channels = await opened(app, len(sizes))
            queued: dict[ScriptedLink, int] = {}
            for (end, link), size in zip(channels, sizes, strict=True):
                link.capacity = 0
                end.post(OpCode.SIGNAL, 1, body=bytes(size * 1000 - 16))
                queued[link] = size * 1000
                await wait_all_tasks_blocked()
                before = sum(queued.values())
                gone = [queued.pop(link) for link in list(queued) if link.closed is not None]
                after = sum(queued.values())
                if before <= 100_000:
                    assert not gone
                else:
                    assert min(gone) >= max(queued.values(), default=0)
                    assert after <= 80_000 < after + min(gone)
            for _, link in channels:
                link.capacity = 1 << 40
                if link.closed is None:
                    link.wake()

    trio.run(main)


async def test_what_an_evicted_channel_gives_back_evicts_nobody_else() -> None:
    """Though it is in memory until the application receives it."""
    async with open_app(QUEUED) as app:
        (bad, bad_link), (polite, polite_link) = await opened(app, 2)
        bad_link.capacity = polite_link.capacity = 0
        for number in range(1, 252):  # more than are given back at once
            bad.post(OpCode.SIGNAL, number, body=bytes(384))
        await wait_all_tasks_blocked()
        assert bad_link.closed == "reset"
        polite.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked()
        assert polite_link.closed is None
        events = await bad.events_until_closed()
        assert len(events) == 252
        assert app.ampe.statistics().bytes_queued == 16
