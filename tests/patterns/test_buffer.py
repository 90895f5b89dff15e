import array
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pytofu.patterns.buffer import Appendable, NoSpaceLeft, NotEnoughMemory


def state(buffer: Appendable) -> tuple[int, int]:
    return buffer.capacity, len(buffer)


def test_empty() -> None:
    buffer = Appendable()
    assert state(buffer) == (256, 0)
    assert buffer.body is None
    assert bytes(buffer) == b""
    assert not buffer


@pytest.mark.parametrize(
    ("capacity", "rounding", "expected"),
    [(0, 256, 256), (1, 256, 256), (256, 256, 256), (257, 256, 512), (0, 1, 1), (7, 1, 7)],
)
def test_capacity_is_rounded_up(capacity: int, rounding: int, expected: int) -> None:
    assert Appendable(capacity=capacity, rounding=rounding).capacity == expected


def test_first_content_may_be_larger_than_the_capacity() -> None:
    assert state(Appendable(bytes(300))) == (512, 300)
    assert state(Appendable(bytes(600), capacity=0)) == (768, 600)


def test_growth() -> None:
    buffer = Appendable()
    states = []
    for count in (0, 10, 246, 1, 600, 100, 1000):
        buffer.append(bytes(count))
        states.append(state(buffer))
    assert states == [
        (256, 0), (256, 10), (256, 256), (512, 257), (1024, 857), (1024, 957), (2048, 1957),
    ]  # fmt: skip


def test_growth_always_covers_the_content() -> None:
    buffer = Appendable(bytes(200))
    buffer.append(bytes(500))  # twice the capacity would not do, nor the addition alone
    assert state(buffer) == (768, 700)


def test_append_counts_bytes_whatever_the_items() -> None:
    buffer = Appendable(bytearray(b"a"))
    buffer.append(memoryview(b"xbx")[1:2])
    numbers = array.array("I", [1, 2, 3])
    buffer.append(memoryview(numbers))
    assert bytes(buffer) == b"ab" + numbers.tobytes()
    wide = Appendable(capacity=4, rounding=4)
    wide.append(memoryview(numbers))
    assert state(wide) == (numbers.itemsize * 3, numbers.itemsize * 3)


@pytest.mark.parametrize("data", ["text", 5, [1, 2], None])
def test_what_has_no_bytes_is_refused(data: object) -> None:
    buffer = Appendable(b"before")
    for method in (buffer.append, buffer.copy):
        with pytest.raises(TypeError):
            method(data)  # type: ignore[arg-type]
    assert bytes(buffer) == b"before"


def test_copy_replaces() -> None:
    buffer = Appendable(b"before")
    buffer.copy(b"now")
    assert bytes(buffer) == b"now"
    buffer.copy(b"")
    assert buffer.body is None
    buffer.copy(bytes(257))
    assert state(buffer) == (512, 257)


def test_change_cuts_and_extends_with_zeros() -> None:
    buffer = Appendable(b"secret")
    buffer.change(2)
    assert buffer.body == b"se"
    buffer.change(6)
    assert buffer.body == b"se\0\0\0\0"
    buffer.change(256)
    assert state(buffer) == (256, 256)


def test_change_beyond_the_capacity() -> None:
    buffer = Appendable(b"abc")
    with pytest.raises(NoSpaceLeft, match="257 bytes asked for, capacity is 256"):
        buffer.change(257)
    assert buffer.body == b"abc"


def test_shrink_takes_from_the_end() -> None:
    buffer = Appendable(b"abcdef")
    buffer.shrink(0)
    buffer.shrink(4)
    assert buffer.body == b"ab"
    with pytest.raises(NotEnoughMemory, match="3 bytes to remove, there are 2"):
        buffer.shrink(3)
    assert buffer.body == b"ab"
    buffer.shrink(2)
    assert state(buffer) == (256, 0)


def test_reset_keeps_the_capacity_and_clean_the_length() -> None:
    buffer = Appendable(b"a" * 300)
    buffer.clean()
    assert bytes(buffer) == bytes(300)
    buffer.reset()
    assert state(buffer) == (512, 0)
    buffer.change(300)
    assert bytes(buffer) == bytes(300)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Appendable(capacity=-1),
        lambda: Appendable(rounding=0),
        lambda: Appendable(b"a").change(-1),
        lambda: Appendable(b"a").shrink(-1),
    ],
)
def test_nonsense_is_a_value_error(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must"):
        call()


def test_errors_are_value_errors() -> None:
    assert issubclass(NoSpaceLeft, ValueError)
    assert issubclass(NotEnoughMemory, ValueError)


def test_equality() -> None:
    buffer = Appendable(b"abc", capacity=1000)
    assert buffer == Appendable(b"abc")
    assert buffer != Appendable(b"abd")
    assert buffer == b"abc"
    assert buffer == bytearray(b"abc")
    assert buffer == memoryview(b"abc")
    assert buffer != "abc"
    with pytest.raises(TypeError, match="unhashable"):
        hash(buffer)


def test_repr_is_short() -> None:
    assert repr(Appendable(b"hello")) == "<Appendable 5 of 256 bytes: b'hello'>"
    shown = repr(Appendable(b"x" * 65535))
    assert shown == f"<Appendable 65535 of 65536 bytes: {b'x' * 32!r}...>"


@given(st.binary(max_size=1000))
def test_body_is_a_copy(data: bytes) -> None:
    buffer = Appendable(data)
    body = buffer.body
    buffer.clean()
    buffer.reset()
    assert body == (data or None)


class AgainstBytearray(RuleBasedStateMachine):
    """Whatever is done, the content is that of a plain bytearray and fits the capacity."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = Appendable(capacity=16, rounding=8)
        self.model = bytearray()
        self.capacity = 16

    @rule(data=st.binary(max_size=100))
    def append(self, data: bytes) -> None:
        self.buffer.append(data)
        self.model += data

    @rule(data=st.binary(max_size=100))
    def copy(self, data: bytes) -> None:
        self.buffer.copy(data)
        self.model[:] = data

    @rule(length=st.integers(0, 200))
    def change(self, length: int) -> None:
        if length > self.buffer.capacity:
            with pytest.raises(NoSpaceLeft):
                self.buffer.change(length)
        else:
            self.buffer.change(length)
            self.model = self.model[:length].ljust(length, b"\0")

    @rule(count=st.integers(0, 200))
    def shrink(self, count: int) -> None:
        if count > len(self.model):
            with pytest.raises(NotEnoughMemory):
                self.buffer.shrink(count)
        else:
            self.buffer.shrink(count)
            self.model = self.model[: len(self.model) - count]

    @rule()
    def reset(self) -> None:
        self.buffer.reset()
        self.model.clear()

    @precondition(lambda self: self.model)
    @rule()
    def clean(self) -> None:
        self.buffer.clean()
        self.model = bytearray(len(self.model))

    @invariant()
    def same_bytes(self) -> None:
        assert bytes(self.buffer) == self.model
        assert self.buffer.body == (bytes(self.model) or None)
        assert len(self.buffer) == len(self.model)
        assert self.buffer == self.model

    @invariant()
    def capacity_holds_it_and_never_falls(self) -> None:
        assert self.buffer.capacity >= max(self.capacity, len(self.model))
        assert self.buffer.capacity % 8 == 0
        self.capacity = self.buffer.capacity


TestAgainstBytearray = AgainstBytearray.TestCase
