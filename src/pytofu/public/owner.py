"""Whose an engine is: the thread and the process that run it, and nobody else's.

Everything of an engine is touched by its own Trio thread alone. A call from elsewhere is refused
before it has changed anything; only `update_receiver` is for every thread (PROTOCOL 4).
"""

import os
import threading
from typing import Final
from weakref import WeakSet

import trio

from pytofu.values.holder import Holder

_NOBODY: Final = 0
"""No thread has this identity."""


class Owner:
    """The Trio run that opened an engine."""

    __slots__ = ("__weakref__", "_forked", "thread", "token")

    def __init__(self) -> None:
        """Raises RuntimeError outside Trio."""
        try:
            self.token: Final = trio.lowlevel.current_trio_token()
        except RuntimeError:
            raise RuntimeError(
                "an engine needs a Trio run: start the program by trio.run(main). Beside asyncio,"
                " run Trio as its guest, or in a thread of its own"
            ) from None
        self.thread: int = threading.get_ident()
        """What `threading.get_ident` returns to those who may call."""
        self._forked = False
        _owners.add(self)

    def check(self, what: str) -> None:
        """Raise RuntimeError if it is not the owner who calls `what`."""
        if threading.get_ident() != self.thread:
            raise self.stranger(what)

    def stranger(self, what: str) -> RuntimeError:
        """What to raise if it is not the owner who calls; for calls that are measured hot."""
        if self._forked:
            return RuntimeError(
                f"{what} was called in a child that was forked from the engine's process: the"
                " engine stays with the parent. Open another one here, after the fork, in a Trio"
                " run of its own"
            )
        return RuntimeError(
            f"{what} was called from a foreign thread ({threading.current_thread().name!r}): use"
            f" trio.from_thread.run_sync({what}, ...) there, or leave it to the receiver by"
            " update_receiver, which works from any thread"
        )

    def check_process(self, what: str) -> None:
        """Raise RuntimeError in a forked child; any thread may call."""
        if self._forked:
            raise self.stranger(what)

    def lose(self) -> None:
        """This is a forked child: all belongs to the parent."""
        self.thread = _NOBODY
        self._forked = True


_owners: Final[WeakSet[Owner]] = WeakSet()


def _lose_all() -> None:
    for owner in list(_owners):
        owner.lose()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose_all)


def not_a_holder(what: str, given: object) -> TypeError:
    """What to raise for something that is no holder."""
    kind = type(given).__name__
    return TypeError(
        f"{what} takes the message in its holder, which it empties: not {kind}, but"
        f" {what}(Holder(message)); `borrowed_message` and `async for` give holders"
    )


def check_holder(what: str, given: object) -> None:
    """Raise TypeError unless this is a holder."""
    if not isinstance(given, Holder):
        raise not_a_holder(what, given)
