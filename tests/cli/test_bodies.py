"""Bodies for people and for machines."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.cli.bodies import body_line, body_record, body_text, value_of

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\x9b\u202e"), inner),
    max_leaves=10,
)


def test_what_is_text() -> None:
    assert body_text("grün\n\tx".encode()) == "grün\n\tx"
    assert body_text(b"\xff") is None
    assert body_text(b"\x1b[2J") is None


@given(values)
def test_a_value_is_shown_as_json_that_does_nothing_to_a_terminal(value: Any) -> None:
    found = value_of(json.dumps(value).encode())
    assert found is not None
    text = found.text()
    assert json.loads(text) == value
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"\xff", b"[" * 100_000, b"1 2"])
def test_what_is_no_json(body: bytes) -> None:
    assert value_of(body) is None
    assert "value" not in body_record(body)


@given(st.binary(max_size=100))
def test_a_record_has_all_of_the_body(body: bytes) -> None:
    assert base64.b64decode(json.loads(json.dumps(body_record(body)))["body"]) == body


@given(st.binary(max_size=100))
def test_a_line_is_one_line_that_does_nothing_to_a_terminal(body: bytes) -> None:
    assert body_line(body).isprintable()


def test_lines() -> None:
    assert body_line("grün\n".encode()) == "grün\\n"
    assert body_line(b"\xff\0") == "(2 bytes) ff 00"
    assert body_line(b"\xff" * 33) == f"(33 bytes) {'ff ' * 32}..."
