"""How much work pytofu does, counted: it does not depend on how quick the machine is.

`counted` counts calls of pytofu's own functions and rounds of its loops, by `sys.monitoring`: so of
pure Python only, the compiled core has none of these events. `sizes` says how much is in the
containers that can be reached from an engine or a peer. Both are compared, between few messages and
many, or few channels and many: what a message costs must not grow with either.
"""

import gc
import os
import sys
import types
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import attrs
import trio

import pytofu

_PACKAGE: Final = os.path.join(os.path.dirname(pytofu.__file__), "")
_TOOL: Final = 4  # no one has it by convention
_EVENTS: Final = sys.monitoring.events


@attrs.define
class Work:
    """What was done in a `counted` block."""

    steps: Counter[tuple[str, str]] = attrs.Factory(Counter)
    """By function: calls of it, resumptions of a coroutine ("wakes"), rounds of its loops."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.steps.total()

    def most(self, count: int = 5) -> list[tuple[tuple[str, str], int]]:
        """Where most of it was done."""
        return self.steps.most_common(count)


@contextmanager
def counted() -> Iterator[Work]:
    """Count what pytofu does in the block, in whatever task."""
    assert not pytofu.compiled, "what is compiled cannot be counted"
    work = Work()
    steps, mine = work.steps, dict[types.CodeType, bool]()

    def is_mine(code: types.CodeType) -> bool:
        found = mine.get(code)
        if found is None:
            found = mine[code] = code.co_filename.startswith(_PACKAGE)
        return found

    def on_start(code: types.CodeType, _: int) -> object:
        if not is_mine(code):
            return sys.monitoring.DISABLE
        steps[code.co_qualname, "calls"] += 1
        return None

    def on_resume(code: types.CodeType, _: int) -> object:
        if not is_mine(code):
            return sys.monitoring.DISABLE
        steps[code.co_qualname, "wakes"] += 1
        return None

    def on_jump(code: types.CodeType, offset: int, destination: int) -> object:
        if destination >= offset or not is_mine(code):
            return sys.monitoring.DISABLE
        steps[code.co_qualname, "rounds"] += 1
        return None

    callbacks: dict[int, Callable[..., object]] = {
        _EVENTS.PY_START: on_start,
        _EVENTS.PY_RESUME: on_resume,
        _EVENTS.JUMP: on_jump,
    }
    sys.monitoring.use_tool_id(_TOOL, "pytofu's work")
    try:
        for event, callback in callbacks.items():
            sys.monitoring.register_callback(_TOOL, event, callback)
        sys.monitoring.restart_events()  # what an earlier block has disabled
        sys.monitoring.set_events(_TOOL, sum(callbacks))
        yield work
    finally:
        sys.monitoring.set_events(_TOOL, 0)
        for event in callbacks:
            sys.monitoring.register_callback(_TOOL, event, None)
        sys.monitoring.free_tool_id(_TOOL)


_CONTAINERS: Final = (dict, list, set, frozenset, deque, tuple)


def sizes(*roots: object) -> Counter[str]:
    """How much is in all containers together, by class and attribute of what has them.

    A channel that has closed may be among it until its last deadline would have come.
    """
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", root) for root in roots]
    while waiting:
        where, thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType):
            continue
        seen.add(id(thing))
        if isinstance(thing, _CONTAINERS):
            if not isinstance(thing, tuple | frozenset):  # which cannot grow
                found[where] += len(thing)
            waiting += [(where + "[]", one) for one in gc.get_referents(thing)]
        elif isinstance(thing, trio.lowlevel.ParkingLot):
            found[where] += len(thing)
        elif isinstance(thing, types.MethodType):
            waiting.append((where, thing.__self__))
        elif isinstance(thing, partial):
            waiting += [(where, one) for one in (thing.func, *thing.args)]
        elif isinstance(thing, types.FunctionType):
            waiting += [(where, cell.cell_contents) for cell in thing.__closure__ or ()]
        elif type(thing).__module__.startswith("pytofu"):
            waiting += _attributes(thing)
    return found


def _attributes(thing: Any) -> Iterator[tuple[str, object]]:
    name = type(thing).__qualname__
    slots = {slot for kind in type(thing).__mro__ for slot in _names(kind)}
    own = getattr(thing, "__dict__", {})
    for slot in sorted({*slots, *own} - {"__weakref__", "__dict__"}):
        with suppress(AttributeError):  # not set
            yield f"{name}.{slot}", getattr(thing, slot)


def _names(kind: type) -> Iterator[str]:
    slots = kind.__dict__.get("__slots__", ())
    for slot in (slots,) if isinstance(slots, str) else slots:
        private = slot.startswith("__") and not slot.endswith("__")
        yield f"_{kind.__name__.lstrip('_')}{slot}" if private else slot


def grown(before: Counter[str], after: Counter[str], room: int = 64) -> dict[str, tuple[int, int]]:
    """The containers that have more than that more in them than before."""
    return {
        where: (before[where], count)
        for where, count in after.items()
        if count > before[where] + room
    }
