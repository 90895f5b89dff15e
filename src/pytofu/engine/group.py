"""A channel group's life: its task, its channels, its mailbox."""

import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.engine import reactor
from pytofu.engine.accounts import UNCOUNTED, Budget
from pytofu.engine.admission import Admission
from pytofu.engine.channel_numbers import ChannelNumbers
from pytofu.engine.context import Channel, GroupContext
from pytofu.engine.deadlines import Deadlines
from pytofu.engine.eviction import Eviction
from pytofu.engine.fair_mailbox import FairMailBox, Inbox
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.limits import Limits
from pytofu.engine.mailbox import MailBoxStatus
from pytofu.engine.observer import Traffic
from pytofu.engine.options import Options
from pytofu.engine.passes import Pass
from pytofu.engine.posting import Poster
from pytofu.engine.queues import SendQueues
from pytofu.engine.readiness import Readiness
from pytofu.engine.short_of_share import ShortOfShare
from pytofu.engine.tasks import TaskReactor
from pytofu.engine.turns import EndOfTurn
from pytofu.links.base import Link
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.protocol.ending import Cause
from pytofu.protocol.signals import engine_signal
from pytofu.values.message import Message
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError, AmpeStatus

log: Final = logging.getLogger("pytofu")

_MOST_GIVEN_BACK: Final = 256
"""Messages that come back from closed channels at a time: as bytes they take up far less."""

_TAKEN_WITHOUT_A_LOOK: Final = 16
"""Messages taken from the mailbox after which the sockets are looked at, so that what a quiet
channel sends need not wait until the mailbox is empty."""


_not_interrupted: Final = trio.lowlevel.enable_ki_protection
"""For what the compiled `post` calls: Trio knows that by its frame, and a compiled one has none."""


