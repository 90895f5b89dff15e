"""The engine: the budget, the channel numbers, and a nursery with a task for each group."""

import contextvars
import ssl

import attrs
import trio

from pytofu.engine.accounts import Budget
from pytofu.engine.admission import Admission
from pytofu.engine.channel_numbers import ChannelNumbers
from pytofu.engine.context import Channel
from pytofu.engine.eviction import Eviction
from pytofu.engine.group import Group
from pytofu.engine.limits import Limits
from pytofu.engine.observer import Traffic
from pytofu.engine.options import Options
from pytofu.engine.queues import SendQueues
from pytofu.engine.turns import EndOfTurn, end_of_turn
from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.status import AmpeError


class Engine:
    """What an `Ampe` stands for."""

    __slots__ = (
        "_eviction",
        "_nursery",
        "_stop",
        "_turn",
        "admission",
        "budget",
        "closed",
        "closing",
        "groups",
        "limits",
        "numbers",
        "options",
        "past_traffic",
        "queues",
        "started",
    )

    def __init__(self, options: Options) -> None:
        self.options: Options = options
        self.budget: Budget = Budget(
            options.initial_pool_msgs,
            options.max_pool_msgs,
            options.max_received_bytes,
            options.channel_share,
        )
        self.queues: SendQueues = SendQueues(
            options.max_queued_bytes, options.max_total_queued_bytes
        )
        self.limits: Limits = Limits()
        self.admission: Admission = Admission(options, self.limits)
        self.numbers: ChannelNumbers[Channel] = ChannelNumbers()
        self.groups: set[Group] = set()
        self.closing: bool = False
        self.started: trio.Event = trio.Event()
        self.closed: trio.Event = trio.Event()
        self.past_traffic: Traffic = Traffic()
        """Of the groups that have been destroyed."""
        self._stop = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._turn: EndOfTurn | None = None
        self._eviction: Eviction | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Live until `close`, and until the last group has closed.

        Shielded: the engine ends when the block that opened it has been left, not when the
        cancellation of something around that block begins; the application can still say good-bye
        in its own cleanup.
        """
        self.budget.watch_for_forgotten(trio.lowlevel.current_trio_token())
        try:
            with end_of_turn() as self._turn, trio.CancelScope(shield=True):
                self._eviction = Eviction(self.budget, self.queues, self._turn)
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self.started.set()
                    await self._stop.wait()
        finally:
            self.closing = True
            self.budget.stop_watching()
            self.closed.set()

    def close(self, *, abort: bool) -> None:
        """Begin to close all groups; `closed` is set at the end."""
        self.closing = True
        for group in list(self.groups):
            group.close(abort=abort)
        self._stop.set()

    def create(
        self,
        tls_client: ssl.SSLContext | None = None,
        tls_server: ssl.SSLContext | None = None,
    ) -> Result[Group, AmpeError]:
        """A new group, whose task starts with the next turn of the scheduler.

        With contexts of its own, or else those of the engine's options.
        """
        if self.closing:
            return Err(AmpeError.SHUTDOWN_STARTED)
        assert self._nursery is not None
        assert self._turn is not None
        assert self._eviction is not None
        options = self.options
        if tls_client is not None or tls_server is not None:
            options = attrs.evolve(
                options,
                tls_client=tls_client or options.tls_client,
                tls_server=tls_server or options.tls_server,
            )
        group = Group(
            options,
            self.budget,
            self.queues,
            self.limits,
            self.admission,
            self.numbers,
            self._turn,
            self._eviction,
            self._forget,
        )
        self.groups.add(group)
        # In an empty context: it keeps nothing of its creator's alive.
        contextvars.Context().run(self._nursery.start_soon, group.run)
        return Ok(group)

    def _forget(self, group: Group) -> None:
        self.groups.discard(group)
        self.past_traffic.add(group.traffic)
