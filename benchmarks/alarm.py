"""Sleeping to the microsecond inside an event loop.

The loops themselves round up to milliseconds, which is more than a round trip takes, and a sender
that spins until the moment has come takes the processor from those that are measured.
"""

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from time import CLOCK_MONOTONIC, monotonic_ns
from typing import Self

import trio


def can_be_set() -> bool:
    """Whether this system has such alarms, and Python a way to them (3.13 on Linux does)."""
    return hasattr(os, "timerfd_create")


class Alarm:
    """A file that becomes readable at the moment for which it is set; for a `with` block.

    Raises NotImplementedError where it cannot be set.
    """

    _file: int

    def __init__(self) -> None:
        if sys.version_info >= (3, 13) and sys.platform == "linux":
            flags = os.TFD_NONBLOCK | os.TFD_CLOEXEC
            self._file = os.timerfd_create(CLOCK_MONOTONIC, flags=flags)
        else:
            raise NotImplementedError

    def fileno(self) -> int:
        """For whatever waits for files."""
        return self._file

    def set(self, moment: int | None) -> None:
        """Unreadable until then, in nanoseconds of the monotonic clock, or for good."""
        if sys.version_info >= (3, 13) and sys.platform == "linux":
            os.timerfd_settime_ns(self._file, flags=os.TFD_TIMER_ABSTIME, initial=moment or 0)

    def clear(self) -> None:
        """Unreadable until it is set again; it has gone off."""
        os.read(self._file, 8)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._file)


class LoopAlarm(Alarm, ABC):
    """For one task of an event loop."""

    @abstractmethod
    async def sleep_until(self, moment: int) -> None:
        """Sleep until then; other tasks get a turn even if that is past."""


class TrioAlarm(LoopAlarm):
    """On Trio."""

    async def sleep_until(self, moment: int) -> None:
        if moment <= monotonic_ns():
            await trio.lowlevel.checkpoint()
            return
        self.set(moment)
        await trio.lowlevel.wait_readable(self)


class AsyncioAlarm(LoopAlarm):
    """On asyncio, made within its loop."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._gone_off = asyncio.Event()
        self._loop.add_reader(self, self._go_off)

    def _go_off(self) -> None:
        self.clear()
        self._gone_off.set()

    async def sleep_until(self, moment: int) -> None:
        if moment <= monotonic_ns():
            await asyncio.sleep(0)
            return
        self._gone_off.clear()
        self.set(moment)
        await self._gone_off.wait()

    def __exit__(self, *exc_info: object) -> None:
        self._loop.remove_reader(self)
        super().__exit__(*exc_info)
