"""An IO channel: one link and one conversation. It carries out; the conversation decides.

Everything here happens in one step, in whatever task calls: the reactor when the link is ready,
`post`, the group's list of work, its clock. A channel ends through `_finish`, once.
"""

import logging
import math
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.engine.accounts import UNCOUNTED, ChannelAccount
from pytofu.engine.context import GroupContext
from pytofu.engine.fair_mailbox import Inbox
from pytofu.engine.readiness import MUCH
from pytofu.engine.returning import Returning, give_back_at_once
from pytofu.engine.sending import SendingChannel
from pytofu.links.base import Link, LinkError, Wait
from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import Cause
from pytofu.protocol.framing import BURST
from pytofu.protocol.lifecycle import State
from pytofu.protocol.signals import engine_signal
from pytofu.values.address import Address
from pytofu.values.header import OPCODE_BITS
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus

log: Final = logging.getLogger("pytofu")

_SMALL_READ: Final = 4096
"""Bytes below which the part of a frame that has come may be all that the peer's system lets out
before it is acknowledged."""


class IoChannel(SendingChannel):
    """Made by a HelloRequest (`address` given, connects) or by a listener (`link` given)."""

    __slots__ = (
        "_accepted",
        "account",
        "brings_much",
        "queued",
        "_backed_up",
        "_full",
        "_backlog",
        "_inbox",
        "_said_all",
        "_short",
        "_told",
        "_writes_after_reading",
    )

    def __init__(
        self,
        group: GroupContext,
        *,
        address: Address | None = None,
        link: Link | None = None,
        host: str = "",
    ) -> None:
        account = ChannelAccount(group.budget, self._schedule)
        conversation = Conversation(
            group.options.time_limits,
            trio.current_time(),
            accepted=link is not None,
            account=account,
            max_hello_bytes=group.options.max_hello_bytes,
        )
        super().__init__(group, conversation, address, link)
        self.account: ChannelAccount = account
        self.host = host
        self._accepted = link is not None
        # So much that the answers to all that it may have sent by then still find a place.
        self._backlog = max(0, group.options.max_queued_bytes - group.budget.share_bytes)
        self.brings_much: bool = False
        self._full = False  # whether it takes nothing at the moment
        self._writes_after_reading = False  # whether, being full, it has to read first (TLS)
        self._said_all = False  # whether the peer knows that nothing more will be sent
        self._told = False  # that its share is used up, since it held nothing
        self._short = False  # whether there is no room for what it sends
        self._backed_up = False  # whether it does not take enough of what is sent to it
        self.queued: int = 0
        """Bytes that wait to be sent, as far as the engine has been told."""
        self._inbox: Inbox = []  # what of it waits in the group's mailbox

    def start(self) -> None:
        """Begin to live: the channel has its number."""
        self.account.number = self.number
        super().start()
        if self._accepted and self._open:  # the Hello is there already, most often
            self.on_readable(trio.current_time())

    # ------------------------------------------------------------------ readiness

    def _schedule(self) -> None:
        self.group.schedule(self)

    def _link_is_ready(self) -> None:
        self._watch()
        self._write()

    def _watch(self) -> None:
        """Ask for what this channel waits for."""
        full = self._full and not self._writes_after_reading
        self.group.readiness.watch(self, read=not self.conversation.paused, write=full)

    def on_readable(self, now: float, *, at_last: bool = False) -> None:
        """Read once and deliver: with the poller's next turn it is everybody's turn again.

        `at_last` if there may be no next.
        """
        conversation, link = self.conversation, self._link
        if link is None or conversation.ending is not None or conversation.paused:
            return
        if not self._open:
            self._go_on_opening()
            self._settle()
            return
        queued, finishing = conversation.writer.size, conversation.state is State.FINISHING
        if queued and self._accepted and queued > self._most_queued and not finishing:
            if conversation.may_send:
                self._backed_up = True
                self._watch()
                self._settle()
                return
            if self.group.queues.too_much:
                conversation.link_is_quiet()  # nobody takes the answers that reading on would bring
                self._settle()
                return
        budget, wanted = self.account.budget, conversation.reader.wanted
        if budget.tight or self.group.queues.too_much:
            wanted = min(wanted, _SMALL_READ)
            if budget.excess and ((self.group.make_room() and not at_last) or self._link is None):
                self._wake()  # where there is no link, it was this one that had to go
                return
        self._take_in(link.receive(wanted), now)

    def _take_in(self, data: bytes | Wait | LinkError, now: float) -> None:
        """Deliver what a read has brought, and draw the consequences."""
        conversation, link = self.conversation, self._link
        assert link is not None
        if isinstance(data, bytes):
            self.group.traffic.bytes_received += len(data)
            self.brings_much = len(data) > MUCH
            messages = conversation.receive(data, self.account.room, now)
            if messages:
                self._deliver(messages)
            if link.buffered or not conversation.may_send:
                self._wake()
            if self._writes_after_reading and conversation.ending is None:
                self._write()
            busy = conversation.reader.busy
            if busy or self.account.unfinished:
                self._note_unfinished(len(data))
            if conversation.state is State.OPEN and not busy:
                return  # as nearly always: nothing else can have changed
        elif isinstance(data, Wait):
            conversation.link_is_quiet()
            if self._writes_after_reading and conversation.ending is None:
                self._write()
        else:
            log.debug("channel %d: the connection ended: %s", self.number, data.detail)
            conversation.link_ended(data.error, data.detail)
        self._settle()

    def _note_unfinished(self, received: int) -> None:
        """What has come is not all messages yet, or what had come is so now."""
        account, reader = self.account, self.conversation.reader
        if reader.kept and received < _SMALL_READ:
            assert self._link is not None
            self._link.acknowledge()
        account.note_unfinished(reader.kept, reader.unread)
        if account.budget.excess:
            self.group.make_room()

    def on_writable(self, now: float) -> None:
        """See `Source`."""
        if self._link is None or self.conversation.ending is not None:
            return
        if self._open:
            self._write()
            self._note_queued()
        else:
            self._go_on_opening()
        self._settle()

    def on_defect(self) -> None:
        """See `Source`."""
        log.exception("channel %d: closed by a defect in pytofu", self.number)
        self.end(Cause.DEFECT)

    # ------------------------------------------------------------------ receiving

    def _deliver(self, messages: list[Message]) -> None:
        count = len(messages)
        held = self.conversation.writer.held
        if held < self.queued:  # what was kept for a Hello has been let go of
            self.group.queues.note(held - self.queued)
            self.queued = held
            if self._senders is not None:
                self._schedule()
        self.account.charge(count, self.conversation.reader.read_len)
        self.conversation.writer.burst = BURST
        self.group.traffic.messages_received += count
        self.group.deliver(self._inbox, messages)

    def _wait_for_room(self) -> None:
        """Read nothing more until there is room, so that the link holds the peer back."""
        account = self.account
        self._short = True
        if account.budget.used_up:
            spell = account.budget.run_dry()
            if spell != account.spell:
                account.spell = spell
                self._tell_pool_empty()
        else:
            self.group.ran_short(self)
        account.wait_for_room()

    @property
    def is_quiet(self) -> bool:
        """See `Channel`."""
        return not self._inbox

    def receiver_waits(self) -> None:
        """See `Channel`.

        It waits in vain if what it holds itself is this channel's whole share. Holding less, it
        may need the next message to be through with the others: then it gets that.
        """
        if self.account.room:
            self._schedule()
        elif not self._told:
            self._told = True
            self._tell_pool_empty()

    def _tell_pool_empty(self) -> None:
        signal = engine_signal(self.number, AmpeStatus.POOL_EMPTY)
        signal._account = UNCOUNTED
        self.group.deliver(self._inbox, [signal])

    def _read_on(self) -> None:
        """Go on where there was no room."""
        self._short = False
        self.account.stop_waiting()
        self.group.short_of_share.discard(self)
        if not self.account.held:
            self._told = False
        messages = self.conversation.read(self.account.room, trio.current_time())
        if messages:
            self._deliver(messages)
        reader = self.conversation.reader
        self.account.note_unfinished(reader.kept, reader.unread)
        self.account.budget.relieve()  # the next that waits, if something is left

    # ------------------------------------------------------------------ sending

    def post(self, message: Message) -> AmpeError | None:
        """See `Channel`."""
        if self._finished:
            return AmpeError.CHANNEL_CLOSED  # though its number is not free yet
        conversation = self.conversation
        rule = conversation.post_rules[message._header.proto_byte & OPCODE_BITS]
        assert rule is not None  # an ordinary message does not come here
        error = conversation.post(message, rule, trio.current_time())
        if error is None:
            self._settle()
        return error

    def work(self) -> None:
        """Connect, read on, write: whatever has become possible, or was asked for."""
        self.has_work = False
        if self.conversation.ending is not None:
            return
        if self._link is None:
            if self._opening is None:
                self._begin_connect()
        else:
            if self._short:
                self._read_on()
            if self._open and not self._full:
                self._write()
        self._note_queued()
        if not self.conversation.is_at_ease or self.alarm != math.inf:
            self._settle()  # else, as nearly always, writing has changed nothing

    @property
    def _most_queued(self) -> int:
        """Bytes queued above which an accepted channel is not read from."""
        return min(self._backlog, self.group.queues.limit_to_read)

    def _note_queued(self) -> None:
        writer = self.conversation.writer
        if self._full or not self.conversation.may_send:
            writer.compact()
        held = writer.held
        if held != self.queued:
            queues = self.group.queues
            queues.note(held - self.queued)
            self.queued = held
            if queues.excess:
                self.group.make_room()

    def _write(self) -> None:
        """Write until nothing is queued or the link takes no more."""
        conversation, link = self.conversation, self._link
        assert link is not None
        writer, traffic = conversation.writer, self.group.traffic
        taken = False
        while writer.size and conversation.may_send:
            written = link.send(writer.block())
            if isinstance(written, int):
                taken = True
                traffic.messages_sent += writer.wrote(written)
                traffic.bytes_sent += written
            elif isinstance(written, Wait):
                conversation.link_is_full(trio.current_time(), taken=taken)
                self._full = True
                self._writes_after_reading = written is Wait.READABLE
                self._watch()
                break
            else:
                log.debug("channel %d: sending failed: %s", self.number, written.detail)
                conversation.link_refuses(written.error, written.detail)
                self._backed_up = False  # for what is queued is never taken
                self._wake()  # to read what it still has to give
                break
        else:
            if self._full:
                self._full = self._writes_after_reading = False
                conversation.all_written(trio.current_time())
                self._watch()
        if self._senders is not None and writer.held <= self._high_water // 2:
            self.let_next_send()
        if self._backed_up and writer.size <= self._most_queued // 2:
            self._backed_up = False
            self._watch()
            self._wake()

    def _end_sending(self) -> None:
        """Say that nothing more will be sent.

        Closing without that, and without waiting for the peer to close in turn, would reset the
        connection if the peer is still sending, and a reset can destroy what it has not read yet.
        """
        assert self._link is not None
        result = self._link.end()
        if isinstance(result, LinkError):
            self.conversation.link_ended(result.error, result.detail)
        elif isinstance(result, Wait):  # until it has gone out, as if something were queued
            self._full = True
            self._watch()
        self._said_all = not isinstance(result, Wait)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """See `Channel`."""
        self.conversation.close(trio.current_time())
        self.group.schedule(self)
        self._settle()

    def end(self, cause: Cause) -> None:
        """See `Channel`."""
        self.conversation.end(cause)
        self._settle()

    def deadline(self) -> float:
        """See `Timed`."""
        return self.conversation.deadline()

    def time_passed(self, now: float) -> None:
        """Look at what has arrived before the time limit strikes."""
        if self._open:
            self.on_readable(now, at_last=True)
            if not self._full and self.conversation.ending is None:
                self._write()
        elif self._link is not None and self.conversation.ending is None:
            self._go_on_opening()
        self.conversation.time_passed(now)
        self._settle()

    def _settle(self) -> None:
        """Draw the consequences of what has happened to the conversation."""
        if self._finished:
            return
        conversation = self.conversation
        returned = conversation.take_returned() if conversation.ending is None else []
        for message in returned:
            message._account = UNCOUNTED
        if returned:
            self.group.deliver(self._inbox, returned)
        if conversation.ending is None and conversation.unread and not self._short:
            self._wait_for_room()
        if conversation.must_end_sending and self._open and not self._said_all:
            self._end_sending()
        if conversation.ending is not None:
            self._finish()
            return
        # Finishing, it reads whatever comes and drops it: only so it hears the peer close.
        paused = (self._short or self._backed_up) and conversation.state is not State.FINISHING
        if paused is not conversation.paused:
            if paused:
                conversation.pause()
            else:
                conversation.resume(trio.current_time())
            self._watch()
            assert self._link is not None
            if self._link.buffered:
                self._wake()
        self.group.deadlines.expect(self)

    def _finish(self) -> None:
        """Close the link, give back what was not sent, report the end. At once, and once."""
        self._finished = True
        self.group.short_of_share.discard(self)
        self.group.deadlines.withdraw(self)
        self.account.close()
        if self._opening is not None:
            self._opening.cancel()
        ending = self.conversation.ending
        assert ending is not None
        try:
            try:
                self.group.readiness.unwatch(self)
            finally:
                link, self._link = self._link, None
                if link is not None:
                    link.close(reset=ending.reset)
        except Exception:
            log.exception("channel %d: a defect in pytofu while it was closed", self.number)
        if ending.by_limit:
            self.group.limits.reached(ending.detail)
        if self._senders is not None:
            self._senders.unpark_all()
        last = self.conversation.last_messages()
        if self.conversation.writer.held:
            self.group.give_back(Returning(self, self._inbox, last, self.queued).go_on)
        else:
            give_back_at_once(self, self._inbox, last, self.queued)


if compiled and not TYPE_CHECKING:
    IoChannel.on_readable = twin(IoChannel.on_readable)
    IoChannel.work = twin(IoChannel.work)
    IoChannel._settle = twin(IoChannel._settle)
