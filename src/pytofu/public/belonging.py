"""Where an engine's objects may be used: in the thread that opened it, and in no forked child.

One comparison a call finds both out: a forked child's copies belong to no thread.
"""

import sys
import threading
from _thread import get_ident
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import trio

from pytofu._choice import compiled, twin
from pytofu.links.sockets import in_forked_children

here: Final = get_ident
"""The number of the thread that runs, as the quickest function for it."""

NOBODY: Final = 0
"""Whose a forked child's copies are: no thread has this number."""

_everything: Final[WeakSet["Belonging"]] = WeakSet()


class Belonging:
    """Base of what belongs to the thread that made it: compare `_thread` with `here()`."""

    __slots__ = ("__weakref__", "_thread")

    def __init__(self) -> None:
        self._thread: int = here()
        _everything.add(self)

    def _misplaced(self, call: str) -> RuntimeError:
        """The exception (not raised) for a call from elsewhere, before anything has changed."""
        if self._thread == NOBODY:
            return RuntimeError(
                f"{call} was called in a forked child process, and the engine is its parent's: "
                "the child needs an engine of its own, in a trio.run of its own, and ends by "
                "os._exit, as multiprocessing does. Read 'Threads and forks' in the documentation "
                "of Ampe"
            )
        return RuntimeError(
            f"{call} was called in the thread {threading.current_thread().name!r}, and the engine "
            "belongs to the Trio thread that opened it: call it there by "
            f"trio.from_thread.run_sync (trio.from_thread.run if it is async), or hand the message "
            "to the task that receives by ChannelGroup.update_receiver, which may be called from "
            "any thread. Read 'Threads and forks' in the documentation of Ampe"
        )


if compiled and not TYPE_CHECKING:
    Belonging = twin(Belonging)


def _in_forked_child() -> None:
    for belonging in list(_everything):
        belonging._thread = NOBODY


in_forked_children(_in_forked_child)


def require_trio(call: str) -> None:
    """Raise `RuntimeError` unless a Trio task runs here."""
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{call} needs Trio, and {_who_runs()}: start the program by trio.run(main); beside "
            "asyncio run Trio as a guest (trio.lowlevel.start_guest_run) or in a thread of its own"
        )


def _who_runs() -> str:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return "here asyncio runs"
    return "no Trio task runs here"
