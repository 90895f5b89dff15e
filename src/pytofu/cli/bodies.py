"""Bodies that came from a peer, as people and machines may see them."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import attrs

from pytofu import Codec
from pytofu.cli.frames import hex_dump
from pytofu.cli.output import harmless, number_of

JSON: Final = Codec.json()
"""What the command line writes and reads typed bodies with."""

_MOST_DUMPED: Final = 512
_MOST_IN_LINE: Final = 32


@attrs.frozen
class Value:
    """What a body says that is JSON; it may say `null`."""

    value: Any

    def text(self) -> str:
        """JSON in lines, in which nothing does anything to a terminal."""
        text = json.dumps(self.value, indent=2, ensure_ascii=False)
        return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def value_of(body: bytes) -> Value | None:
    """What the body says, if it is JSON that can be written again."""
    try:
        value = JSON.decode(body, Any)
        JSON.encode(value)
    except (ValueError, TypeError, RecursionError):
        return None
    return Value(value)


def body_text(body: bytes) -> str | None:
    """The body as text, if that is what it is."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\n\t" for c in text) else None


def body_lines(body: bytes) -> Iterator[str]:
    """A body for people: text as it is, other bytes in hexadecimal."""
    text = body_text(body)
    if text is not None:
        yield text.removesuffix("\n")
        return
    yield from hex_dump(body[:_MOST_DUMPED])
    if len(body) > _MOST_DUMPED:
        yield f"and {len(body) - _MOST_DUMPED:,} more bytes; all of them with --json"


def body_line(body: bytes) -> str:
    """A body for people, in one line."""
    try:
        return harmless(body.decode())
    except UnicodeDecodeError:
        more = " ..." if len(body) > _MOST_IN_LINE else ""
        return f"({number_of(len(body), 'byte')}) {body[:_MOST_IN_LINE].hex(' ')}{more}"


def body_record(body: bytes) -> dict[str, object]:
    """A body for machines: whole, as text where it is text, as a value where it is JSON."""
    found = value_of(body)
    return {
        "body": base64.b64encode(body).decode(),
        "text": body_text(body),
        **({} if found is None else {"value": found.value}),
    }
