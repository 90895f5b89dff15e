"""Finds every public callable: what `pytofu` exports, and the members that the reference shows."""

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Never, get_type_hints

import attrs

import pytofu
from pytofu import (
    Ampe,
    AmpeStatistics,
    ChannelGroup,
    ChannelGroupStatistics,
    ConnectError,
    Incoming,
    MessagePort,
    MessageSource,
    OpenedStream,
    Peer,
    PeerInfo,
    Stream,
    Subscription,
)

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference"

MADE_BY_THE_LIBRARY: Final[frozenset[type]] = frozenset(
    {Ampe, ChannelGroup, Peer, Stream, OpenedStream, Subscription}
    | {AmpeStatistics, ChannelGroupStatistics, PeerInfo, Incoming, ConnectError}
)
"""No program calls these classes: it is given their objects."""

WITHOUT_BODY: Final[frozenset[type]] = frozenset({MessagePort, MessageSource})
"""Descriptions of what others do."""

_CLASS: Final = re.compile(
    r"^\.\. auto(?:class|exception):: ([\w.]+)$((?:\n   :.*$)*)", re.MULTILINE
)
_SETTING: Final = re.compile(r"^   :([\w-]+):(.*)$", re.MULTILINE)


@attrs.frozen
class Door:
    """One callable, and what its parameters are called."""

    call: Callable[..., object]
    """With the object first, if it is a method."""
    parameters: tuple[str, ...]
    named: frozenset[str]
    """Those that are given by name."""


def doors() -> dict[str, Door]:
    """Every public callable that takes something, by its name."""
    found: dict[str, Door] = {}
    for name in pytofu.__all__:
        member = getattr(pytofu, name)
        if inspect.isfunction(member):
            found[name] = _door(member)
    for kind, is_shown in _classes():
        if issubclass(kind, Enum) or kind in WITHOUT_BODY:
            continue  # what an Enum's class takes is Python's own
        maker = inspect.getattr_static(kind, "__init__")
        owner = _owner(kind, "__init__")
        if _is_ours(owner) and owner not in MADE_BY_THE_LIBRARY and maker is not object.__init__:
            found.setdefault(owner.__name__, _door(owner))
        elif issubclass(kind, tuple):
            found[kind.__name__] = _door(kind)
        for name in dir(kind):
            owner = _owner(kind, name)
            if name.startswith("_") or not is_shown(name) or not _is_ours(owner):
                continue
            found.update(_member(owner, name))
    for name in ("call", "drain", "proxy", "signal", "stream", "subscribe"):
        found[f"LastingPeer.{name}"] = found[f"Peer.{name}"]  # `connect` with `reconnect` gives it
    return {name: door for name, door in found.items() if door.parameters}


def _member(owner: type, name: str) -> Iterator[tuple[str, Door]]:
    # A compiled twin has no properties: its own pure class says what there is to be set.
    static = inspect.getattr_static(getattr(owner, "_pure", owner), name)
    key = f"{owner.__name__}.{name}"
    if isinstance(static, property):
        if static.fset is not None and Never not in get_type_hints(static.fset).values():
            setter = lambda receiver, value: setattr(receiver, name, value)  # noqa: E731
            yield f"{key}=", Door(setter, ("value",), frozenset())
    elif isinstance(static, staticmethod | classmethod):
        yield key, _door(getattr(owner, name))
    elif inspect.isfunction(static):
        # By its name: what is derived from the class has its own.
        invoke = lambda receiver, *args, **kwargs: getattr(receiver, name)(*args, **kwargs)  # noqa: E731
        yield key, attrs.evolve(_door(getattr(owner, name), 1), call=invoke)


def _door(call: Any, skip: int = 0) -> Door:
    parameters = [
        one
        for one in list(inspect.signature(call).parameters.values())[skip:]
        if not one.name.startswith("_") and one.kind is not one.VAR_KEYWORD
    ]
    return Door(
        call,
        tuple(one.name for one in parameters),
        frozenset(one.name for one in parameters if one.kind is one.KEYWORD_ONLY),
    )


def _owner(kind: type, name: str) -> type:
    """The class that has the member itself."""
    return next(one for one in kind.__mro__ if name in vars(one))


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pytofu"


def _classes() -> Iterator[tuple[type, Callable[[str], bool]]]:
    """Every class of the reference, and which of its members that shows."""
    for page in sorted(REFERENCE.glob("*.md")):
        for name, settings in _CLASS.findall(page.read_text(encoding="utf-8")):
            module, _, short = f"pytofu.{name}".rpartition(".")
            if name.startswith("pytofu."):
                module = name.rpartition(".")[0]
            yield getattr(import_module(module), short), _shown(settings)


def _shown(settings: str) -> Callable[[str], bool]:
    fields = {name: set(text.strip().split(", ")) for name, text in _SETTING.findall(settings)}
    members, hidden = fields.get("members", set[str]()), fields.get("exclude-members", set[str]())
    return lambda name: name in members or (members == {""} and name not in hidden)
