"""A kqueue for systems that have none, as far as the engine uses it: made of an epoll.

As the real one it is level-triggered, tells each filter of a descriptor by itself, tells who reads
of the end, and refuses to delete what was not added.
"""

import errno
import os
import select
from collections.abc import Sequence
from typing import Final

import attrs
import pytest

READ: Final = -1
WRITE: Final = -2
ADD: Final = 1
DELETE: Final = 2

_epoll: Final = select.epoll


@attrs.frozen
class FakeKevent:
    """One change, or one event."""

    ident: int
    filter: int = READ
    flags: int = ADD


class FakeKqueue:
    """See above."""

    def __init__(self) -> None:
        self._epoll = _epoll()
        self.filters: dict[int, set[int]] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()

    def control(
        self, changes: Sequence[FakeKevent] | None, max_events: int, timeout: float | None = None
    ) -> list[FakeKevent]:
        for change in changes or ():
            self._change(change)
        if not max_events:
            return []
        assert timeout == 0
        return self._events()[:max_events]

    def _change(self, change: FakeKevent) -> None:
        filters = self.filters.setdefault(change.ident, set())
        before = bool(filters)
        if change.flags == ADD:
            filters.add(change.filter)
        else:
            if change.filter not in filters:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            filters.remove(change.filter)
        mask = (select.EPOLLIN if READ in filters else 0) | (
            select.EPOLLOUT if WRITE in filters else 0
        )
        if not mask:
            self._epoll.unregister(change.ident)
            del self.filters[change.ident]
        elif before:
            self._epoll.modify(change.ident, mask)
        else:
            self._epoll.register(change.ident, mask)

    def _events(self) -> list[FakeKevent]:
        events = []
        for descriptor, mask in self._epoll.poll(0):
            filters = self.filters[descriptor]
            ended = mask & (select.EPOLLHUP | select.EPOLLERR)
            if READ in filters and mask & select.EPOLLIN | ended:
                events.append(FakeKevent(descriptor, READ))
            if WRITE in filters and mask & select.EPOLLOUT | ended:
                events.append(FakeKevent(descriptor, WRITE))
        return events


def use_kqueue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system have kqueue and no epoll; to be called when Trio has its own already."""
    for name, value in {
        "kqueue": FakeKqueue,
        "kevent": FakeKevent,
        "KQ_FILTER_READ": READ,
        "KQ_FILTER_WRITE": WRITE,
        "KQ_EV_ADD": ADD,
        "KQ_EV_DELETE": DELETE,
    }.items():
        monkeypatch.setattr(select, name, value, raising=False)
    monkeypatch.delattr(select, "epoll")
