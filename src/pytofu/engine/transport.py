"""Sockets: connecting, listening, and the two ways of closing (PROTOCOL 2 and 6).

Everything here hands out non-blocking sockets and returns errors as values.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from typing import Final

import attrs
import trio

from pytofu.patterns.cleanup import ErrDefer
from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.address import (
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
)
from pytofu.values.status import AmpeError

BACKLOG: Final = 4096
"""Connections waiting to be accepted; the system lowers it to what it allows."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

_RETRY_BUSY_UDS: Final = 0.005  # seconds

_CONNECTED: Final = frozenset({0, errno.EISCONN})


async def connect(
    address: TCPClientAddress | UDSClientAddress,
) -> Result[socket.socket, AmpeError]:
    """Connect; INVALID_ADDRESS, UDS_PATH_NOT_FOUND or CONNECT_FAILED. Cancelling closes all."""
    if isinstance(address, TCPClientAddress):
        return await _connect_tcp(address)
    return await _connect_uds(address.path)


async def _connect_tcp(address: TCPClientAddress) -> Result[socket.socket, AmpeError]:
    if not address.host:
        return Err(AmpeError.INVALID_ADDRESS)
    try:
        family = _family_of_literal(address.host)
        if family is None:
            stream = await trio.open_tcp_stream(address.host, address.port)
            sock = socket.socket(fileno=stream.socket.detach())
        else:  # nothing to resolve or to choose from: a third of the time
            sock = await _connect_to_literal(family, address)
    except (socket.gaierror, ValueError):  # ValueError: a name that IDNA cannot encode
        return Err(AmpeError.INVALID_ADDRESS)
    except OSError:
        return Err(AmpeError.CONNECT_FAILED)
    prepare(sock)
    return Ok(sock)


def _family_of_literal(host: str) -> socket.AddressFamily | None:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family
    return None


async def _connect_to_literal(
    family: socket.AddressFamily, address: TCPClientAddress
) -> socket.socket:
    with ErrDefer() as cleanup:
        sock = socket.socket(family, socket.SOCK_STREAM)
        cleanup.register(sock.close)
        sock.setblocking(False)
        # Asking again says how it went; within one machine that is known at once.
        while (error := sock.connect_ex((address.host, address.port))) not in _CONNECTED:
            if error == errno.EALREADY:
                await trio.lowlevel.wait_writable(sock)
            elif error != errno.EINPROGRESS:
                raise OSError(error, os.strerror(error))
        return sock


async def _connect_uds(path: str) -> Result[socket.socket, AmpeError]:
    if not path:
        return Err(AmpeError.INVALID_ADDRESS)
    with ErrDefer() as cleanup:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        cleanup.register(sock.close)
        sock.setblocking(False)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # the listener's backlog is full; there is no event for that
                await trio.sleep(_RETRY_BUSY_UDS)
            except FileNotFoundError:
                sock.close()
                return Err(AmpeError.UDS_PATH_NOT_FOUND)
            except OSError:
                sock.close()
                return Err(AmpeError.CONNECT_FAILED)
            else:
                return Ok(sock)


def prepare(sock: socket.socket) -> None:
    """Make a connected socket ready for an IO channel: non-blocking, TCP_NODELAY."""
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # on some systems, when it was reset meanwhile
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledge_now(sock: socket.socket) -> None:
    """Acknowledge what has arrived without the usual delay, of some 40 ms; on Linux, over TCP.

    A peer that leaves Nagle's algorithm on and sends a message in pieces, as Zig tofu does, waits
    for that before it sends the next piece.
    """
    if sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


@attrs.frozen
class Listening:
    """A listening socket, and the address it is really bound to."""

    sock: socket.socket
    address: TCPServerAddress | UDSServerAddress
    file: tuple[int, int] | None = None
    """Device and inode of our own socket file."""

    def close(self) -> None:
        """Close the socket and remove the file, if it is still ours."""
        if self.sock.fileno() != -1:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
        if isinstance(self.address, UDSServerAddress):
            with contextlib.suppress(OSError):  # a file that cannot be removed stays
                if _file_id(self.address.path) == self.file:
                    os.unlink(self.address.path)


def _file_id(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


async def listen(
    address: TCPServerAddress | UDSServerAddress, *, reuse_port: bool
) -> Result[Listening, AmpeError]:
    """Bind and listen; INVALID_ADDRESS or LISTEN_FAILED."""
    try:
        if isinstance(address, TCPServerAddress):
            return Ok(await _listen_tcp(address, reuse_port=reuse_port))
        if not address.path:
            return Err(AmpeError.INVALID_ADDRESS)
        return Ok(_listen_uds(address.path))
    except (socket.gaierror, ValueError):
        return Err(AmpeError.INVALID_ADDRESS)
    except OSError:
        return Err(AmpeError.LISTEN_FAILED)


async def _listen_tcp(address: TCPServerAddress, *, reuse_port: bool) -> Listening:
    """The first of the addresses that the host stands for; an empty host is all interfaces."""
    found = await trio.socket.getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, proto, _, sockaddr = found[0]
    with ErrDefer() as cleanup:
        sock = socket.socket(family, kind, proto)
        cleanup.register(sock.close)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        host, port = sock.getsockname()[:2]
        return Listening(sock, TCPServerAddress(host, port))


def _listen_uds(path: str) -> Listening:
    _remove_dead_socket(path)
    with ErrDefer() as cleanup:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        cleanup.register(sock.close)
        sock.setblocking(False)
        sock.bind(path)
        cleanup.register(os.unlink, path)
        os.chmod(path, 0o600)  # in time: nobody can connect before `listen`
        sock.listen(BACKLOG)
        return Listening(sock, UDSServerAddress(path), _file_id(path))


def _remove_dead_socket(path: str) -> None:
    """Remove a socket file that nobody listens on, so that its path can be bound again."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # bind will fail, as it should
    except FileNotFoundError:
        return
    # A socket of the wrong type asks without connecting: the listener would see a connection.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # which says that somebody has it
                raise


ACCEPT_LATER: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of `accept` that pass when somebody closes something."""

_ONE_CONNECTION: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
"""Errors of `accept` that belong to the connection it took from the queue, not to the listener."""


def accept_all(sock: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait, ready for IO channels.

    Raises OSError: with an errno of ACCEPT_LATER, or when the listening socket is broken.
    """
    while True:
        try:
            connection, _ = sock.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _ONE_CONNECTION:
                continue
            raise
        prepare(connection)
        yield connection


def close(sock: socket.socket, *, reset: bool) -> None:
    """Close an IO channel's socket; `reset` tells the peer that it was no orderly end."""
    if reset and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    trio.lowlevel.notify_closing(sock)
    sock.close()
