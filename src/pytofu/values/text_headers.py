"""Text headers: the `name:value` lines between the binary header and the body (PROTOCOL 1)."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import as_bytes, must_be
from pytofu.patterns.result import OK, Err, Result
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError

_NAME_PADDING: Final = b" \t\r\n"
_VALUE_PADDING: Final = b" \t"
_FORBIDDEN: Final = re.compile(rb"[\r\n\0]")
_RULE: Final = (
    "neither may be empty, or have CR, LF, NUL or half a surrogate pair in it, nor the name a colon"
)


REASON: Final = "~reason"
"""Local header of a channel's last event: the name of the `AmpeStatus` that says why it closed."""

DETAIL: Final = "~detail"
"""Local header beside it: the system's own text, or the option whose limit was reached."""

# Begins with what is searched for, and looks back from there: the other way round each byte would
# be looked at, and a peer may send 65,535.
_LOCAL_LINE: Final = re.compile(
    rb"~(?:reason|detail)(?:(?<=\A~.{6})|(?<=\r\n~.{6}))(?::(?:[^\r]++|\r(?!\n))*+)?(?:\r\n|\Z)"
)

_LOCAL_NAMES: Final = frozenset({b"~reason", b"~detail"})
_LOCAL_STARTS: Final = frozenset({b"~reason:", b"~detail:"})


def without_local_headers(raw: bytes) -> bytes:
    """The headers without `~reason` and `~detail`, which only the local engine may write.

    A forged one would look like the end of a channel. Source: PROTOCOL 5.
    """
    # The first is a matter of nanoseconds, the other two are not: 65,535 bytes can take 60 µs.
    if b"~" not in raw or (b"~reason" not in raw and b"~detail" not in raw):
        return raw
    if 3 * (raw.count(b"~reason") + raw.count(b"~detail")) < raw.count(b"\r\n"):
        return _LOCAL_LINE.sub(b"", raw)
    lines = raw.split(b"\r\n")  # quicker where many are local, and slower where many are not
    kept = [line for line in lines if not _is_local(line)]
    if len(kept) == len(lines):
        return raw  # itself: so whoever asks sees that there was none
    if kept and _is_local(lines[-1]):
        kept.append(b"")
    return b"\r\n".join(kept)


def _is_local(line: bytes) -> bool:
    return line[:8] in _LOCAL_STARTS or line in _LOCAL_NAMES


_TEXT: Final = "str or bytes"


def _must_be_text(name: object) -> None:
    must_be("the name of a text header to look for", "str", str, name)


class TextHeader(NamedTuple):
    """One text header. Bytes that are not UTF-8 read as U+FFFD."""

    name: str
    value: str


class TextHeaders:
    """The text headers of a message, in order; names may repeat and are case-sensitive.

    The bytes are kept as they came or as they will go; reading splits them anew each time.
    `len()` is their number of bytes, iteration yields `TextHeader` tuples. PROTOCOL 1.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes = b"") -> None:
        self._raw = bytearray(as_bytes("TextHeaders", raw))

    def append(self, name: str | bytes, value: str | bytes) -> None:
        """Add a header. Text is encoded as UTF-8; the name is trimmed, the value kept as it is.

        Raises `AmpeException` (INVALID_MESSAGE), and adds nothing, for an empty name or value,
        for CR, LF or NUL in either, for a colon in the name, and for text that UTF-8 cannot
        encode: the peer would read something else. Raises `TypeError` for what is neither text nor
        bytes: a number is written as text, `str(number)`.
        """
        match self.try_append(name, value):
            case Err(error):
                text = f"not a text header: {name!r}: {value!r}: {_RULE}"
                raise AmpeException.from_error(error, text)
            case _:
                return

    def try_append(self, name: str | bytes, value: str | bytes) -> Result[None, AmpeError]:
        """`append` with the error as a value."""
        must_be("a text header's name", _TEXT, (str, bytes), name)
        must_be("a text header's value", _TEXT, (str, bytes), value, "str(value) is its text")
        try:
            raw_name = (name.encode() if isinstance(name, str) else name).strip(_NAME_PADDING)
            raw_value = value.encode() if isinstance(value, str) else value
        except UnicodeEncodeError:  # half a surrogate pair
            return Err(AmpeError.INVALID_MESSAGE)
        if not raw_name or not raw_value or b":" in raw_name:
            return Err(AmpeError.INVALID_MESSAGE)
        if _FORBIDDEN.search(raw_name) or _FORBIDDEN.search(raw_value):
            return Err(AmpeError.INVALID_MESSAGE)
        self._raw += b"%b:%b\r\n" % (raw_name, raw_value)
        return OK

    def __iter__(self) -> Iterator[TextHeader]:
        for line in bytes(self._raw).split(b"\r\n"):
            if not line:
                continue
            name, _, value = line.partition(b":")
            if not name:  # a line without a name ends the headers, as in the original
                return
            yield TextHeader(
                name.decode(errors="replace"), value.strip(_VALUE_PADDING).decode(errors="replace")
            )

    def get(self, name: str) -> str | None:
        """The value of the first header with this name, which is text, or None."""
        _must_be_text(name)
        return next((header.value for header in self if header.name == name), None)

    def get_all(self, name: str) -> list[str]:
        """The values of all headers with this name, which is text, in order."""
        _must_be_text(name)
        return [header.value for header in self if header.name == name]

    def to_bytes(self) -> bytes:
        """The headers as they go on the wire."""
        return bytes(self._raw)

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview | None) -> Self:
        """Headers from wire bytes, which are kept unchanged, well-formed or not; None is none."""
        return cls(b"" if raw is None else bytes(as_bytes("TextHeaders.from_bytes", raw)))

    def clear(self) -> None:
        """Remove all headers."""
        self._raw.clear()

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (bytes(self._raw),)

    def __len__(self) -> int:
        return len(self._raw)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TextHeaders):
            return NotImplemented
        return self._raw == other._raw

    if not TYPE_CHECKING:  # pragma: no branch

        def __getitem__(self, name: object) -> None:
            raise TypeError(
                f"text headers have no [{name!r}], since names may repeat: text_headers.get(name) "
                "gives the first value or None, text_headers.get_all(name) all of them"
            )

    def __repr__(self) -> str:
        return f"<TextHeaders {[f'{name}: {value}' for name, value in self]}>"


if compiled and not TYPE_CHECKING:
    without_local_headers = twin(without_local_headers)
    TextHeaders = twin(TextHeaders)
