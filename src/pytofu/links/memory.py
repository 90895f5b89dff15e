"""Links within one process, between Trio runs in whatever threads: `mem|NAME`.

They behave as connected Unix sockets do, with a bounded buffer each way, but have no descriptor:
whoever changes something calls the `wake` of the other side. One lock guards the names, the
backlogs and all bytes; no `wake` is called under it.
"""

import errno
import os
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Final

import trio

from pytofu.links.base import PEER_CLOSED, Link, LinkError, Listening, Wait
from pytofu.links.sockets import BACKLOG, RETRY, failure, in_forked_children
from pytofu.values.address import MemoryClientAddress, MemoryServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

CAPACITY: Final = 65536
"""Bytes that may be on the way, each way."""

_lock = Lock()
_listeners: Final[dict[str, "MemoryListening"]] = {}


def _forget_the_parent() -> None:
    """In a forked child nobody listens, and no thread is left that could hold the lock."""
    global _lock
    _lock = Lock()
    _listeners.clear()


in_forked_children(_forget_the_parent)


def _nobody() -> None:
    """The `wake` of who has not asked for any."""


def _error(kind: AmpeError, number: int, about: str = "") -> LinkError:
    return failure(kind, OSError(number, os.strerror(number)), about)


_RESET: Final = _error(AmpeError.COMMUNICATION_FAILED, errno.ECONNRESET)


# ---------------------------------------------------------------------- links


class MemoryLink(Link):
    """One end of a connection within the process. Its other end may belong to another thread."""

    __slots__ = ("_arrived", "_arrived_end", "_may_send", "_other", "_wake")

    def __init__(self) -> None:
        self._other: MemoryLink = self  # until `pair`
        self._arrived: Final = bytearray()
        self._arrived_end: LinkError | None = None  # behind the bytes
        self._may_send = True
        self._wake: Callable[[], None] = _nobody

    @staticmethod
    def pair() -> tuple["MemoryLink", "MemoryLink"]:
        """Both ends of a new connection."""
        one, other = MemoryLink(), MemoryLink()
        one._other, other._other = other, one
        return one, other

    def fileno(self) -> int:
        """There is none: -1."""
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        """As `Link.on_ready`."""
        with _lock:
            self._wake = wake
        if self.buffered:
            wake()

    def open(self) -> Wait | LinkError | None:
        """As `Link.open`: it always is."""
        return None

    @property
    def buffered(self) -> bool:
        """Whether bytes or an end wait to be received."""
        return bool(self._arrived) or self._arrived_end is not None

    def receive(self, size: int) -> bytes | Wait | LinkError:
        """As `Link.receive`."""
        with _lock:
            arrived = self._arrived
            if not arrived:
                return self._arrived_end or Wait.READABLE
            was_full = len(arrived) == CAPACITY
            data = bytes(arrived[:size])
            del arrived[:size]
            wake = self._other._wake
        if was_full:
            wake()
        return data

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        """As `Link.send`; after the other end's close, whatever it was, as after an orderly one."""
        with _lock:
            if not self._may_send:
                return PEER_CLOSED
            other = self._other
            arrived = other._arrived
            before = len(arrived)
            arrived += data[: CAPACITY - before]
            taken = len(arrived) - before
            wake = other._wake
        if not before:
            wake()
        return taken or Wait.WRITABLE

    def end(self) -> Wait | LinkError | None:
        """As `Link.end`."""
        with _lock:
            self._may_send = False
            other = self._other
            other._arrived_end = other._arrived_end or PEER_CLOSED
            wake = other._wake
        wake()
        return None

    def close(self, *, reset: bool) -> None:
        """As `Link.close`; a reset also if something has arrived that was never received."""
        with _lock:
            other, self._other = self._other, _NOWHERE
            if reset or self._arrived:
                other._arrived_end = _RESET
            else:
                other._arrived_end = other._arrived_end or PEER_CLOSED
            self._arrived.clear()
            self._may_send = other._may_send = False
            self._wake = _nobody
            wake = other._wake
        wake()

    def peer(self) -> PeerInfo:
        """As `Link.peer`: this process."""
        return PeerInfo(pid=os.getpid(), scheme="mem")


_NOWHERE: Final = MemoryLink()
"""The other end of what is closed."""


# ---------------------------------------------------------------------- connecting


def begin_connect(address: MemoryClientAddress) -> Link | LinkError | None:
    """Connect; None while the listener has no room, of which nothing tells."""
    if not address.name:
        return LinkError(AmpeError.INVALID_ADDRESS, "no name to connect to")
    with _lock:
        listening = _listeners.get(address.name)
        if listening is None:
            return _error(AmpeError.CONNECT_FAILED, errno.ECONNREFUSED, repr(address.name))
        if len(listening.backlog) == BACKLOG:
            return None
        link, accepted = MemoryLink.pair()
        listening.backlog.append(accepted)
        wake = listening.wake
    wake()
    return link


async def connect(address: MemoryClientAddress) -> Link | LinkError:
    """Connect, as soon as the listener has room. Cancelling leaves nothing."""
    while True:
        found = begin_connect(address)
        if found is not None:
            return found
        await trio.sleep(RETRY)


# ---------------------------------------------------------------------- listening


class MemoryListening(Listening):
    """A name of the process that can be connected to."""

    __slots__ = ("_address", "backlog", "wake")

    def __init__(self, address: MemoryServerAddress) -> None:
        self._address: Final = address
        self.backlog: Final[deque[MemoryLink]] = deque()
        self.wake: Callable[[], None] = _nobody

    @property
    def address(self) -> MemoryServerAddress:
        """As `Listening.address`."""
        return self._address

    def fileno(self) -> int:
        """There is none: -1."""
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        """As `Listening.on_ready`."""
        with _lock:
            self.wake = wake
        if self.backlog:
            wake()

    @property
    def buffered(self) -> bool:
        """As `Listening.buffered`."""
        return bool(self.backlog)

    def accept(self) -> Link | Wait | LinkError:
        """As `Listening.accept`."""
        with _lock:
            return self.backlog.popleft() if self.backlog else Wait.READABLE

    def close(self) -> None:
        """As `Listening.close`; what was not accepted is reset."""
        with _lock:
            if _listeners.get(self._address.name) is self:
                del _listeners[self._address.name]
            waiting = list(self.backlog)
            self.backlog.clear()
        for link in waiting:
            link.close(reset=True)


def begin_listen(address: MemoryServerAddress) -> list[Listening] | LinkError:
    """Listen at a name that nobody has."""
    if not address.name:
        return LinkError(AmpeError.INVALID_ADDRESS, "no name to listen at")
    with _lock:
        if address.name in _listeners:
            return _error(AmpeError.LISTEN_FAILED, errno.EADDRINUSE, repr(address.name))
        listening = _listeners[address.name] = MemoryListening(address)
    return [listening]
