"""What is said to a caller who gave the wrong thing."""

import array
import re
from typing import Any

import pytest

from pytofu.patterns.arguments import as_bytes, must_be, must_be_callable, shown, whole_number


class Three:
    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("number", [0, -5, 2**70])
def test_a_whole_number_is_taken_as_it_is(number: int) -> None:
    assert whole_number("n", number) is number


def test_what_counts_as_a_whole_number_becomes_an_int() -> None:
    assert type(whole_number("n", Three())) is int
    assert whole_number("n", Three()) == 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (1.0, "port takes a whole number, not float, 1.0"),
        ("80", "port takes a whole number, not str, '80': int('80')"),
        ("http", "port takes a whole number, not str, 'http'"),
        (True, "port takes a whole number, not bool, True"),
        (None, "port takes a whole number, not NoneType, None"),
        (b"1", "port takes a whole number, not bytes, b'1'"),
    ],
)
def test_what_is_no_whole_number(given: object, text: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(text)}$"):
        whole_number("port", given)


@pytest.mark.parametrize("data", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_are_bytes(data: Any) -> None:
    assert bytes(as_bytes("x", data)) == b"ab"


def test_so_is_what_has_a_buffer() -> None:
    assert bytes(as_bytes("x", array.array("B", [1, 2]))) == b"\1\2"


@pytest.mark.parametrize("given", [5, [1, 2], None, 1.5, object()])
def test_numbers_and_lists_are_no_bytes(given: object) -> None:
    with pytest.raises(TypeError, match=f"^x takes bytes, not {type(given).__name__}, [^:]*$"):
        as_bytes("x", given)


def test_text_is_to_be_encoded() -> None:
    with pytest.raises(TypeError, match=r"^x takes bytes, not str, 'é': .* text\.encode\(\)$"):
        as_bytes("x", "é")


def test_what_is_long_is_shown_in_part() -> None:
    assert shown("x" * 56) == f"str, '{'x' * 56}'"
    assert shown("x" * 100) == f"str, '{'x' * 56}..."


def test_types_and_functions() -> None:
    must_be("x", "text", (str, bytes), "a")
    must_be_callable("x", print)
    with pytest.raises(TypeError, match=r"^x takes text, not int, 5: write it$"):
        must_be("x", "text", str, 5, "write it")
    with pytest.raises(TypeError, match=r"^x takes a function, not int, 5$"):
        must_be_callable("x", 5)
