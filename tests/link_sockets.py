"""Links of pytofu's with the methods of Trio's sockets: what a `RawPeer` asks of one."""

import errno
import os
from abc import ABC, abstractmethod

import trio

from pytofu.links.base import Link, LinkError, Wait
from pytofu.values.status import AmpeError


def os_error(error: LinkError) -> OSError:
    """What a socket would raise."""
    number = errno.EPIPE if error.error is AmpeError.PEER_DISCONNECTED else errno.ECONNRESET
    return OSError(number, error.detail or os.strerror(number))


class LinkSocket[L: Link](ABC):
    """One end of a connection, for tasks that wait."""

    def __init__(self, link: L) -> None:
        self._link = link
        self._closed = False

    @abstractmethod
    async def _until(self, wait: Wait) -> None:
        """Wait until the link may go on."""

    @abstractmethod
    def _closing(self) -> None:
        """Wake who waits: the link is being closed."""

    async def recv(self, size: int) -> bytes:
        """Some bytes, or none at an orderly end; any other raises, as on a socket."""
        await trio.lowlevel.checkpoint()
        while isinstance(data := self._open_link.receive(size), Wait):
            await self._until(data)
        if isinstance(data, LinkError):
            if not data.orderly:
                raise os_error(data)
            return b""
        return data

    async def send(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; waits until it is one at least."""
        await trio.lowlevel.checkpoint()
        while isinstance(taken := self._open_link.send(data), Wait):
            await self._until(taken)
        if isinstance(taken, LinkError):
            raise os_error(taken)
        return taken

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, which is all that `how` can ask for here."""
        del how
        self._open_link.end()

    def close(self, *, reset: bool = False) -> None:
        """Close; whoever waits here fails."""
        if not self._closed:
            self._closed = True
            self._closing()
            self._link.close(reset=reset)

    @property
    def _open_link(self) -> L:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._link
