"""The portable reactor: a task for each link, and one more while it waits to be written to.

For systems with neither epoll nor kqueue; PYTOFU_REACTOR=tasks chooses it anywhere.
"""

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from pytofu.engine.readiness import Readiness, Source


class TaskReactor(Readiness):
    """Nobody leads: each source is served by its own tasks, in the group's nursery."""

    __slots__ = ("_asked", "_start", "_tasks", "_thread", "_token")

    def __init__(self, start: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
        self._start = start
        self._tasks: dict[tuple[Source, bool], trio.CancelScope] = {}  # True: waits to write
        self._asked: set[Source] = set()  # to be called again, and has a task for it
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def watch(self, source: Source, *, read: bool, write: bool) -> None:
        """See `Readiness`."""
        for wanted, writing in ((read, False), (write, True)):
            scope = self._tasks.get((source, writing))
            if wanted and scope is None and source.fileno() >= 0:
                scope = self._tasks[source, writing] = trio.CancelScope()
                self._start(partial(self._serve, source, scope, writing=writing))
            elif not wanted and scope is not None:
                del self._tasks[source, writing]
                scope.cancel()

    def unwatch(self, source: Source) -> None:
        """See `Readiness`."""
        self.watch(source, read=False, write=False)
        if source.fileno() >= 0:
            trio.lowlevel.notify_closing(source.fileno())

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, source: Source, scope: trio.CancelScope, *, writing: bool) -> None:
        wait = trio.lowlevel.wait_writable if writing else trio.lowlevel.wait_readable
        with scope, suppress(trio.ClosedResourceError):
            while not scope.cancel_called:
                await wait(source.fileno())
                self._call(source, writing=writing)

    def _call(self, source: Source, *, writing: bool) -> None:
        try:
            if writing:
                source.on_writable(trio.current_time())
            else:
                source.on_readable(trio.current_time())
        except Exception:
            source.on_defect()

    def again(self, source: Source) -> None:
        """See `Readiness`."""
        if threading.get_ident() == self._thread:
            if source not in self._asked:
                self._asked.add(source)
                self._start(partial(self._serve_once, source))
        else:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.again, source)

    @trio.lowlevel.enable_ki_protection
    async def _serve_once(self, source: Source) -> None:
        self._asked.discard(source)
        self._call(source, writing=True)
        self._call(source, writing=False)

    def serve(self) -> None:
        """Nothing to do: the tasks see to it."""

    async def lead(self) -> None:
        """Never called: nobody can lead."""

    def ring(self) -> None:
        """Never needed: nobody leads."""

    def close(self) -> None:
        """Nothing is held."""
