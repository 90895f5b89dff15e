"""One poller for a whole group, served by whoever receives: leader and followers.

Whoever wants to receive, and finds nothing, leads: waits for the poller and serves all sources
in its own task, so that a message costs no switch between tasks. Others who want to receive
meanwhile follow: they wait at the mailbox. When nobody leads and the loop is about to sleep, the
group's own task takes the lead (`turns.py`). Sources stay registered; nothing is asked of the
system for a message but to poll, to read and to write.
"""

import os
import select
import sys
import threading
from abc import abstractmethod
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import trio

from pytofu._choice import compiled, twin
from pytofu.engine.passes import Pass
from pytofu.engine.readiness import Readiness, Source
from pytofu.engine.turns import EndOfTurn, Turning
from pytofu.links.sockets import in_forked_children

_MOST_EVENTS: Final = 256
"""Sources served in one go, so that the loop gets its turn with many channels too."""

_PLACES: Final = 4
"""Of how many others one that brings much takes the place."""

_LOOKS: Final = 16
"""Of how many that are ready one that brings much has a turn at least: to look at those that have
to wait must not cost more than to serve those that have not."""

_select: Final[Any] = select
"""For what type checkers know of on other systems only."""

_RING: Final = (1).to_bytes(8, sys.byteorder)

_WRITABLE: Final = 4
"""As epoll has it (EPOLLOUT); every other event is a reason to read, and be it the end."""
_READABLE: Final = 0xFFFF_FFFF & ~_WRITABLE


class Turns:
    """Who has a turn in a pass: those that bring much have fewer.

    What is read in one go can be a few bytes or a thousand times that, and as much more to do. So
    each of those that bring much, but for the first few in a pass, takes the place of several
    others. Those that have to wait come first in the next pass, and others that have come meanwhile
    are in that one as well.
    """

    __slots__ = ("_firsts", "places")

    def __init__(self) -> None:
        self._firsts = 0
        self.places: int = 0
        """Of others, that nobody has taken yet."""

    def begin(self, ready: int) -> None:
        """A pass begins, through so many."""
        self._firsts = 1 + ready // _LOOKS
        self.places = min(self.places, _MOST_EVENTS)

    def has_one(self, source: Source) -> bool:
        """Whether it is to be served now."""
        if not source.brings_much:
            self.places += 1
        elif self._firsts:
            self._firsts -= 1
        elif self.places >= _PLACES:
            self.places -= _PLACES
        else:
            return False
        return True


