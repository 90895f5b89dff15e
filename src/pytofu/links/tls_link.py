"""A TLS connection: a TCP link with the standard library's `ssl` between it and the bytes.

OpenSSL never sees the socket: it is given what the TCP link received and gives what that link is to
send, both in memory. So nothing waits, one system call carries many records, and what the system
says of the connection stays the TCP link's. Measured against a non-blocking `SSLSocket`: as quick
with small messages, a tenth quicker with large ones.

Three traps. What is encrypted cannot be taken back, so `send` says that bytes are taken only when
their records are out. One read of OpenSSL's gives one record at most, and more may be left that no
readiness announces (`buffered`). And that the connection ended says nothing, unless the peer said
so inside TLS: anybody on the way can end a connection.
"""

import contextlib
import ssl
from collections import deque
from typing import Any, Final

import attrs

from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.tls_failures import NO_TLS, explain
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

_RECORD: Final = 17 * 1024
"""Bytes asked of the TCP link at least: a whole record, with what encrypting adds."""

_RECORD_DATA: Final = 16 * 1024
"""Bytes of data in a record at most; of more, OpenSSL makes several without telling."""

_RECORD_MORE: Final = 22
"""Bytes that TLS 1.3 adds to each: so a stream of messages that are long comes in whole ones."""

_MOST_AT_ONCE: Final = 5 * _RECORD_DATA
"""Bytes encrypted in one go: the longest message without text headers is among them."""

_MOST_ANSWERS: Final = 64 * 1024
"""Bytes that OpenSSL itself may have to say to a peer that does not take them."""

_MOST_EMPTY: Final = 16
"""Reads that give the application nothing, in one go: then others have their turn."""

_FIRST_BYTES: Final = (b"\x16\x03", b"\x15\x03")
"""How all that speaks TLS begins: a handshake or an alert, of a version 3.x."""

_CUT: Final = LinkError(
    AmpeError.COMMUNICATION_FAILED, "TLS: the connection ended without the peer's close_notify"
)
_FLOODED: Final = LinkError(
    AmpeError.COMMUNICATION_FAILED, "TLS: the peer does not take the answers that it asks for"
)


