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
