"""Unix sockets: connecting, listening, and what is particular about their links (PROTOCOL 4, 6)."""

import os
import socket
from collections.abc import Sequence
from typing import Final

import trio

from pytofu.links.base import Link, LinkError, Listening, Wait
from pytofu.links.peer_credentials import peer_of
from pytofu.links.settings import Option, TCPSettings, set_options
from pytofu.links.socket_file import SocketFile, bind
from pytofu.links.sockets import BACKLOG, RETRY, SocketLink, SocketListening, failure
from pytofu.patterns.cleanup import ErrDefer
from pytofu.values.address import UDSClientAddress, UDSServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

# ---------------------------------------------------------------------- links


class UDSLink(SocketLink):
    """A connection over a Unix socket, made."""

    __slots__ = ()

    def open(self) -> Wait | LinkError | None:
        """As `Link.open`: it always is."""
        return None

    def peer(self) -> PeerInfo:
        """As `Link.peer`."""
        return peer_of(self._sock)


# ---------------------------------------------------------------------- connecting


def begin_connect(address: UDSClientAddress, settings: TCPSettings) -> Link | LinkError | None:
    """Connect; None while the listener has no room, of which no event tells."""
    path = address.path
    wrong = _check(path)
    if wrong is not None:
        return wrong
    try:
        with ErrDefer() as cleanup:
            sock = _socket()
            cleanup.register(sock.close)
            set_options(sock, settings.buffers)
            sock.connect(path)
    except BlockingIOError:
        return None
    except FileNotFoundError as error:
        return failure(AmpeError.UDS_PATH_NOT_FOUND, error, repr(path))
    except OSError as error:
        return _failure(AmpeError.CONNECT_FAILED, error, path)
    return UDSLink(sock)


async def connect(address: UDSClientAddress, settings: TCPSettings) -> Link | LinkError:
    """Connect, as soon as the listener has room. Cancelling leaves nothing."""
    while True:
        found = begin_connect(address, settings)
        if found is not None:
            return found
        await trio.sleep(RETRY)


def _check(path: str) -> LinkError | None:
    """What is wrong with a path before the system is asked."""
    if not hasattr(socket, "AF_UNIX"):
        return LinkError(AmpeError.INVALID_ADDRESS, "no Unix sockets on this system")
    if not path or "\0" in path:  # which some systems take for the path's end
        return LinkError(AmpeError.INVALID_ADDRESS, f"not a path: {path!r}")
    try:
        os.fsencode(path)
    except ValueError as error:
        return failure(AmpeError.INVALID_ADDRESS, error, repr(path))
    return None


def _failure(kind: AmpeError, error: OSError, path: str) -> LinkError:
    if error.errno is None:  # Python's own: the path is too long for the system
        kind = AmpeError.INVALID_ADDRESS
    return failure(kind, error, repr(path))


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


# ---------------------------------------------------------------------- listening


class UDSListening(SocketListening):
    """A listening Unix socket, and its file."""

    __slots__ = ("_address", "_file", "_options")

    def __init__(
        self,
        sock: socket.socket,
        address: UDSServerAddress,
        file: SocketFile,
        options: Sequence[Option],
    ) -> None:
        super().__init__(sock)
        self._address: Final = address
        self._file: Final = file
        self._options: Final = options

    @property
    def address(self) -> UDSServerAddress:
        """As `Listening.address`."""
        return self._address

    def _link(self, sock: socket.socket) -> Link:
        set_options(sock, self._options)  # it inherits none
        return UDSLink(sock)

    def close(self) -> None:
        """As `Listening.close`."""
        # The file first: as long as the socket is there, so is its inode, and no other file can
        # have the number; and no other server finds a dead file and replaces it meanwhile.
        if self._sock.fileno() != -1:
            self._file.remove()
        super().close()


def begin_listen(address: UDSServerAddress, settings: TCPSettings) -> list[Listening] | LinkError:
    """Listen at a path where nobody else does."""
    path = address.path
    wrong = _check(path)
    if wrong is not None:
        return wrong
    try:
        with ErrDefer() as cleanup:
            sock = _socket()
            cleanup.register(sock.close)
            set_options(sock, settings.buffers)
            file = bind(sock, path)
            cleanup.register(file.remove)
            sock.listen(BACKLOG)
    except OSError as error:
        return _failure(AmpeError.LISTEN_FAILED, error, path)
    return [UDSListening(sock, address, file, settings.buffers)]
