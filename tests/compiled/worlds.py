"""pytofu twice in one process: as this process runs it, and loaded once more in pure Python.

A world is a set of modules with the same names as the other's. While it is the active one,
`sys.modules` has its modules, so that pickling and imports inside of functions find their own.
"""

import contextlib
import enum
import importlib
import inspect
import itertools
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import pytest

import pytofu

ACTUAL: Final = Path(pytofu.__file__).parent


def _of_pytofu() -> dict[str, ModuleType]:
    return {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "pytofu"}


class World:
    """One of the two."""

    def __init__(self, name: str, modules: dict[str, ModuleType]) -> None:
        self.name = name
        self._modules = modules

    def __repr__(self) -> str:
        return f"<the world {self.name}>"

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let `sys.modules` be this world's; what is imported meanwhile becomes part of it."""
        others = _of_pytofu()
        try:
            self._put(others, self._modules)
            yield
        finally:
            self._modules = _of_pytofu()
            self._put(self._modules, others)

    @contextlib.contextmanager
    def counting_anew(self) -> Iterator[None]:
        """Let the ids that it gives to messages begin again: each world has a count of its own."""
        count = itertools.count(1).__next__
        with pytest.MonkeyPatch.context() as patch:
            for name in ("pytofu.values.message", "pytofu.protocol.framing"):
                patch.setattr(importlib.import_module(name), "next_message_id", count)
            yield

    @staticmethod
    def _put(out: dict[str, ModuleType], into: dict[str, ModuleType]) -> None:
        for name in out:
            del sys.modules[name]
        sys.modules.update(into)

    def find(self, place: str) -> Any:
        """What is there, such as `values.header.BinaryHeader`. To be asked while active."""
        module, _, name = place.rpartition(".")
        return getattr(importlib.import_module(f"pytofu.{module}"), name)


def actual() -> World:
    """pytofu as this process has imported it; the tests here are skipped if that is pure."""
    if not pytofu.compiled:
        pytest.skip("there is no compiled core to compare with")
    return World("compiled", _of_pytofu())


def pure() -> World:
    """pytofu in pure Python, as far as it is asked for."""
    root = ModuleType("pytofu")  # empty, or everything would be imported
    root.__path__ = [str(ACTUAL)]
    world = World("pure", {"pytofu": root})
    with pytest.MonkeyPatch.context() as patch, world.active():
        patch.setenv("PYTOFU_PURE", "1")
        assert not world.find("_choice.compiled")
    return world


# ---------------------------------------------------------------------- what can be compared


# What Python itself, and not pytofu, says of a wrong call or a wrong attribute is not the same of
# functions in Python and in C, nor of two functions in C.
_SAID_BY_PYTHON: Final = re.compile(
    r"\btakes\b.*\bargument|\bpositional argument|unexpected keyword|multiple values|required arg"
    r"|has no setter|is not writable|has no deleter|descriptor '\w+'|object is not callable"
)


def plain(value: Any, depth: int = 0) -> Any:
    """Something of this world as what is equal in all worlds if it says and holds the same."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return kind.__qualname__, value.name
    if kind is str:
        return re.sub(r" at 0x[0-9a-f]+", "", value)
    if value is NotImplemented or value is None or kind in {int, bool, bytes, float}:
        return kind.__name__, value
    if isinstance(value, bytearray | memoryview):
        return kind.__name__, bytes(value)
    if isinstance(value, BaseException):
        text = plain(str(value))
        if isinstance(value, TypeError | AttributeError) and _SAID_BY_PYTHON.search(text):
            return kind.__qualname__, "said by Python"
        code = getattr(value, "error_code", None)
        cause = type(value.__cause__).__name__, value.__suppress_context__
        return f"{kind.__module__}.{kind.__qualname__}", text, plain(code), cause
    if kind in {tuple, list}:
        return kind.__name__, [plain(item, depth + 1) for item in value]
    said: Any
    try:
        said = plain(repr(value))
    except Exception as error:
        said = plain(error)
    return f"{kind.__module__}.{kind.__qualname__}", said, seen(value, depth + 1)


def outcome(what: Callable[[], Any], depth: int = 0) -> Any:
    """What comes of it: a value or an error."""
    try:
        return "returned", plain(what(), depth)
    except Exception as error:
        return "raised", plain(error)


def seen(value: Any, depth: int) -> Any:
    """All that can be read of it: its slots and properties that are public."""
    if depth > 3 or not type(value).__module__.startswith("pytofu"):
        return None
    names = [name for name in dir(type(value)) if not name.startswith("_")]
    static = {name: inspect.getattr_static(type(value), name) for name in names}
    return {
        name: outcome(lambda name=name: getattr(value, name), depth)  # type: ignore[misc]
        for name, member in static.items()
        if inspect.isdatadescriptor(member)
    }


# ---------------------------------------------------------------------- what is done


@attrs.frozen
class Make:
    """An argument that each world makes for itself."""

    place: str
    arguments: tuple[Any, ...] = ()


@attrs.frozen
class Step:
    """Something done to an object: a method called, an attribute set, an operator applied."""

    how: str
    name: str = ""
    arguments: tuple[Any, ...] = ()


SELF: Final = Make("self")


def made(world: World, argument: Any, subject: Any) -> Any:
    match argument:
        case Make("self"):
            return subject
        case Make("bytearray" | "memoryview", (data,)):
            return bytearray(data) if argument.place == "bytearray" else memoryview(data)
        case Make(place, arguments):
            return world.find(place)(*(made(world, each, subject) for each in arguments))
        case _:
            return argument


def done(world: World, subject: Any, step: Step) -> Any:
    """Carry the step out; what came of it."""
    arguments = [made(world, argument, subject) for argument in step.arguments]
    match step.how:
        case "call":
            return getattr(subject, step.name)(*arguments)
        case "set":
            return setattr(subject, step.name, arguments[0])
        case "equal":
            return subject == arguments[0], subject != arguments[0]
        case "pickle":
            data = pickle.dumps(subject, arguments[0])
            return data, pickle.loads(data)
        case _:
            return HOW[step.how](subject)


def history(world: World, place: str, first: tuple[Any, ...], steps: list[Step]) -> list[Any]:
    """Make one of this class, do all this to it; what came of each step, and what is there then."""
    with world.active(), world.counting_anew():
        try:
            subject = world.find(place)(*(made(world, argument, None) for argument in first))
        except Exception as error:
            return [plain(error)]
        told = [plain(subject)]
        for step in steps:
            told.append((step, outcome(lambda step=step: done(world, subject, step))))  # type: ignore[misc]
            told.append(outcome(lambda: subject))
        return told


def _copied(subject: Any) -> Any:
    import copy

    return copy.copy(subject), copy.deepcopy(subject)


HOW: Final[dict[str, Callable[[Any], Any]]] = {
    "repr": repr,
    "str": str,
    "hash": lambda subject: type(hash(subject)),
    "bool": bool,
    "len": len,
    "copy": _copied,
    "iter": lambda subject: list(iter(subject)),
    "format": lambda subject: f"{subject}",
    "dict": vars,
}