class PollingReactor(Readiness):
    """What epoll and kqueue have in common."""

    __slots__ = (
        "_again",
        "_bell",
        "_closed",
        "_left",
        "_owner",
        "_ringing",
        "_sources",
        "_thread",
        "_token",
        "_turn",
        "_turns",
        "_turns_again",
        "__weakref__",
        "busy_poll",
        "can_lead",
        "poller",
    )

    def __init__(self, owner: Turning, turn: EndOfTurn, busy_poll: float, poller: int) -> None:
        self.can_lead: bool = True
        self.busy_poll: float = busy_poll
        self.poller: int = poller
        """A descriptor: readable when a source is ready."""
        self._owner: Final = owner
        self._turn: Final = turn
        self._sources: dict[int, Source] = {}
        self._left: dict[int, int] = {}  # found ready, and not served yet: they come first
        # To be served without a descriptor saying so, each once: who is served may ask each time.
        self._again: OrderedDict[Source, None] = OrderedDict()
        self._turns, self._turns_again = Turns(), Turns()
        self._bell, self._ringing = _open_bell(), False
        self._closed = False
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        turn.leaderless.add(owner)  # last: with no file left, there is no reactor to be led

    # ------------------------------------------------------------------ the lead

    async def lead(self) -> None:
        """See `Readiness`."""
        turn = self._turn
        self.can_lead = False
        turn.leaderless.discard(self._owner)
        try:
            if self._again:
                await trio.lowlevel.checkpoint()
            else:
                await trio.lowlevel.wait_readable(self.poller)
                turn.polling.woken_by(self)
        except trio.ClosedResourceError:
            pass  # the group was destroyed meanwhile
        finally:
            self.can_lead = True
            if not self._closed:
                turn.leaderless.add(self._owner)

    def ring(self) -> None:
        """See `Readiness`."""
        if not self._ringing:
            self._ringing = True
            os.write(self._bell[1], _RING)

    def _answer_bell(self) -> None:
        self._ringing = False
        os.read(self._bell[0], 8)

    def again(self, source: Source) -> None:
        """See `Readiness`."""
        if threading.get_ident() == self._thread:
            self._again[source] = None
            if not self.can_lead:
                self.ring()
        else:
            with suppress(trio.RunFinishedError):  # nobody is there to be told
                self._token.run_sync_soon(self.again, source)

    def serve(self) -> None:
        """See `Readiness`."""
        self._serve(self._poll())

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        if self._left:
            # The poller would tell those first that were first before, and the last ones never.
            ready, self._left = list((self._left | dict(ready)).items()), {}
        if self._again:
            self._serve_again(trio.current_time())
        if len(ready) > 1:
            self._serve_many(ready)
            return
        for descriptor, events in ready:  # one, or none
            source = self._source_at(descriptor)
            if source is not None:
                self._serve_one(source, events, trio.current_time())

    def _serve_many(self, ready: list[tuple[int, int]]) -> None:
        now = trio.current_time()
        this, rest, turns = Pass(), iter(ready), self._turns
        turns.begin(len(ready))
        for descriptor, events in rest:
            source = self._source_at(descriptor)
            if source is not None and turns.has_one(source):
                self._serve_one(source, events, now)
            elif source is not None:
                self._left[descriptor] = events
            if this.is_over:
                self._left.update(rest)

    def _source_at(self, descriptor: int) -> Source | None:
        """None for the bell, which is answered, and for one that is closed by now."""
        source = self._sources.get(descriptor)
        if source is None and descriptor == self._bell[0]:
            self._answer_bell()
        return source

    def _serve_again(self, now: float) -> None:
        # Only those that are there now: one that is always ready must not keep the others waiting.
        this, turns = Pass(), self._turns_again
        turns.begin(len(self._again))
        for _ in range(len(self._again)):
            source, _ = self._again.popitem(last=False)
            if turns.has_one(source):
                self._serve_one(source, _WRITABLE | _READABLE, now)
            else:
                self._again[source] = None
            if this.is_over:
                return

    def _serve_one(self, source: Source, events: int, now: float) -> None:
        try:
            if events & _WRITABLE:
                source.on_writable(now)
            if events & _READABLE:
                source.on_readable(now)
        except Exception:
            source.on_defect()

    def close(self) -> None:
        """See `Readiness`."""
        self._closed = True
        self._turn.leaderless.discard(self._owner)
        self._turn.polling.forget(self)
        self._ringing = True  # nobody rings at descriptors that may be somebody else's soon
        trio.lowlevel.notify_closing(self.poller)
        self._close_poller()
        for descriptor in set(self._bell):
            os.close(descriptor)

    # ------------------------------------------------------------------ the poller

    @abstractmethod
    def _poll(self) -> list[tuple[int, int]]:
        """Descriptors that are ready now, and what for."""

    @abstractmethod
    def is_ready(self) -> bool:
        """See `Pollable`."""

    @abstractmethod
    def _close_poller(self) -> None: ...


