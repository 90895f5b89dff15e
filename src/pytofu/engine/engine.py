"""The engine: the pool, the channel numbers, and a nursery with a task for each group."""

import trio

from pytofu.engine.channel import Channel
from pytofu.engine.channel_numbers import ChannelNumbers
from pytofu.engine.group import Group
from pytofu.engine.options import Options
from pytofu.engine.pool import Pool
from pytofu.engine.traffic import Traffic
from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.status import AmpeError


class Engine:
    """What an `Ampe` stands for."""

    def __init__(self, options: Options) -> None:
        self.options: Options = options
        self.pool: Pool = Pool(options.initial_pool_msgs, options.max_pool_msgs)
        self.numbers: ChannelNumbers[Channel] = ChannelNumbers()
        self.groups: set[Group] = set()
        self.closing: bool = False
        self.started: trio.Event = trio.Event()
        self.closed: trio.Event = trio.Event()
        self.past_traffic: Traffic = Traffic()
        """Of the groups that have been destroyed."""
        self._stop = trio.Event()
        self._nursery: trio.Nursery | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Live until `close`, and until the last group has closed.

        Shielded: the engine ends when the block that opened it has been left, not when the
        cancellation of something around that block begins; the application can still say good-bye
        in its own cleanup.
        """
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self.started.set()
                    await self._stop.wait()
        finally:
            self.closing = True
            self.closed.set()

    def close(self, *, abort: bool) -> None:
        """Begin to close all groups; `closed` is set at the end."""
        self.closing = True
        for group in list(self.groups):
            group.close(abort=abort)
        self._stop.set()

    def create(self) -> Result[Group, AmpeError]:
        """A new group, whose task starts with the next turn of the scheduler."""
        if self.closing:
            return Err(AmpeError.SHUTDOWN_STARTED)
        assert self._nursery is not None
        group = Group(self.options, self.pool, self.numbers, self._forget)
        self.groups.add(group)
        self._nursery.start_soon(group.run)
        return Ok(group)

    def _forget(self, group: Group) -> None:
        self.groups.discard(group)
        self.past_traffic.add(group.traffic)
