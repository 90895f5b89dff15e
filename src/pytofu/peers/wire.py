"""The conventions on the wire: names of text headers and the forms of their values.

All of it is written down for other implementations in `docs/conventions.md`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

import attrs

from pytofu.patterns.arguments import must_be
from pytofu.values.header import MAX_PART_LEN
from pytofu.values.message import Message
from pytofu.values.text_headers import TextHeaders

METHOD: Final = "tofu-method"
TIMEOUT: Final = "tofu-timeout"
STATUS: Final = "tofu-status"
TEXT: Final = "tofu-message"
REFUSED: Final = "tofu-refused"
CANCEL: Final = "tofu-cancel"
STREAM: Final = "tofu-stream"
CREDIT: Final = "tofu-credit"
ITEM: Final = "tofu-item"
WHOLE: Final = "whole"
PART: Final = "part"
END: Final = "end"
SUBSCRIBE: Final = "tofu-subscribe"
TOPIC: Final = "tofu-topic"
MISSED: Final = "tofu-missed"
HEARTBEAT: Final = "tofu-heartbeat"
ASK: Final = "ask"
HERE: Final = "here"
FEATURES: Final = "tofu-features"
CONTENT_TYPE: Final = "content-type"

RESERVED: Final = "tofu-"
"""What the names of these headers begin with: programs cannot set them, and do not see them."""

LOCAL: Final = "~"
"""What names begin with that are the engine's own."""

PART_LEN: Final = MAX_PART_LEN
"""Bytes of a body that fit one message."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a whole body, in however many parts, sent or received."""

CODES: Final = frozenset(
    {
        "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
        "UNAUTHENTICATED",
    }
)  # fmt: skip
"""gRPC's code names, less OK, which an answer says by having no status."""

_UNITS: Final = {"H": 3_600_000_000_000, "M": 60_000_000_000, "S": 1_000_000_000,
                 "m": 1_000_000, "u": 1_000, "n": 1}  # fmt: skip
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_LARGEST: Final = 99_999_999
_LONGEST_TIMEOUT: Final = 9
_NEVER: Final = float("inf")
_MANY_MILLISECONDS: Final = 1000
"""From this on no finer unit is worth its digits."""
_MAX_TEXT: Final = 4096
_PLAIN: Final = "".join(chr(i) for i in range(0x21, 0x7F) if chr(i) != "%")
_COUNT: Final = re.compile(r"[0-9]{1,9}")

_SHORT: Final = 128
"""Bytes of headers up to which they are remembered: the same come again and again."""

type Headers = Mapping[str, str]
"""Those of a message. Messages share them."""


def read_headers(message: Message) -> Headers:
    """The text headers of a message; of a name that repeats, the first."""
    raw = message.raw_text_headers
    return _remembered(raw) if len(raw) <= _SHORT else _split(raw)


def _split(raw: bytes) -> Headers:
    headers: dict[str, str] = {}
    for name, value in TextHeaders(raw):
        headers.setdefault(name, value)
    return headers


_remembered: Final = lru_cache(256)(_split)


def encoded(*lines: tuple[str, str]) -> bytes:
    """Text headers as they go on the wire. Raises `AmpeException` for what no message can carry."""
    headers = TextHeaders()
    for name, value in lines:
        headers.append(name, value)
    return headers.to_bytes()


def user_headers(headers: Headers) -> dict[str, str]:
    """Those that are the program's, not these conventions' or the engine's."""
    return {
        name: value for name, value in headers.items() if not name.startswith((RESERVED, LOCAL))
    }


def checked(what: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The program's headers, for `what`.

    Raises `TypeError` for what does not map text to text, ValueError for a name that is not the
    program's to use.
    """
    must_be(what, "a mapping of text to text", Mapping, headers, '{"name": "value"}')
    for name, value in headers.items():
        must_be(f"a name in {what}", "text", str, name)
        must_be(f"the value of {name!r} in {what}", "text", str, value)
        if name.startswith((RESERVED, LOCAL)):
            raise ValueError(f"a header cannot be named {name!r}: see docs/conventions.md")
    return headers


def timeout_text(seconds: float) -> str:
    """A time in gRPC's form: at most 8 digits and a unit, never more than was given."""
    # A text that comes again and again is remembered on both sides with what was made of it.
    if _MANY_MILLISECONDS <= seconds * 1000 <= _LARGEST:
        return f"{int(seconds * 1000)}m"
    # Under a scope that is cancelled already there is minus infinity left.
    left = int(seconds * 1e9) if seconds > 1e-9 else 1
    for unit, nanoseconds in reversed(_UNITS.items()):
        if left // nanoseconds <= _LARGEST:
            return f"{left // nanoseconds}{unit}"
    return f"{_LARGEST}H"


def read_timeout(text: str | None) -> float:
    """The seconds that a timeout header says; infinite for none, and for what is no timeout."""
    return _NEVER if text is None or len(text) > _LONGEST_TIMEOUT else _seconds(text)


@lru_cache(256)
def _seconds(text: str) -> float:
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        return _NEVER
    return int(found[1]) * _UNITS[found[2]] / 1e9


def read_count(text: str | None) -> int | None:
    """The number that a header says, up to nine digits; None for anything else."""
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def quoted(text: str) -> str:
    """A text as a header can carry it: UTF-8, all but visible ASCII percent-encoded."""
    return quote(text[:_MAX_TEXT].encode(errors="replace"), safe=_PLAIN)


def unquoted(text: str) -> str:
    """What `quoted` made of it, undone."""
    return unquote(text)


@attrs.frozen
class Features:
    """What a side says in its Hello, or in its answer to one, that it knows of these conventions.

    `calls` is how many calls it carries out at a time for this peer, `heartbeat` after how many
    seconds without a message it asks whether the peer is there (None: never).
    """

    calls: int = 0
    heartbeat: float | None = None

    def to_text(self, side: str) -> str:
        """The header's value; `side` is "client" in a HelloRequest, "server" in its answer."""
        beat = "" if self.heartbeat is None else f" heartbeat={timeout_text(self.heartbeat)}"
        return f"{side} calls={self.calls}{beat}"


def read_features(text: str | None, side: str) -> Features | None:
    """What the peer knows; None if that is nothing.

    An answer that begins with "client" is our own header echoed by a peer that knows none of this.
    """
    first, *words = (text or "").split(" ")
    if first != side:
        return None
    values = dict(word.split("=", 1) for word in words if "=" in word)
    beat = read_timeout(values.get("heartbeat"))
    return Features(read_count(values.get("calls")) or 0, beat if 0 < beat < _NEVER else None)
