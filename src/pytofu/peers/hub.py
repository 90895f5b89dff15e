"""The one task that receives on a channel group, and gives each message to its channel's link."""

from collections.abc import Awaitable, Callable

import trio

from pytofu.peers.link import Link
from pytofu.public.ampe import Ampe
from pytofu.public.channel_group import ChannelGroup
from pytofu.values.errors import ShutdownException
from pytofu.values.holder import Holder
from pytofu.values.message import Message


class Hub:
    """The links of a channel group, by channel number, and the nursery of their tasks.

    Every message received here is posted, kept by an `Answering`, or put back: always one of them.
    With `shield`, only `scope` ends it: not the cancellation of what is around it.
    """

    def __init__(
        self,
        ampe: Ampe,
        chnls: ChannelGroup,
        on_other: Callable[[Message], None] = lambda message: None,
        *,
        shield: bool = False,
    ) -> None:
        self.ampe: Ampe = ampe
        self.chnls: ChannelGroup = chnls
        self.links: dict[int, Link] = {}
        self.scope: trio.CancelScope = trio.CancelScope(shield=shield)
        self._on_other = on_other
        self._nursery: trio.Nursery | None = None

    def spawn[*Ts](self, task: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Start a task, which `run` takes along; to be called by what it receives for."""
        assert self._nursery is not None
        self._nursery.start_soon(task, *args)

    async def run(self) -> None:
        """Receive until the group is destroyed, or `scope` cancelled."""
        try:
            with self.scope:
                async with trio.open_nursery() as self._nursery:
                    await self._receive()
                    self._nursery.cancel_scope.cancel()
        finally:
            for link in list(self.links.values()):
                link.shut_down()

    async def _receive(self) -> None:
        wait_receive, links, put = self.chnls.wait_receive, self.links, self.ampe.put
        try:
            while True:
                message = await wait_receive()
                holder = Holder(message)
                try:
                    link = links.get(message.channel_number)
                    if link is None:
                        self._on_other(message)
                    else:
                        link.receive(message, holder)
                        if link.closed.is_set():
                            del links[link.outlet.number]
                finally:
                    put(holder)
        except ShutdownException:
            pass