class TLSLink(Link):
    """A TLS connection, made or under way; the TCP link is its own."""

    __slots__ = (
        "_begun",
        "_context",
        "_dry",
        "_in",
        "_left",
        "_link",
        "_name",
        "_out",
        "_over",
        "_plain",
        "_received",
        "_records",
        "_said_bye",
        "_tls",
    )

    def __init__(self, link: Link, context: ssl.SSLContext, name: str | None = None) -> None:
        """`name` is whom the server has to be; None: this is the server."""
        self._link: Final = link
        self._context: Final = context
        self._name: Final = name
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None  # from the handshake to the end
        self._begun = False  # whether the peer has spoken, and TLS
        self._dry = True  # whether OpenSSL needs more to go on
        self._left = memoryview(b"")  # of `_out`, being sent
        # Of the records that are not yet all sent: bytes of data, and bytes encrypted.
        self._records: Final[deque[tuple[int, int]]] = deque()
        self._plain = b""  # received while saying that nothing more will be sent
        self._received = False  # whether the application has received anything
        self._said_bye = False
        self._over: LinkError | None = None  # why nothing more can be received

    def fileno(self) -> int:
        """As `Link.fileno`: that of the TCP link."""
        return self._link.fileno()

    @property
    def has_handshake(self) -> bool:
        """As `Link.has_handshake`: there is one."""
        return True

    # ------------------------------------------------------------------ the handshake

    def open(self) -> Wait | LinkError | None:
        """As `Link.open`: connecting, then the handshake."""
        state = self._link.open()
        if state is not None:
            return state
        if self._tls is None:
            # A server makes OpenSSL's part only for who says something: silence costs nothing.
            state = self._fill(_RECORD) if self._name is None else None
            if state is not None:
                return self._handshake_ended(state)
            try:
                self._tls = self._context.wrap_bio(
                    self._in,
                    self._out,
                    server_side=self._name is None,
                    server_hostname=self._name,
                )
            except (ValueError, OSError) as error:  # a context that has been changed since
                return self._handshake_failed(f"TLS: {error}")
        return self._shake_hands(self._tls)

    def _shake_hands(self, tls: ssl.SSLObject) -> Wait | LinkError | None:
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                state = self._flush() or self._fill(_RECORD)
                if state is not None:
                    return self._handshake_ended(state)
            except ssl.SSLError as error:
                self._flush()  # the alert that tells the peer why
                return self._handshake_failed(explain(error))
            else:
                self._dry = not self._in.pending
                state = self._flush()
                return None if state is None else self._handshake_ended(state)

    def _handshake_ended(self, state: Wait | LinkError) -> Wait | LinkError:
        if isinstance(state, Wait):
            return state
        if state is NO_TLS:
            return self._handshake_failed(state.detail)
        ended = "the peer closed the connection" if state.orderly else state.detail
        return self._handshake_failed(f"TLS: cut off in the handshake: {ended}")

    def _handshake_failed(self, detail: str) -> LinkError:
        connecting = self._name is not None
        kind = AmpeError.CONNECT_FAILED if connecting else AmpeError.COMMUNICATION_FAILED
        return LinkError(kind, detail)

    # ------------------------------------------------------------------ the TCP link

    def _fill(self, size: int) -> Wait | LinkError | None:
        """Give OpenSSL what has arrived; None if there was something."""
        data = self._link.receive(size)
        if not isinstance(data, bytes):
            return data
        if not self._begun:
            if not any(first.startswith(data[:2]) for first in _FIRST_BYTES):
                return NO_TLS
            self._begun = True
        self._in.write(data)
        return None

    def _flush(self) -> Wait | LinkError | None:
        """Send what OpenSSL has to say; None when all is out."""
        while True:
            if not self._left:
                if not self._out.pending:
                    return None
                self._left = memoryview(self._out.read())
            sent = self._link.send(self._left)
            if not isinstance(sent, int):
                return sent
            self._left = self._left[sent:]

    # ------------------------------------------------------------------ data

    @property
    def buffered(self) -> bool:
        """As `Link.buffered`: what OpenSSL has been given and not read."""
        return not self._dry or bool(self._plain)

    def receive(self, size: int) -> bytes | Wait | LinkError:
        """As `Link.receive`."""
        if self._plain:
            data, self._plain = self._plain[:size], self._plain[size:]
            return data
        for _ in range(_MOST_EMPTY):
            if self._over is not None:
                self._dry = True
                return self._over
            if self._dry:
                more = (size // _RECORD_DATA + 1) * _RECORD_MORE
                state = self._fill(max(size + more, _RECORD))
                if state is not None:
                    return _CUT if state is PEER_CLOSED else state
                self._dry = False
            data = self._read(size)
            if self._out.pending:  # an answer of OpenSSL's own
                if not self._records:
                    self._flush()  # what fails, reading knows
                if self._out.pending > _MOST_ANSWERS:
                    self._over = _FLOODED
            if data:
                return data
        return Wait.READABLE

    def _read(self, size: int) -> bytes:
        """What OpenSSL has for the application, which may be nothing."""
        tls = self._tls
        assert tls is not None
        parts: list[bytes] = []
        while True:
            try:
                data = tls.read(size)
            except ssl.SSLWantReadError:
                self._dry = True
                break
            except ssl.SSLZeroReturnError:  # where this side has said it before
                data = b""
            except ssl.SSLError as error:
                self._over = self._failed(error)
                break
            if not data:
                self._over = PEER_CLOSED
                break
            self._received = True
            parts.append(data)
            size -= len(data)
            if not self._in.pending:
                self._dry = size > 0 or not tls.pending()
                break
            if not size:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _failed(self, error: ssl.SSLError) -> LinkError:
        # In TLS 1.3 the client has shaken hands before the server has seen its certificate.
        alert = "ALERT" in (error.reason or "")
        refused = alert and self._name is not None and not self._received
        kind = AmpeError.CONNECT_FAILED if refused else AmpeError.COMMUNICATION_FAILED
        return LinkError(kind, explain(error))

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        """As `Link.send`. Taken is what is in records that are out, all of each."""
        if not self._records:
            state = self._flush()
            if state is not None:
                return _unless_gone(state)
            try:
                self._encrypt(memoryview(data)[:_MOST_AT_ONCE])
            except ssl.SSLWantReadError:  # the peer wants to shake hands once more (TLS 1.2)
                return _unless_gone(self._flush() or self._fill(_RECORD) or Wait.READABLE)
            except ssl.SSLError:
                return PEER_CLOSED  # or worse: reading knows
        state = self._flush()
        return self._taken() or _unless_gone(state or Wait.WRITABLE)

    def _encrypt(self, data: memoryview) -> None:
        """Make records of it, one after the other."""
        tls, out = self._tls, self._out
        assert tls is not None
        while data:
            before = out.pending
            taken = tls.write(data[:_RECORD_DATA])
            self._records.append((taken, out.pending - before))
            data = data[taken:]

    def _taken(self) -> int:
        """How much data has gone out since this was asked last."""
        records = self._records
        not_out = len(self._left) + self._out.pending
        encrypted = sum(size for _, size in records) if not_out else 0
        taken = 0
        while records and (not not_out or encrypted - records[0][1] >= not_out):
            data, size = records.popleft()
            encrypted -= size
            taken += data
        return taken

    # ------------------------------------------------------------------ the end

    def end(self) -> Wait | LinkError | None:
        """As `Link.end`: TLS's close_notify, then TCP's end."""
        self._say_bye()
        state = self._flush()
        return self._link.end() if state is None else _unless_gone(state)

    def _say_bye(self) -> None:
        tls = self._tls
        if self._said_bye or tls is None:
            return
        self._said_bye = True
        # `unwrap` also looks for the peer's close_notify, and takes data for a violation.
        # Where TLS has failed, OpenSSL may say that there is more, and not give it.
        with contextlib.suppress(ssl.SSLError):
            while tls.pending():
                self._plain += tls.read(_MOST_AT_ONCE)
        arrived = self._in.read()
        with contextlib.suppress(ssl.SSLError):  # the peer has not said it yet
            tls.unwrap()
        self._in.write(arrived)

    def close(self, *, reset: bool) -> None:
        """As `Link.close`; in good order with a close_notify, as far as the peer takes it."""
        if not reset and not self._records:  # cut off in what it sends, no end is in good order
            self._say_bye()
            self._flush()
        self._link.close(reset=reset)
        # Whoever has this link may be there until garbage is collected, and OpenSSL's part of it is
        # sixty kilobytes of which the collector does not know.
        self._tls = None
        self._in = self._out = ssl.MemoryBIO()
        self._left = memoryview(b"")

    # ------------------------------------------------------------------ the peer

    def peer(self) -> PeerInfo:
        """As `Link.peer`; with what TLS knows, once hands are shaken."""
        known = attrs.evolve(self._link.peer(), scheme="tls")
        tls = self._tls
        if tls is None or tls.version() is None:
            return known
        cipher = tls.cipher()
        # Empty if it was not verified.
        certificate: dict[str, Any] = dict(tls.getpeercert() or {})
        return attrs.evolve(
            known,
            tls_version=tls.version() or "",
            tls_cipher=cipher[0] if cipher else "",
            subject=_subject(certificate),
            names=_names(certificate),
        )

    def acknowledge(self) -> None:
        """As `Link.acknowledge`."""
        self._link.acknowledge()


def _unless_gone(state: Wait | LinkError) -> Wait | LinkError:
    """Where sending fails, reading knows more: the peer's alert may be there to be read."""
    return PEER_CLOSED if isinstance(state, LinkError) else state


# ---------------------------------------------------------------------- certificates


def _subject(certificate: dict[str, Any]) -> str:
    parts = [part for parts in certificate.get("subject", ()) for part in parts]
    return ", ".join(f"{kind}={value}" for kind, value in parts)


def _names(certificate: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ()))
