"""Alarms wake a task of an event loop at the moment for which they were set, and not before."""

import asyncio
import select
from time import monotonic_ns

import pytest
import trio

from benchmarks import alarm
from benchmarks.alarm import Alarm, AsyncioAlarm, TrioAlarm

pytestmark = pytest.mark.skipif(not alarm.can_be_set(), reason="there are no alarms here")

_SOON = 300_000
"""Nanoseconds: less than the loops' own clocks can tell apart."""
_FAR = 10**12


def test_an_alarm_that_is_cleared_or_set_again_has_not_gone_off() -> None:
    with Alarm() as one:
        assert not _has_gone_off(one)
        for moment in (monotonic_ns() + _FAR, None):
            _go_off(one)
            one.set(moment)
            assert not _has_gone_off(one)
        _go_off(one)
        one.clear()
        assert not _has_gone_off(one)


def _has_gone_off(one: Alarm) -> bool:
    return bool(select.select([one], [], [], 0)[0])


def _go_off(one: Alarm) -> None:
    one.set(monotonic_ns())
    select.select([one], [], [])


async def test_an_alarm_on_trio() -> None:
    with TrioAlarm() as trio_alarm:
        for _ in range(3):
            moment = monotonic_ns() + _SOON
            await trio_alarm.sleep_until(moment)
            assert monotonic_ns() >= moment


async def test_a_moment_that_has_passed_lets_others_on_trio_have_a_turn() -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with TrioAlarm() as trio_alarm:
            for _ in range(2):  # whose turn of two is first, is left to chance
                await trio_alarm.sleep_until(0)
            turns.append("sleeper")

    assert turns == ["other", "sleeper"]


def test_an_alarm_on_asyncio() -> None:
    async def main() -> None:
        with AsyncioAlarm() as asyncio_alarm:
            for _ in range(3):
                moment = monotonic_ns() + _SOON
                await asyncio_alarm.sleep_until(moment)
                assert monotonic_ns() >= moment

    asyncio.run(main())


def test_a_moment_that_has_passed_lets_others_on_asyncio_have_a_turn() -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            with AsyncioAlarm() as asyncio_alarm:
                await asyncio_alarm.sleep_until(0)
                turns.append("sleeper")

    asyncio.run(main())

    assert turns == ["other", "sleeper"]
