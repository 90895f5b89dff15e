"""What links and listening over stream sockets have in common: TCP and Unix sockets."""

import errno
import os
import socket
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import trio

from pytofu._choice import compiled, twin
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Listening, Wait
from pytofu.values.status import AmpeError

BACKLOG: Final = 4096
"""Connections waiting to be accepted; the system lowers it to what it allows."""

RETRY: Final = 0.005
"""Seconds until a listener whose backlog is full is asked again; there is no event for that."""

# A program may have given SIGPIPE its deadly meaning back: a peer that closes must not kill it.
_NO_SIGNAL: Final = getattr(socket, "MSG_NOSIGNAL", 0)

# They say that there is no connection to send on, and not why: reading knows.
_GONE: Final = frozenset({errno.EPIPE, errno.ENOTCONN, errno.ESHUTDOWN})

_PASSES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of `accept` that pass when somebody closes something."""

_ONE_CONNECTION: Final = frozenset(
    {
        *(errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
"""Errors of `accept` that belong to the connection it took from the queue, not to the listener."""

_RESOLVER_ERRORS: Final[dict[int, str]] = {
    getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")
}


def failure(kind: AmpeError, error: BaseException, about: str = "") -> LinkError:
    """The error as a value: its errno's name, the system's text, and what it is about."""
    text = str(error)
    if isinstance(error, OSError) and error.errno is not None:
        names = _RESOLVER_ERRORS if isinstance(error, socket.gaierror) else errno.errorcode
        text = f"{names.get(error.errno, error.errno)}, {error.strerror}"
    return LinkError(kind, f"{text}: {about}" if about else text)


# ---------------------------------------------------------------------- forked children

_open: Final["WeakSet[SocketLink | SocketListening]"] = WeakSet()


def in_forked_children(run: Callable[[], None]) -> None:
    """Have `run` called in every child that Python forks from now on, where there are such."""
    register = getattr(os, "register_at_fork", None)
    if register is not None:
        register(after_in_child=run)


def _close_copies() -> None:
    """Close a child's copies of our sockets: they would keep connections and ports open.

    Nothing is shut down: the parent has them still. Whatever the child may do with its copies of
    our objects afterwards, as when it leaves the parent's `async with`, concerns no socket.
    """
    for owner in list(_open):
        owner.let_go()


in_forked_children(_close_copies)


def _shut_down(sock: socket.socket) -> None:
    """End the connection, or the listening, for all who have the socket, whatever forked it."""
    try:  # noqa: SIM105  (contextlib takes longer than the call)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected, or no longer
        pass


# ---------------------------------------------------------------------- links


class SocketLink(Link):
    """A link over a non-blocking stream socket, which it owns."""

    __slots__ = ("__weakref__", "_broken", "_descriptor", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock: Final = sock
        # For the compiled core, which asks the system itself: -1 once the socket is closed.
        self._descriptor = sock.fileno()
        # Why it broke. The system tells an error once, to whoever asks first; when sending was
        # first, reading sees what had arrived, and then what looks like an orderly end.
        self._broken: LinkError | None = None
        _open.add(self)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._descriptor

    def receive(self, size: int) -> bytes | Wait | LinkError:
        """As `Link.receive`."""
        try:
            data = self._sock.recv(size)
        except BlockingIOError:
            return Wait.READABLE
        except OSError as error:
            return self._cannot_receive(error)
        return data or self._end()

    def _cannot_receive(self, error: OSError) -> LinkError:
        if not isinstance(error, BrokenPipeError):  # it was reset after its orderly end
            self._broken = failure(AmpeError.COMMUNICATION_FAILED, error)
        return self._end()

    def _end(self) -> LinkError:
        return self._broken or PEER_CLOSED

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        """As `Link.send`. When it fails, what the peer sent before can still be received."""
        try:
            return self._sock.send(data, _NO_SIGNAL)
        except BlockingIOError:
            return Wait.WRITABLE
        except OSError as error:
            return self._cannot_send(error)

    @trio.lowlevel.enable_ki_protection  # for the compiled `post`, which calls it
    def _cannot_send(self, error: OSError) -> LinkError:
        if error.errno not in _GONE:
            self._broken = failure(AmpeError.COMMUNICATION_FAILED, error)
        return self._end()

    def end(self) -> Wait | LinkError | None:
        """As `Link.end`."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            return self._cannot_send(error)
        return None

    def close(self, *, reset: bool) -> None:
        """As `Link.close`; a socket that knows no reset ends as it does in good order."""
        _shut_down(self._sock)
        self.let_go()

    def let_go(self) -> None:
        """Close the socket for this process alone. What was sent is still delivered."""
        self._descriptor = -1
        self._sock.close()


if compiled and not TYPE_CHECKING:
    SocketLink.receive = twin(SocketLink.receive)
    SocketLink.send = twin(SocketLink.send)


# ---------------------------------------------------------------------- listening


class SocketListening(Listening):
    """A non-blocking socket that listens, which this owns."""

    __slots__ = ("__weakref__", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock: Final = sock
        _open.add(self)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def accept(self) -> Link | Wait | LinkError:
        """As `Listening.accept`."""
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return Wait.READABLE
            except OSError as error:
                if error.errno in _ONE_CONNECTION:
                    continue
                passes = error.errno in _PASSES
                kind = AmpeError.ALLOCATION_FAILED if passes else AmpeError.ACCEPT_FAILED
                return failure(kind, error)
            sock.setblocking(False)
            return self._link(sock)

    @abstractmethod
    def _link(self, sock: socket.socket) -> Link:
        """The link over an accepted socket."""

    def close(self) -> None:
        """As `Listening.close`."""
        _shut_down(self._sock)
        self.let_go()

    def let_go(self) -> None:
        """Close the socket for this process alone."""
        self._sock.close()
