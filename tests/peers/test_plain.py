"""Typed values as plain ones and back (peers/plain.py)."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, TypedDict
from uuid import UUID

import attrs
import pytest
from attrs.validators import gt
from hypothesis import given
from hypothesis import strategies as st

from pytofu.peers.plain import from_plain, must_be_plain, to_plain


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Odd(Enum):
    THING = object()


Id = NewType("Id", int)
type Names = list[str]


@dataclass
class Point:
    x: int
    y: int = 0
    names: Names = field(default_factory=list)
    cached: int = field(default=0, init=False)


@attrs.define
class Shape:
    _corners: tuple[Point, ...]
    colour: Colour = Colour.RED
    size: float = attrs.field(default=1.0, validator=gt(0))
    area: int = attrs.field(default=0, init=False)


@attrs.define
class Tree:
    branches: "dict[str, Tree]"


@attrs.define
class Early:
    leaf: "Later | None" = None  # type: ignore[name-defined]  # noqa: F821


class Row(TypedDict):
    x: int


@dataclass
class Deep:
    trees: list[Tree]
    rows: list[Row]


type Endless = list[Endless] | None
type Absent = list[Later]  # type: ignore[name-defined]  # noqa: F821
type Blob = bytes
Moment = NewType("Moment", datetime)

PAIRS: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    (True, bool, True),
    (1, int, 1),
    (1.5, float, 1.5),
    ("a", str, "a"),
    (b"\x00\xff", bytes, "AP8="),
    (Colour.BLUE, Colour, "blue"),
    (Level.LOW, Level, 1),
    (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime, "2026-01-02T03:04:00+00:00"),
    (date(2026, 1, 2), date, "2026-01-02"),
    (time(3, 4), time, "03:04:00"),
    (UUID(int=1), UUID, "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), Decimal, "1.10"),
    ([1, 2], list[int], [1, 2]),
    ([1, 2], Sequence[int], [1, 2]),
    ((1, "a"), tuple[int, str], [1, "a"]),
    ((1, 2), tuple[int, ...], [1, 2]),
    ({1}, set[int], [1]),
    (frozenset({1}), frozenset[int], [1]),
    ({"a": b"a"}, dict[str, bytes], {"a": "YQ=="}),
    ({"a": 1}, Mapping[str, int], {"a": 1}),
    ({"a": [1]}, Any, {"a": [1]}),
    ([1], list, [1]),
    (1, int | None, 1),
    (None, int | None, None),
    ("a", int | str, "a"),
    ("x", Literal["x", 1], "x"),
    (5, Id, 5),
    (["a"], Names, ["a"]),
    (5, Annotated[int, "five"], 5),
    (Point(1, names=["a"]), Point, {"x": 1, "y": 0, "names": ["a"]}),
    (
        Shape((Point(1, 2),), Colour.BLUE),
        Shape,
        {"_corners": [{"x": 1, "y": 2, "names": []}], "colour": "blue", "size": 1.0},
    ),
]


@pytest.mark.parametrize(("value", "kind", "plain"), PAIRS)
def test_there_and_back(value: Any, kind: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    back = from_plain(plain, kind)
    assert back == value
    assert type(back) is type(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from([kind for _, kind, _ in PAIRS]))
def test_anything_is_a_value_or_a_value_error(plain: Any, kind: Any) -> None:
    with suppress(ValueError):
        to_plain(from_plain(plain, kind))


@pytest.mark.parametrize(
    ("plain", "kind", "text"),
    [
        (True, int, "expected int, got True"),
        ("1", int, "expected int, got '1'"),
        (10**400, float, "expected float"),
        (0, None, "expected null, got 0"),
        ("a", bytes, "expected bytes, got 'a'"),
        ("y", date, "expected date, got 'y'"),
        ("y", Decimal, "expected Decimal"),
        ("green", Colour, "expected Colour, got 'green'"),
        (True, Level, "expected Level, got True"),
        ([1, "x"], list[int], r"\[1\]: expected int, got 'x'"),
        ([1], tuple[int, int], "expected 2 items"),
        ({"a": {"b": 1}}, dict[str, dict[str, str]], "a.b: expected str, got 1"),
        (1.5, int | str, r"expected int \| str, got 1.5"),
        (True, Literal[1, "x"], "expected one of 1, 'x', got True"),
        ({}, Point, "x: is missing"),
        ({"x": 1, "z": 1}, Point, "z: is not known"),
        ({"_corners": [{"x": ""}]}, Shape, r"_corners\[0\].x: expected int"),
        ({"_corners": [], "size": 0}, Shape, "'size' must be > 0"),
        ([{"_corners": [], "size": 0}], list[Shape], r"\[0\]: 'size' must be > 0"),
    ],
)
def test_what_is_wrong_is_said(plain: Any, kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        from_plain(plain, kind)


@pytest.mark.parametrize("value", [object(), {1: 2}, Callable])
def test_values_without_a_plain_form(value: Any) -> None:
    with pytest.raises(TypeError):
        to_plain(value)


@pytest.mark.parametrize(
    ("plain", "kind"), [({}, dict[int, int]), ([], type[int]), ({}, object), ("", "str")]
)
def test_types_without_a_plain_form(plain: Any, kind: Any) -> None:
    if kind is object:
        assert from_plain(plain, kind) == plain
        return
    with pytest.raises(TypeError):
        from_plain(plain, kind)
    with pytest.raises(TypeError):
        from_plain({}, test_there_and_back.__class__)


@pytest.mark.parametrize(
    "kind",
    [
        *(kind for _, kind, _ in PAIRS),
        *(Tree, Early, Endless, Absent, dict[str, Absent], object, tuple[()], set[Endless]),
        *(
            int | str | None,
            str | Absent,
            Literal["a"] | bytes,
            Colour | UUID,
            list[str] | list[bytes],
        ),
    ],
)
def test_types_with_a_plain_form(kind: Any) -> None:
    must_be_plain(kind)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (complex, "JSON has no form for complex"),
        (Path, "JSON has no form for Path"),
        (Row, "JSON has no form for Row (a TypedDict: a dataclass has one)"),
        (tuple, "JSON has no form for tuple"),
        (type[int], "JSON has no form for type[int]"),
        ("str", "JSON has no form for 'str'"),
        (dict[int, str], "JSON has no form for dict[int, str], whose keys are not str"),
        (Deep, "Deep.rows: JSON has no form for Row"),
        (list[Deep], "Deep.rows: JSON has no form for Row"),
        (Literal["x", b"y"], "JSON has no form for b'y' in a Literal"),
        (Literal[Level.LOW], "JSON has no form for <Level.LOW: 1> in a Literal"),
        (Odd, "JSON has no form for a value of Odd"),
        (list[complex | None], "JSON has no form for complex"),
        (Annotated[dict[str, Path], "files"], "JSON has no form for Path"),
        (str | bytes, "JSON has no form for str | bytes that tells str and bytes apart, "),
        (Annotated[Moment | Blob, 1] | int | None, "tells datetime and bytes apart"),
    ],
)
def test_types_without_one(kind: Any, text: str) -> None:
    with pytest.raises(TypeError, match=re.escape(text)):
        must_be_plain(kind)
