"""The one task that receives on a channel group, and gives each message to its channel's link."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.peers.ctrl_c import protected, run_protected
from pytofu.peers.link import Link
from pytofu.public.ampe import Ampe
from pytofu.public.channel_group import ChannelGroup
from pytofu.values.errors import ShutdownException
from pytofu.values.holder import Holder
from pytofu.values.message import Message

_ROW: Final = 64
"""Messages that are taken one after the other without a turn for other tasks."""


class Hub:
    """The links of a channel group, by channel number, and the nursery of their tasks.

    Every message received here is posted, kept by an `Answering`, or put back: always one of them.
    With `shield`, only `scope` ends it: not the cancellation of what is around it.
    """

    __slots__ = ("_nursery", "_on_other", "ampe", "chnls", "links", "scope")

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
        self._nursery.start_soon(run_protected, task, *args, name=task)

    @protected
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
        try:
            while True:
                if not self._give_row(await self.chnls.wait_receive()):
                    await trio.lowlevel.checkpoint()
        except ShutdownException:
            pass

    def _give_row(self, message: Message | None) -> bool:
        """Give what has arrived to the links, this message first; False if there may be more."""
        row = _ROW
        while message is not None and row:
            self._give(message)
            row -= 1
            message = self.chnls.receive_nowait() if row else None
        return bool(row)

    def _give(self, message: Message) -> None:
        holder = Holder(message)
        try:
            link = self.links.get(message.channel_number)
            if link is None:
                self._on_other(message)
            elif link.receive(message, holder):
                del self.links[link.outlet.number]
        finally:
            self.ampe.put(holder)


if compiled and not TYPE_CHECKING:
    Hub._give_row = twin(Hub._give_row)
