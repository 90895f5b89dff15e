"""What can go wrong between peers: nobody there, never sent, in doubt, refused by the handler."""

from typing import Any

from pytofu.patterns.arguments import as_bytes, must_be
from pytofu.peers.wire import CODES, REFUSED, STATUS, TEXT, Headers, encoded, quoted, unquoted
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError, AmpeStatus


class ConnectError(ConnectionError):
    """No peer could be reached at the address.

    `reason` is the status that says why, and `detail` what is known besides, as `~detail` says it.
    """

    def __init__(
        self, text: str, reason: AmpeStatus = AmpeStatus.CONNECT_FAILED, detail: str = ""
    ) -> None:
        super().__init__(text)
        self.reason: AmpeStatus = reason
        self.detail: str = detail


class NotSent(AmpeException, ConnectionError):
    """What was to be sent has not left, or was refused unread: the peer has not acted on it.

    Safe to repeat.
    """


class Unanswered(AmpeException, ConnectionError):
    """The connection went before the answer came: the peer may have acted, or may not.

    Repeat only what may be carried out twice.
    """


class RemoteError(AmpeException):
    """The peer answered with an error. A handler raises it to answer with one.

    `code` is one of gRPC's code names (INVALID_ARGUMENT, NOT_FOUND, ...), `text` says more, for
    people, and `body` holds whatever bytes the two sides have agreed on. A code of your own reaches
    the caller as UNKNOWN: say it in the text or the body. See `docs/conventions.md`.
    """

    def __init__(self, code: str, text: str = "", body: bytes = b"") -> None:
        must_be("RemoteError's code", "the name of a code, as text", str, code, '"NOT_FOUND"')
        must_be("RemoteError's text", "text", str, text)
        as_bytes("RemoteError's body", body)
        super().__init__(AmpeError.PROCESSING_FAILED, f"{code}: {text}" if text else code)
        self.code: str = code
        self.text: str = text
        self.body: bytes = body

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:  # the peer's code, not the PROCESSING_FAILED that stands for it
        return f"{type(self).__name__}({self.code!r}, {self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.text, self.body), self.__dict__


def error_of(headers: Headers, body: bytes) -> NotSent | RemoteError | None:
    """The error that the last frame of an answer says, if it says one."""
    code = headers.get(STATUS)
    if code is None or code == "OK":
        return None
    text = unquoted(headers.get(TEXT, ""))
    if REFUSED in headers:
        return NotSent(AmpeError.NOT_ALLOWED, text or "the peer takes no more calls")
    return RemoteError(code if code in CODES else "UNKNOWN", text, body)


def error_lines(error: RemoteError) -> bytes:
    """The headers of an answer that says the error."""
    lines = [(STATUS, error.code if error.code in CODES else "UNKNOWN")]
    if error.text:
        lines.append((TEXT, quoted(error.text)))
    return encoded(*lines)


def to_error(status: AmpeStatus) -> AmpeError:
    """The error that a status stands for; an orderly end is a closed channel too."""
    return status.to_error() or AmpeError.CHANNEL_CLOSED
