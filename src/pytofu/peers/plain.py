"""Typed values as plain ones that JSON can carry, and back, checked: no dependency but attrs.

Plain are None, bool, int, float, str, list and dict. Dataclasses and attrs classes become dicts,
bytes base64, dates and times ISO 8601, UUID and Decimal text, enums their values.
"""

import base64
import dataclasses
import types
import typing
from binascii import Error as Base64Error
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Literal, NewType, TypeAliasType, Union, cast, get_args, get_origin
from uuid import UUID

import attrs

_FROM_TEXT: Final[Mapping[Any, Callable[[str], Any]]] = {
    bytes: lambda text: base64.b64decode(text, validate=True),
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
    Decimal: Decimal,
}
_PLAIN: Final = frozenset[Any]({bool, int, float, str, list, dict})
_LISTS: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    Sequence: list,
    set: set,
    frozenset: frozenset,
}


def to_plain(value: Any) -> Any:
    """The value in plain ones. Raises TypeError for what has no such form."""
    match value:
        case None | bool() | str():
            return value
        case Enum():
            return to_plain(value.value)
        case int() | float():
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case date() | time():
            return value.isoformat()
        case UUID() | Decimal():
            return str(value)
        case Mapping():
            items = cast("Any", value).items()
            return {_key(key): to_plain(one) for key, one in items}
        case list() | tuple() | set() | frozenset():
            return [to_plain(one) for one in cast("Collection[Any]", value)]
        case _:
            fields = _fields(cast("Any", type(value)))
            return {name: to_plain(getattr(value, name)) for name, _, _ in fields}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key that is no text: {key!r:.80}")
    return key


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[tuple[str, Any, bool], ...]:
    """Name, type and whether it may be left out, of each field of a class."""
    if attrs.has(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return tuple(
            (field.name, hints.get(field.name, Any), field.default is not attrs.NOTHING)
            for field in attrs.fields(kind)
            if field.init
        )
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        missing = dataclasses.MISSING
        return tuple(
            (
                field.name,
                hints[field.name],
                field.default is not missing or field.default_factory is not missing,
            )
            for field in dataclasses.fields(kind)
            if field.init
        )
    raise TypeError(f"{kind} has no plain form")


def from_plain(value: Any, kind: Any, path: str = "") -> Any:
    """The plain value as one of this type.

    Raises ValueError for what is none, with the path of the part that is wrong, and TypeError for
    a type that has no plain form.
    """
    if isinstance(kind, TypeAliasType):
        return from_plain(value, kind.__value__, path)
    if isinstance(kind, NewType):
        return from_plain(value, kind.__supertype__, path)
    origin = get_origin(kind)
    if origin is None:
        return _simple(value, kind, path)
    arguments = get_args(kind)
    if origin is typing.Annotated:
        return from_plain(value, arguments[0], path)
    if origin is Union or origin is types.UnionType:
        return _one_of(value, arguments, kind, path)
    if origin is Literal:
        if any(value == one and type(value) is type(one) for one in arguments):
            return value
        raise _wrong(value, f"one of {', '.join(map(repr, arguments))}", path)
    if origin is tuple:
        return _tuple(value, arguments, path)
    if origin in _LISTS:
        items = [
            from_plain(one, arguments[0], f"{path}[{i}]")
            for i, one in enumerate(_list(value, path))
        ]
        return cast("Any", _LISTS[origin])(items)
    if origin in (dict, Mapping):
        if arguments[0] is not str:
            raise TypeError(f"keys must be str: {kind}")
        return {
            key: from_plain(one, arguments[1], _join(path, key))
            for key, one in _dict(value, path).items()
        }
    raise TypeError(f"{kind} has no plain form")


def _simple(value: Any, kind: Any, path: str) -> Any:
    if kind is Any or kind is object:
        return value
    if kind is None or kind is type(None):
        return _expect(value, type(None), path)
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _wrong(value, "float", path) from None
    if kind in _PLAIN:
        return _expect(value, kind, path)
    if kind in _FROM_TEXT:
        text = _expect(value, str, path)
        try:
            return _FROM_TEXT[kind](text)
        except (ValueError, Base64Error, InvalidOperation):
            raise _wrong(value, kind.__name__, path) from None
    if isinstance(kind, type) and issubclass(kind, Enum):
        found = next((one for one in kind if to_plain(one) == value), None)
        if found is None or type(to_plain(found)) is not type(value):
            raise _wrong(value, kind.__name__, path)
        return found
    if not isinstance(kind, type):
        raise TypeError(f"{kind} has no plain form")
    return _object(value, kind, path)


def _object(value: Any, kind: type, path: str) -> Any:
    fields = _fields(kind)
    given = dict(_dict(value, path))
    found: dict[str, Any] = {}
    for name, field_kind, optional in fields:
        if name in given:
            found[name] = from_plain(given.pop(name), field_kind, _join(path, name))
        elif not optional:
            raise ValueError(f"{_join(path, name)}: is missing")
    if given:
        raise ValueError(f"{_join(path, next(iter(given)))}: is not known")
    if attrs.has(kind):  # whose arguments may be named otherwise than its attributes
        aliases = {field.name: field.alias for field in attrs.fields(kind)}
        found = {aliases[name]: one for name, one in found.items()}
    try:
        return kind(**found)
    except (TypeError, ValueError) as error:  # of its own validators
        raise ValueError(f"{path}: {error}" if path else str(error)) from None


def _one_of(value: Any, kinds: tuple[Any, ...], kind: Any, path: str) -> Any:
    for one in kinds:
        try:
            return from_plain(value, one, path)
        except ValueError:
            pass
    raise _wrong(value, str(kind), path)


def _tuple(value: Any, kinds: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    items = _list(value, path)
    if kinds[1:] == (...,):
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        raise _wrong(value, f"{len(kinds)} items", path)
    return tuple(
        from_plain(one, kind, f"{path}[{i}]")
        for i, (one, kind) in enumerate(zip(items, kinds, strict=True))
    )


def _expect(value: Any, kind: Any, path: str) -> Any:
    if type(value) is not kind:  # a bool is no int here
        raise _wrong(value, "null" if kind is type(None) else kind.__name__, path)
    return value


def _list(value: Any, path: str) -> list[Any]:
    return cast("list[Any]", _expect(value, list, path))


def _dict(value: Any, path: str) -> dict[str, Any]:
    return cast("dict[str, Any]", _expect(value, dict, path))


def _wrong(value: Any, expected: str, path: str) -> ValueError:
    text = f"expected {expected}, got {value!r:.80}"
    return ValueError(f"{path}: {text}" if path else text)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# ---------------------------------------------------------------------- types, before any value


def must_be_plain(kind: Any) -> None:
    """Raise TypeError for a type that `from_plain` has no way to read, and for ambiguous ones.

    A part of it may have a name that stands for nothing yet: that part is looked at when read.
    """
    _look(kind, "", set())


def _look(kind: Any, path: str, seen: set[Any]) -> None:
    if isinstance(kind, TypeAliasType):
        if kind not in seen:
            seen.add(kind)
            with suppress(NameError):
                _look(kind.__value__, path, seen)
        return
    if isinstance(kind, NewType):
        _look(kind.__supertype__, path, seen)
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None:
        _look_simple(kind, path, seen)
        return
    if origin is Literal:
        for one in arguments:
            if not isinstance(one, bool | int | str | None) or isinstance(one, Enum):
                raise _formless(f"{one!r} in a Literal", path)
        return
    if origin in (dict, Mapping):
        if arguments[:1] != (str,):
            raise _formless(f"{_shown(kind)}, whose keys are not str", path)
    elif origin is Union or origin is types.UnionType:
        texts = [one for one in _members(kind) if one is str or one in _FROM_TEXT]
        if len(texts) > 1:
            names = " and ".join(map(_shown, texts))
            raise _formless(f"{_shown(kind)} that tells {names} apart, which are all text", path)
    elif origin is typing.Annotated:
        arguments = arguments[:1]
    elif (origin is not tuple and origin not in _LISTS) or (not arguments and kind != tuple[()]):
        raise _formless(_shown(kind), path)
    for one in arguments:
        if one is not ...:
            _look(one, path, seen)


def _look_simple(kind: Any, path: str, seen: set[Any]) -> None:
    if kind in (Any, object, None, type(None)) or kind in _PLAIN or kind in _FROM_TEXT:
        return
    if not isinstance(kind, type):
        raise _formless(_shown(kind), path)
    _look_class(cast("type[Any]", kind), path, seen)


def _look_class(kind: type[Any], path: str, seen: set[Any]) -> None:
    if issubclass(kind, Enum):
        try:
            to_plain([one.value for one in kind])
        except TypeError:
            raise _formless(f"a value of {_shown(kind)}", path) from None
        return
    if kind in seen:
        return
    seen.add(kind)
    try:
        fields = _fields(cast("Any", kind))
    except NameError:
        return
    except TypeError:
        advice = " (a TypedDict: a dataclass has one)" if typing.is_typeddict(kind) else ""
        raise _formless(f"{_shown(kind)}{advice}", path) from None
    for name, field_kind, _ in fields:
        _look(field_kind, _join(path or _shown(kind), name), seen)


def _members(kind: Any) -> list[Any]:
    """Those of a union, and of unions in it, without their other names."""
    if isinstance(kind, TypeAliasType):
        with suppress(NameError):
            return _members(kind.__value__)
    elif isinstance(kind, NewType):
        return _members(kind.__supertype__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return _members(arguments[0])
    if origin is Union or origin is types.UnionType:
        return [one for inner in arguments for one in _members(inner)]
    return [kind]


def _formless(what: str, path: str) -> TypeError:
    text = f"JSON has no form for {what}"
    return TypeError(f"{path}: {text}" if path else text)


def _shown(kind: Any) -> str:
    is_named = isinstance(kind, type | NewType) and get_origin(kind) is None
    return str(kind.__name__) if is_named else repr(kind)
