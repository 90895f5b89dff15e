"""Codecs (peers/codec.py)."""

import sys
from dataclasses import dataclass
from typing import Any

import attrs
import pytest

from pytofu import Codec


@dataclass
class Point:
    x: int
    tags: list[str]


@attrs.define
class Named:
    name: str
    point: Point | None = None


@dataclass
class Node:
    child: "Node | None" = None


VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (5, int),
    ("ü\n", str),
    (b"\x00", bytes),
    ([1, 2], list[int]),
    (Point(1, ["a"]), Point),
    (Named("n", Point(1, [])), Named),
]


@pytest.fixture(params=["json", "msgspec_json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    if request.param != "json":
        pytest.importorskip("msgspec")
    found: Codec = getattr(Codec, request.param)()
    return found


@pytest.mark.parametrize(("value", "kind"), VALUES)
def test_there_and_back(codec: Codec, value: Any, kind: Any) -> None:
    assert codec.decode(codec.encode(value), kind) == value


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"x": "no"}'])
def test_what_cannot_be_read_is_a_value_error(codec: Codec, data: bytes) -> None:
    with pytest.raises(ValueError, match="."):  # noqa: RUF043
        codec.decode(data, Point)


def test_a_type_within_itself_that_is_too_deep_is_a_value_error() -> None:
    """Not too deep to be read, but to be made: the peer's mistake, and no failure here."""
    depth = sys.getrecursionlimit() // 2
    data = b'{"child":' * depth + b"null" + b"}" * depth
    with pytest.raises(ValueError, match="nested too deeply"):
        Codec.json().decode(data, Node)


def test_what_cannot_be_written() -> None:
    for value in (float("nan"), object(), {1: 2}, "\ud800"):
        with pytest.raises((TypeError, ValueError)):
            Codec.json().encode(value)


def test_their_names() -> None:
    assert repr(Codec.json()) == "Codec(content_type='application/json')"
    assert Codec.json() is Codec.json()


def test_without_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ImportError, match=r"pytofu\[msgspec\]"):
        Codec.msgpack()
