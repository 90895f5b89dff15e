"""Raw peers over `mem|NAME`: links within the process, with the methods of Trio's sockets.

What a `RawPeer` asks of a socket, on top of `pytofu.links.memory`. Only for tests whose two ends
are in one Trio run: what wakes a task here is not made for other threads.
"""

import trio

from pytofu.links import memory
from pytofu.links.base import Link, Wait
from pytofu.values.address import MemoryClientAddress, MemoryServerAddress
from tests.link_sockets import LinkSocket


class MemorySocket(LinkSocket[Link]):
    """One end of a connection within the process."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._waiting = trio.lowlevel.ParkingLot()
        link.on_ready(self._closing)

    async def _until(self, wait: Wait) -> None:
        await self._waiting.park()

    def _closing(self) -> None:
        self._waiting.unpark_all()


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