class Group(GroupContext):
    """What a `ChannelGroup` stands for."""

    # For the compiled core, which reads these where they lie; all else is in __dict__.
    __slots__ = ("_receiver_leads", "_turn", "_with_work", "mailbox", "queues", "traffic")

    def __init__(
        self,
        options: Options,
        budget: Budget,
        queues: SendQueues,
        limits: Limits,
        admission: Admission,
        numbers: ChannelNumbers[Channel],
        turn: EndOfTurn,
        eviction: Eviction,
        on_closed: Callable[["Group"], None],
    ) -> None:
        self.options: Options = options
        self.budget: Budget = budget
        self.queues: SendQueues = queues
        self.limits: Limits = limits
        self.admission: Admission = admission
        self.traffic: Traffic = Traffic()
        self.deadlines: Deadlines = Deadlines(self._sleep_less)
        self.mailbox: FairMailBox = FairMailBox()
        self.mailbox.look_at = _TAKEN_WITHOUT_A_LOOK
        self.channels: dict[Channel, None] = {}
        self.short_of_share: ShortOfShare[Channel] = ShortOfShare(budget)
        self.closing: bool = False
        self.closed: trio.Event = trio.Event()
        self.poster: Poster = Poster(self, numbers, self.mailbox)
        self._numbers = numbers
        self._turn = turn
        self._eviction = eviction
        self._on_closed = on_closed
        self._nursery: trio.Nursery | None = None
        self._starting: list[Callable[[], Awaitable[None]]] = []  # until the nursery is there
        self._with_work: deque[Channel] = deque()
        self._returning: deque[Callable[[], int]] = deque()  # of closed channels: give back more
        self._receiver_leads = False
        self._sleeper: trio.lowlevel.Task | None = None  # the group's task, until it is to lead
        self._nap = trio.CancelScope()  # around its sleep and its lead, until the next deadline
        self.readiness: Readiness = self._make_reactor()

    def _make_reactor(self) -> Readiness:
        kind = reactor.best()
        if kind is None:
            return TaskReactor(self.start)
        return kind(self, self._turn, self.options.busy_poll)

    # ------------------------------------------------------------------ the task

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Live until `close`, and until the last channel has closed."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for task in self._starting:
                    self.start(task)
                self._starting.clear()
                await self._keep_going()
                nursery.cancel_scope.cancel()
        finally:
            self.close(abort=True)
            self.readiness.close()
            self._on_closed(self)
            self.closed.set()

    async def _keep_going(self) -> None:
        """Be the clock, and lead when nobody else does."""
        while self.channels or not self.closing:
            with trio.CancelScope(deadline=self.deadlines.earliest) as self._nap:
                await self._sleep()
                if self.readiness.can_lead:
                    await self.readiness.lead()
                    self.readiness.serve()
            self.deadlines.strike(trio.current_time())
            self.work()
            self.mailbox.ring()  # whoever follows may have a message now, or may lead

    async def _sleep(self) -> None:
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def take_lead(self) -> None:
        """Wake the group's task, if it sleeps."""
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(sleeper)

    def _sleep_less(self) -> None:
        if self.deadlines.earliest < self._nap.deadline:
            self._nap.deadline = self.deadlines.earliest

    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """See `GroupContext`. The task's context is empty: it keeps nothing of its caller alive."""
        if self._nursery is None:
            self._starting.append(task)
        elif self.channels or not self.closing:  # else the nursery is going, or gone
            contextvars.Context().run(self._nursery.start_soon, task)

    # ------------------------------------------------------------------ for the channels

    @_not_interrupted
    def schedule(self, channel: Channel) -> None:
        """See `GroupContext`."""
        channel.has_work = True
        if not channel.is_listed:
            channel.is_listed = True
            if not self._with_work:
                self._turn.with_work[self] = None
            self._with_work.append(channel)

    def work(self) -> None:
        """Let the channels do what they have to do, as many as one pass has time for."""
        channels = self._with_work
        if not channels:
            return
        this = Pass()
        while channels:
            channel = channels.popleft()
            channel.is_listed = False
            if channel.has_work:  # it may have been served meanwhile
                self.work_on(channel)
                if this.is_over:
                    break
        if channels:
            self._work_later()

    def _work_later(self) -> None:
        self._turn.with_work[self] = None
        if self._receiver_leads:
            self.readiness.ring()

    def _work_on_quiet(self) -> None:
        """Send what was posted on channels that bring nothing more: who asked waits for it.

        What is posted on the others, while they keep the application busy, goes out together.
        """
        channels, this = self._with_work, Pass()
        for _ in range(len(channels)):
            channel = channels.popleft()
            if not channel.is_quiet:
                channels.append(channel)
                continue
            channel.is_listed = False
            if channel.has_work:
                self.work_on(channel)
                if this.is_over:
                    return

    @_not_interrupted
    def work_on(self, channel: Channel) -> None:
        """See `GroupContext`."""
        try:
            channel.work()
        except Exception:
            channel.on_defect()

    def accept(self, link: Link) -> None:
        """See `GroupContext`."""
        try:
            host = self.admission.admit(link)
        except Exception:
            log.exception("a connection is refused because of a defect in pytofu")
            host = None
        if host is None:
            link.close(reset=True)
            return
        channel = IoChannel(self, link=link, host=host)
        try:
            if self.poster.register(channel) is not OK:
                log.warning("no channel number is free: a connection is refused")
                self.admission.closed(host)
                link.close(reset=True)
        except Exception:
            channel.on_defect()

    @property
    def is_full(self) -> bool:
        """See `GroupContext`."""
        return self.admission.is_full(len(self._numbers.open))

    @property
    def is_behind(self) -> bool:
        """See `GroupContext`. Channels that have closed have their last event in the mailbox."""
        return self.queues.too_much or len(self.mailbox.turns) >= 2 * self.options.max_channels

    def make_room(self) -> bool:
        """See `GroupContext`: it may be channels of other groups of the engine."""
        return self._eviction.make_room(self._numbers.open.values())

    def give_back(self, go_on: Callable[[], int]) -> None:
        """See `GroupContext`."""
        if (self._returning and not self.closing) or go_on():
            self._returning.append(go_on)

    def _go_on_returning(self) -> None:
        unfinished: list[Callable[[], int]] = []
        waiting = 0
        while self._returning and waiting < _MOST_GIVEN_BACK:
            go_on = self._returning.popleft()
            left = go_on()
            if left:
                waiting += left
                unfinished.append(go_on)
        self._returning.extendleft(reversed(unfinished))

    def deliver(self, inbox: Inbox, messages: list[Message]) -> None:
        """See `GroupContext`."""
        if self.mailbox.send_to(inbox, messages) is not OK:
            for message in messages:
                message.release()
        elif self._receiver_leads:
            self.readiness.ring()

    def ran_short(self, channel: Channel) -> None:
        """See `GroupContext`."""
        self.short_of_share.ran_short(channel)
        if self._receiver_leads:
            self.readiness.ring()
        else:
            self.mailbox.ring()

    def remove(self, channel: Channel) -> None:
        """See `GroupContext`."""
        self.deadlines.withdraw(channel)
        self._numbers.release(channel.number)
        self.channels.pop(channel, None)
        self.admission.closed(channel.host)
        if self.closing and not self.channels:
            self._nap.cancel()

    # ------------------------------------------------------------------ receiving

    def take(self) -> Message | None:
        """The next message if one has arrived; so quick that it needs no `Result`."""
        mailbox = self.mailbox
        if mailbox.taken >= mailbox.look_at:
            # Not `work`: what is posted meanwhile had better go out together.
            if self._with_work and mailbox.turns:
                self._work_on_quiet()
            if self._returning:
                self._go_on_returning()
            self._serve()
        return mailbox.take()

    def _serve(self) -> None:
        self.mailbox.look_at = self.mailbox.taken + _TAKEN_WITHOUT_A_LOOK
        self.readiness.serve()

    def look(self) -> Message | None:
        """Do what there is to do, and take what has arrived, without waiting for anything.

        Not when the group is closing.
        """
        self.work()
        if self._returning:
            self._go_on_returning()
        self._serve()
        return self.mailbox.take()

    async def receive(
        self,
        timeout: float,  # noqa: ASYNC109  # running out of time is a value here
    ) -> Result[Message, MailBoxStatus]:
        """The next message, waiting for it `timeout` seconds at most (0 polls).

        `Err` with TIMEOUT, or with CLOSED once the group is being destroyed. Cancelling loses no
        message. A checkpoint, always.
        """
        if timeout <= 0:
            await trio.lowlevel.checkpoint()
            if self.closing:
                return Err(MailBoxStatus.CLOSED)
            message = self.take() if self.mailbox else self.look()
            return Err(MailBoxStatus.TIMEOUT) if message is None else Ok(message)
        with trio.move_on_after(timeout):
            message = await self.receive_some_time()
            return Err(MailBoxStatus.CLOSED) if message is None else Ok(message)
        return Err(MailBoxStatus.TIMEOUT)

    async def receive_some_time(self) -> Message | None:
        """`receive` without a limit of time: lead, or follow, until there is a message.

        None once the group is being destroyed: so quick that it needs no `Result`.
        """
        mailbox, readiness = self.mailbox, self.readiness
        waited = False
        while True:
            self.work()
            if self._returning:
                self._go_on_returning()
            if mailbox.turns and not waited:
                await trio.lowlevel.checkpoint()
                waited = True
            message = self.take()
            if message is not None:
                if mailbox.turns:
                    mailbox.ring()  # for the next: one ring may stand for several messages
                return message
            if mailbox.closed:
                if not waited:
                    await trio.lowlevel.checkpoint()
                return None
            waited = True
            if self.short_of_share:
                self.budget.collect()
                self.work()
                if not mailbox:
                    self.short_of_share.receiver_waits()
                    self.work()
                if mailbox:
                    continue
            if readiness.can_lead:
                self._receiver_leads = True
                try:
                    await readiness.lead()
                finally:
                    self._receiver_leads = False
                    mailbox.ring()  # one that follows may take the lead
                if not mailbox.closed:
                    self._serve()
            else:
                await mailbox.wait_for_bell()

    def peer(self, number: int) -> Result[PeerInfo, AmpeError]:
        """Who is at the other end of a channel.

        Errors: INVALID_CHANNEL_NUMBER, CHANNEL_CLOSED; INVALID_MESSAGE_CHANNEL_GROUP for another
        group's; NOT_ALLOWED for a listener.
        """
        channel = self._numbers.open.get(number)
        if channel is None:
            return Err(self._numbers.why_unknown(number))
        if channel.group is not self:
            return Err(AmpeError.INVALID_MESSAGE_CHANNEL_GROUP)
        if not isinstance(channel, IoChannel):
            return Err(AmpeError.NOT_ALLOWED)
        if channel.conversation.ending is not None:  # its number is only waiting for its last event
            return Err(AmpeError.CHANNEL_CLOSED)
        return Ok(channel.peer())

    def make_update(self, message: Message | None) -> Message:
        """The application's own message, for its new owner, or a signal (PROTOCOL 4).

        May be called from any thread.
        """
        if message is None:
            update = engine_signal(0, AmpeStatus.RECEIVER_UPDATE)
            update._account = UNCOUNTED
        else:
            update = message.hand_over()
            update.mark_from_application(AmpeStatus.RECEIVER_UPDATE)
        return update

    def update_receiver(self, update: Message) -> None:
        """Put it into the mailbox; give it back if the group is being destroyed."""
        if self.mailbox.send(update) is not OK:
            update.release()
        elif self._receiver_leads:
            self.readiness.ring()

    # ------------------------------------------------------------------ closing

    def close(self, *, abort: bool) -> None:
        """Begin to close; `closed` is set at the end. What was received is given back."""
        if not self.closing:
            self.closing = True
            for message in self.mailbox.close():
                message.release()
            if self._receiver_leads:
                self.readiness.ring()
        self._go_on_returning()
        for channel in list(self.channels):
            try:
                if abort:
                    channel.end(Cause.ABORTED)
                else:
                    channel.close()
            except Exception:
                channel.on_defect()
        if not self.channels:
            self._nap.cancel()


if compiled and not TYPE_CHECKING:
    Group.work = twin(Group.work)
    Group._work_on_quiet = twin(Group._work_on_quiet)