class EpollReactor(PollingReactor):
    """The poller is an epoll (Linux)."""

    __slots__ = ("_epoll", "_masks")

    def __init__(self, owner: Turning, turn: EndOfTurn, busy_poll: float) -> None:
        self._epoll = select.epoll()
        super().__init__(owner, turn, busy_poll, self._epoll.fileno())
        self._masks: dict[int, int] = {}  # what each descriptor is registered for
        self._epoll.register(self._bell[0], select.EPOLLIN)
        _epolls.add(self)

    def part_from_parent(self) -> None:
        """In a forked child: put a poller and a bell of its own in the place of the copies.

        These are the parent's very own. What the child's copy of Trio undoes as it ends would be
        undone for the parent, which would then wait for ever.
        """
        fresh = select.epoll()
        os.dup2(fresh.fileno(), self._epoll.fileno(), inheritable=False)
        fresh.close()
        for copy, bell in dict(zip(self._bell, _open_bell(), strict=True)).items():
            os.dup2(bell, copy, inheritable=False)
            os.close(bell)
        self._masks.clear()
        self._sources.clear()
        self._epoll.register(self._bell[0], select.EPOLLIN)

    def watch(self, source: Source, *, read: bool, write: bool) -> None:
        """See `Readiness`."""
        descriptor = source.fileno()
        if descriptor < 0:
            return
        mask = (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)
        registered = self._masks.get(descriptor, 0)
        if mask == registered:
            return
        if not mask:
            # Not just an empty mask: that the peer has hung up would be reported all the same,
            # again and again.
            self._unregister(descriptor)
            return
        if registered:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        # Behind it: what the system refuses, for want of memory, is not taken for registered.
        self._masks[descriptor] = mask
        self._sources[descriptor] = source

    def unwatch(self, source: Source) -> None:
        """See `Readiness`."""
        if source.fileno() in self._masks:
            self._unregister(source.fileno())

    def _unregister(self, descriptor: int) -> None:
        # Explicitly: closing does not do it while a forked child has a copy of the descriptor.
        del self._masks[descriptor], self._sources[descriptor]
        self._epoll.unregister(descriptor)

    def _poll(self) -> list[tuple[int, int]]:
        """See `PollingReactor`."""
        return self._epoll.poll(0, _MOST_EVENTS)

    def is_ready(self) -> bool:
        """See `Pollable`."""
        return bool(self._epoll.poll(0, 1))

    def _close_poller(self) -> None:
        _epolls.discard(self)
        self._epoll.close()


_epolls: Final[WeakSet[EpollReactor]] = WeakSet()


def _part_from_parent() -> None:
    for reactor in list(_epolls):
        reactor.part_from_parent()


in_forked_children(_part_from_parent)


class KqueueReactor(PollingReactor):
    """The poller is a kqueue (macOS and the BSDs)."""

    __slots__ = ("_kqueue", "_registered")

    def __init__(self, owner: Turning, turn: EndOfTurn, busy_poll: float) -> None:
        self._kqueue = _select.kqueue()
        super().__init__(owner, turn, busy_poll, self._kqueue.fileno())
        self._registered: set[tuple[int, int]] = set()  # descriptor and filter
        self._change(self._bell[0], _select.KQ_FILTER_READ, _select.KQ_EV_ADD)

    def _change(self, descriptor: int, which: int, what: int) -> None:
        self._kqueue.control([_select.kevent(descriptor, which, what)], 0)

    def watch(self, source: Source, *, read: bool, write: bool) -> None:
        """See `Readiness`."""
        descriptor = source.fileno()
        if descriptor < 0:
            return
        self._sources[descriptor] = source
        for which, wanted in ((_select.KQ_FILTER_READ, read), (_select.KQ_FILTER_WRITE, write)):
            key = (descriptor, which)
            if wanted and key not in self._registered:
                self._change(descriptor, which, _select.KQ_EV_ADD)
                self._registered.add(key)
            elif not wanted and key in self._registered:
                self._change(descriptor, which, _select.KQ_EV_DELETE)
                self._registered.remove(key)

    def unwatch(self, source: Source) -> None:
        """See `Readiness`."""
        self.watch(source, read=False, write=False)
        self._sources.pop(source.fileno(), None)

    def _poll(self) -> list[tuple[int, int]]:
        """See `PollingReactor`."""
        ready: dict[int, int] = {}
        for event in self._kqueue.control(None, _MOST_EVENTS, 0):
            what = _WRITABLE if event.filter == _select.KQ_FILTER_WRITE else 1
            ready[event.ident] = ready.get(event.ident, 0) | what
        return list(ready.items())

    def is_ready(self) -> bool:
        """See `Pollable`."""
        return bool(self._kqueue.control(None, 1, 0))

    def _close_poller(self) -> None:
        self._kqueue.close()


def _open_bell() -> tuple[int, int]:
    """Where to wait for the bell, and where to ring it."""
    if hasattr(os, "eventfd"):
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return bell, bell
    waiting, ringing = os.pipe()
    os.set_blocking(waiting, False)
    os.set_blocking(ringing, False)
    return waiting, ringing


def best() -> type[EpollReactor | KqueueReactor] | None:
    """The reactor for this system; None where there is no poller, or none is wanted."""
    if os.environ.get("PYTOFU_REACTOR") == "tasks":
        return None
    if hasattr(select, "epoll"):
        return EpollReactor
    return KqueueReactor if hasattr(select, "kqueue") else None


if compiled and not TYPE_CHECKING:
    PollingReactor.serve = twin(PollingReactor.serve)
