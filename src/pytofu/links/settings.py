"""Socket options: a peer that vanishes is noticed, nothing is delayed, buffers have their sizes."""

import socket
from collections.abc import Sequence
from functools import cached_property
from typing import Final

import attrs

type Option = tuple[int, int, int]
"""A socket option: level, name, value."""

_MAX_INT: Final = 2**31 - 1


@attrs.frozen
class TCPSettings:
    """What the system is told about every TCP socket; the buffers also of Unix sockets.

    What a platform lacks is left out there. Source: PROTOCOL 4 (a peer that vanishes).
    """

    keepalive: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    """Seconds of silence after which the peer's system is asked whether it is still there; 0:
    never. The system counts whole seconds, at least one, at most some nine hours."""
    keepalive_interval: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    """Seconds between two such questions."""
    keepalive_count: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    """How many of them without an answer end the connection."""
    user_timeout: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    """Seconds that connecting may take, that sent bytes may stay unacknowledged, and, on Linux,
    that a peer's receive buffer may stay full; 0: as long as the system thinks right."""
    send_buffer: int | None = None
    """Bytes of the system's send buffer; None: the system's own choice, which grows as needed."""
    receive_buffer: int | None = None
    """Bytes of the system's receive buffer; as `send_buffer`."""

    @cached_property
    def buffers(self) -> list[Option]:
        """The socket options for the buffers, which Unix sockets need too."""
        sizes = ((socket.SO_SNDBUF, self.send_buffer), (socket.SO_RCVBUF, self.receive_buffer))
        return [
            (socket.SOL_SOCKET, name, _whole(size, _MAX_INT))
            for name, size in sizes
            if size is not None
        ]

    @cached_property
    def options(self) -> list[Option]:
        """All socket options, to be set before connecting or listening."""
        options = [("TCP_NODELAY", 1)]
        if self.keepalive:
            options += [
                ("TCP_KEEPIDLE", _whole(self.keepalive, 32767)),
                ("TCP_KEEPALIVE", _whole(self.keepalive, 32767)),  # how macOS calls it
                ("TCP_KEEPINTVL", _whole(self.keepalive_interval, 32767)),
                ("TCP_KEEPCNT", _whole(self.keepalive_count, 127)),
            ]
        if self.user_timeout:
            options.append(("TCP_USER_TIMEOUT", _whole(self.user_timeout * 1000, _MAX_INT)))
        known = [(getattr(socket, name, None), value) for name, value in options]
        found = [(socket.IPPROTO_TCP, name, value) for name, value in known if name is not None]
        if self.keepalive:
            found.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        return [*self.buffers, *found]


def _whole(value: float, most: int) -> int:
    return max(1, round(min(value, most)))


def set_options(sock: socket.socket, options: Sequence[Option]) -> None:
    """Set them as far as the system lets; some refuse it on a connection that was just reset."""
    for level, option, value in options:
        try:  # noqa: SIM105  (contextlib takes longer than the call)
            sock.setsockopt(level, option, value)
        except OSError:
            pass
