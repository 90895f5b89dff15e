import copy
import pickle

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytofu.patterns.result import OK, Err
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError
from pytofu.values.text_headers import TextHeader, TextHeaders, without_local_headers

properties = settings(deadline=None)

# What may stand anywhere in a name or a value; surrogates are no text that can be encoded.
characters = st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])
values = st.text(characters, min_size=1, max_size=20)
names = (
    st.text(characters, min_size=1, max_size=20)
    .map(lambda text: text.replace(":", ""))
    .filter(lambda text: text.strip(" \t"))
)
pairs = st.lists(st.tuples(names, values), max_size=8)


def headers_of(*lines: tuple[str | bytes, str | bytes]) -> TextHeaders:
    headers = TextHeaders()
    for name, value in lines:
        headers.append(name, value)
    return headers


class TestAppendAndRead:
    @given(pairs)
    @properties
    def test_round_trip(self, lines: list[tuple[str, str]]) -> None:
        headers = headers_of(*lines)
        expected = [TextHeader(name.strip(" \t"), value.strip(" \t")) for name, value in lines]
        assert list(headers) == expected
        assert list(TextHeaders.from_bytes(headers.to_bytes())) == expected
        for name, _ in expected:
            found = [value for other, value in expected if other == name]
            assert headers.get_all(name) == found
            assert headers.get(name) == found[0]

    @given(pairs)
    @properties
    def test_bytes_are_the_same_as_text(self, lines: list[tuple[str, str]]) -> None:
        as_bytes = headers_of(*((name.encode(), value.encode()) for name, value in lines))
        assert as_bytes == headers_of(*lines)

    @given(names, values, pairs)
    @properties
    def test_one_line_each(self, name: str, value: str, before: list[tuple[str, str]]) -> None:
        headers = headers_of(*before)
        raw = headers.to_bytes()
        headers.append(name, value)
        added = f"{name.strip(' \t')}:{value}\r\n".encode()
        assert headers.to_bytes() == raw + added
        assert len(headers) == len(raw) + len(added)

    def test_padding(self) -> None:
        headers = headers_of((" \t\r\nname\n\r\t ", " \t value \t "))
        assert headers.to_bytes() == b"name: \t value \t \r\n"
        assert list(headers) == [("name", "value")]

    def test_a_blank_value_is_one(self) -> None:
        headers = headers_of(("name", " "))
        assert list(headers) == [("name", "")]

    def test_names_repeat_and_are_case_sensitive(self) -> None:
        headers = headers_of(("a", "1"), ("A", "2"), ("a", "3"))
        assert headers.get("a") == "1"
        assert headers.get_all("a") == ["1", "3"]
        assert headers.get_all("A") == ["2"]
        assert headers.get("b") is None
        assert headers.get_all("b") == []

    def test_values_may_have_colons(self) -> None:
        assert list(headers_of(("a", ":b:c:"))) == [("a", ":b:c:")]

    def test_headers_are_named_tuples(self) -> None:
        (header,) = headers_of(("a", "b"))
        assert header.name == "a"
        assert header.value == "b"


forbidden = st.sampled_from(["\r", "\n", "\0", "\r\n"])


class TestRefusal:
    def check(self, name: str | bytes, value: str | bytes) -> None:
        headers = headers_of(("before", "1"))
        assert headers.try_append(name, value) == Err(AmpeError.INVALID_MESSAGE)
        with pytest.raises(AmpeException, match="neither may be empty") as caught:
            headers.append(name, value)
        assert caught.value.error_code is AmpeError.INVALID_MESSAGE
        assert headers.to_bytes() == b"before:1\r\n"

    @given(names, values, st.one_of(forbidden, st.just(":")), st.data())
    @properties
    def test_in_the_middle_of_a_name(
        self, name: str, value: str, character: str, data: st.DataObject
    ) -> None:
        name = name.strip(" \t")
        at = data.draw(st.integers(0, len(name)))
        broken = name[:at] + character + name[at:]
        assume(":" in character or broken.strip(" \t\r\n") != name)
        self.check(broken, value)
        self.check(broken.encode(), value.encode())

    @given(names, values, forbidden, st.data())
    @properties
    def test_anywhere_in_a_value(
        self, name: str, value: str, character: str, data: st.DataObject
    ) -> None:
        at = data.draw(st.integers(0, len(value)))
        self.check(name, value[:at] + character + value[at:])
        self.check(name, (value[:at] + character + value[at:]).encode())

    @pytest.mark.parametrize(
        ("name", "value"),
        [("", "v"), (" \t\r\n", "v"), ("n", ""), ("", ""), (b"", b"v"), (b"n", b""), (":", "v")],
    )
    def test_empty(self, name: str | bytes, value: str | bytes) -> None:
        self.check(name, value)

    @pytest.mark.parametrize(
        ("name", "value"), [("\ud800", "v"), ("n", "\ud800"), ("n", "a\udcff")]
    )
    def test_what_utf_8_cannot_say(self, name: str, value: str) -> None:
        self.check(name, value)

    def test_try_append_says_ok(self) -> None:
        assert TextHeaders().try_append("a", "b") is OK


