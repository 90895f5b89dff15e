"""Raw peers over `mem|NAME`: links within the process, with the methods of Trio's sockets.

What a `RawPeer` asks of a socket, on top of `pytofu.links.memory`. Only for tests whose two ends
are in one Trio run: what wakes a task here is not made for other threads.
"""

import errno
import os

import trio

from pytofu.links import memory
from pytofu.links.base import Link, LinkError, Wait
from pytofu.values.address import MemoryClientAddress, MemoryServerAddress
from pytofu.values.status import AmpeError


class MemorySocket:
    """One end of a connection, for tasks that wait."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False
        link.on_ready(self._wake)

    def _wake(self) -> None:
        self._waiting.unpark_all()

    async def recv(self, size: int) -> bytes:
        """Some bytes, or none at the end; a reset raises, as on a socket."""
        await trio.lowlevel.checkpoint()
        while isinstance(data := self._open_link.receive(size), Wait):
            await self._waiting.park()
        if isinstance(data, LinkError):
            if not data.orderly:
                raise _os_error(data)
            return b""
        return data

    async def send(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; waits until it is one at least."""
        await trio.lowlevel.checkpoint()
        while isinstance(taken := self._open_link.send(data), Wait):
            await self._waiting.park()
        if isinstance(taken, LinkError):
            raise _os_error(taken)
        return taken

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, which is all that `how` can ask for here."""
        del how
        self._open_link.end()

    def close(self, *, reset: bool = False) -> None:
        """Close; whoever waits here fails."""
        if not self._closed:
            self._closed = True
            self._link.close(reset=reset)
            self._waiting.unpark_all()

    @property
    def _open_link(self) -> Link:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._link


def _os_error(error: LinkError) -> OSError:
    number = errno.EPIPE if error.error is AmpeError.PEER_DISCONNECTED else errno.ECONNRESET
    return OSError(number, os.strerror(number))


class MemoryListeningSocket:
    """What listens at a name."""

    def __init__(self, address: MemoryServerAddress) -> None:
        listening = memory.begin_listen(address)
        assert isinstance(listening, list)
        (self._listening,) = listening
        self._waiting = trio.lowlevel.ParkingLot()
        self._listening.on_ready(self._wake)

    def _wake(self) -> None:
        self._waiting.unpark_all()

    async def accept(self) -> tuple[MemorySocket, None]:
        """The next connection."""
        await trio.lowlevel.checkpoint()
        while isinstance(link := self._listening.accept(), Wait):
            await self._waiting.park()
        assert isinstance(link, Link)
        return MemorySocket(link), None

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


async def connect(address: MemoryClientAddress) -> MemorySocket:
    """Connect to who listens at a name."""
    link = await memory.connect(address)
    assert isinstance(link, Link), link
    return MemorySocket(link)