class TestAnyBytes:
    @given(st.binary(max_size=60))
    @properties
    def test_can_be_read(self, raw: bytes) -> None:
        headers = TextHeaders.from_bytes(raw)
        for name, value in headers:
            assert name
            assert value == value.strip(" \t")
        assert headers.to_bytes() == raw
        assert len(headers) == len(raw)
        assert repr(headers)

    @given(
        st.lists(st.sampled_from([b"a", b":", b"\r\n", b"\r", b"\n", b" ", b"\xff"]), max_size=30)
    )
    @properties
    def test_read_as_the_protocol_says(self, pieces: list[bytes]) -> None:
        raw = b"".join(pieces)
        expected = []
        for line in raw.split(b"\r\n"):
            if line == b"":
                continue
            at = line.find(b":")
            name, value = (line, b"") if at < 0 else (line[:at], line[at + 1 :])
            if name == b"":
                break
            expected.append(
                (name.decode(errors="replace"), value.strip(b" \t").decode(errors="replace"))
            )
        assert list(TextHeaders(raw)) == expected

    def test_what_is_not_utf_8_is_replaced(self) -> None:
        assert list(TextHeaders(b"\xff:a\xc3\r\n")) == [("\ufffd", "a\ufffd")]


class TestTheRest:
    def test_from_bytes(self) -> None:
        for raw in (b"a:b\r\n", bytearray(b"a:b\r\n"), memoryview(b"a:b\r\n")):
            assert TextHeaders.from_bytes(raw) == headers_of(("a", "b"))
        assert TextHeaders.from_bytes(None) == TextHeaders()

    def test_what_was_given_is_copied(self) -> None:
        raw = bytearray(b"a:b\r\n")
        headers = TextHeaders.from_bytes(raw)
        raw[0] = ord("x")
        assert headers.get("a") == "b"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_copies_and_pickles(self, protocol: int) -> None:
        headers = headers_of(("a", "b"))
        copies = [copy.copy(headers), copy.deepcopy(headers)]
        copies.append(pickle.loads(pickle.dumps(headers, protocol)))
        for each in copies:
            assert each == headers
            each.append("c", "d")
        assert headers == headers_of(("a", "b"))

    def test_clear(self) -> None:
        headers = headers_of(("a", "b"))
        headers.clear()
        assert len(headers) == 0
        assert list(headers) == []

    def test_equality(self) -> None:
        assert headers_of(("a", "b")) == headers_of(("a", "b"))
        assert headers_of(("a", "b")) != headers_of(("a", "c"))
        assert headers_of(("a", "b")) != b"a:b\r\n"

    def test_has_no_hash(self) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(TextHeaders())

    def test_appending_while_reading_does_not_disturb_the_reader(self) -> None:
        headers = headers_of(("a", "1"), ("b", "2"))
        for name, value in headers:
            headers.append(name, value)
        assert [name for name, _ in headers] == ["a", "b", "a", "b"]

    def test_repr(self) -> None:
        assert repr(headers_of(("a", "b"), ("c", "d"))) == "<TextHeaders ['a: b', 'c: d']>"


@pytest.mark.parametrize("last", [b"", b"~detail", b"~reason:x", b"a:b", b"~reasons:x"])
@pytest.mark.parametrize("others", [0, 1, 20])
def test_local_lines_go_however_many_there_are(others: int, last: bytes) -> None:
    other = b"a:~reason\r\n" * others + b"\r\n" * others
    raw = b"~reason:x\r\n" + other + b"~detail\r\n" + last
    assert without_local_headers(raw) == other + (
        b"" if last in {b"~detail", b"~reason:x"} else last
    )
