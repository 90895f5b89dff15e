"""A listener channel: accepts connections and makes IO channels of them (PROTOCOL 2, 4 and 6)."""

import logging
import math
import re
from typing import Any, Final

import trio

from pytofu.engine.accounts import UNCOUNTED
from pytofu.engine.context import Channel, GroupContext
from pytofu.engine.fair_mailbox import Inbox
from pytofu.engine.readiness import Source
from pytofu.links.base import Link, LinkError, Listening
from pytofu.links.by_scheme import begin_listen, listen
from pytofu.protocol.ending import ENDINGS, Cause, Ending, not_connected
from pytofu.protocol.signals import add_detail, channel_closed, engine_signal
from pytofu.values.address import LISTEN_ON_HEADER, Address
from pytofu.values.header import OPCODE_BITS, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus
from pytofu.values.text_headers import TextHeaders

log: Final = logging.getLogger("pytofu")

_LISTEN_ON_LINE: Final = re.compile(rb"((?:^|\r\n))" + LISTEN_ON_HEADER.encode() + rb":[^\r\n]*")

_CAPACITY_PAUSE: Final = 0.1
"""Seconds without accepting when the system has no more files or memory for connections."""

_MOST_ACCEPTS: Final = 2
"""Connections accepted in one go. Each costs as much as several messages, and who only connects and
leaves would have most of the time if there were more."""


class Listener(Channel):
    """Opened by a WelcomeRequest; the only message it takes is ByeSignal."""

    __slots__ = (
        "_address",
        "_doors",
        "_ended",
        "_inbox",
        "_message_id",
        "_opening",
        "_resume_at",
        "_warned",
        "_welcome",
    )

    def __init__(self, group: GroupContext, address: Address) -> None:
        super().__init__(group)
        self._address = address
        self._message_id = 0
        self._welcome: Message | None = None  # until it is answered
        self._opening: trio.CancelScope | None = None  # of the task that resolves the name, if any
        self._doors: list[_Door] = []
        self._resume_at = math.inf  # when to accept again, after the system had no room
        self._ended = False
        self._warned = False  # that the system has no room, since it had
        self._inbox: Inbox = []  # what of it waits in the group's mailbox

    @property
    def conversation(self) -> None:
        """There is nobody to talk to."""

    # ------------------------------------------------------------------ opening

    def open_with(self, message: Message) -> None:
        """Take the WelcomeRequest; listening begins with the next `work`."""
        self._message_id = message.message_id
        self._welcome = message.clone()

    def start(self) -> None:
        """See `Channel`."""

    @property
    def _settings(self) -> dict[str, Any]:
        options = self.group.options
        return {
            "reuse_port": options.reuse_port,
            "settings": options.tcp_settings,
            "context": options.tls_server,
        }

    def work(self) -> None:
        """Listen, if that has not begun."""
        self.has_work = False
        if self._welcome is None or self._opening is not None or self._ended:
            return
        begun = begin_listen(self._address, **self._settings)
        if begun is None:
            self._opening = scope = trio.CancelScope()
            self.group.start(lambda: self._listen_in_task(scope))
        else:
            self._opened(begun)

    async def _listen_in_task(self, scope: trio.CancelScope) -> None:
        with scope:
            try:
                self._opened(await listen(self._address, **self._settings))
            except Exception:
                self.on_defect()

    def _opened(self, begun: list[Listening] | LinkError) -> None:
        """Answer the WelcomeRequest."""
        if self._ended:  # while the task was on its way back
            for listening in begun if isinstance(begun, list) else ():
                listening.close()
            return
        welcome = self._welcome
        assert welcome is not None
        welcome._account = UNCOUNTED
        welcome.opcode = OpCode.WELCOME_RESPONSE
        if isinstance(begun, LinkError):
            log.debug("listener %d: cannot listen: %s", self.number, begun.detail)
            self._welcome = None
            welcome.mark_from_engine(begun.error.to_status())
            add_detail(welcome, begun.detail)
            self.group.deliver(self._inbox, [welcome])
            self._end(not_connected(begun.error, begun.detail, answers_hello=False))
            return
        self._doors = [_Door(self, listening) for listening in begun]
        headers = _with_address(welcome.text_headers, begun[0].address)
        answer = Message(welcome.header, headers, welcome.payload)
        answer._account = UNCOUNTED
        self._welcome = None
        self.group.deliver(self._inbox, [answer])
        for listening in begun:
            self.group.admission.listening_at(listening.address)
        for door in self._doors:
            door.open()

    # ------------------------------------------------------------------ accepting

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is accepted, ever."""
        return self._ended

    def may_accept(self) -> bool:
        """Whether there may be one channel more; if not, accepting goes on when there may."""
        if self.group.is_full:
            if self.group.limits.reached("max_channels"):
                signal = engine_signal(self.number, AmpeStatus.ALLOCATION_FAILED)
                add_detail(signal, "max_channels")
                signal._account = UNCOUNTED
                self.group.deliver(self._inbox, [signal])
            self._close_doors()
            self.group.admission.call_when_not_full(self._open_doors)
            return False
        if self.group.is_behind:
            queues = self.group.queues
            self.group.limits.reached(queues.reached if queues.too_much else "max_channels")
            self._pause()
            return False
        return True

    def accepted(self, link: Link) -> None:
        """Make a channel of it."""
        self._warned = False
        self.group.accept(link)

    def cannot_accept(self, error: LinkError) -> None:
        """Pause where the system has no room; end where the listening is broken."""
        if error.error is AmpeError.ALLOCATION_FAILED:
            if not self._warned:
                self._warned = True
                log.warning("listener %d: accepting again later: %s", self.number, error.detail)
            self._pause()
        else:
            log.error("listener %d: cannot accept: %s", self.number, error.detail)
            self._end(Ending(AmpeStatus.ACCEPT_FAILED, detail=error.detail))

    def deadline(self) -> float:
        """See `Timed`."""
        return self._resume_at

    def time_passed(self, now: float) -> None:
        """Accept again."""
        if now >= self._resume_at:
            self._resume_at = math.inf
            self._open_doors()

    def _pause(self) -> None:
        self._close_doors()
        self._resume_at = trio.current_time() + _CAPACITY_PAUSE
        self.group.deadlines.expect(self)

    def _close_doors(self) -> None:
        for door in self._doors:
            door.watch(False)

    def _open_doors(self) -> None:
        if self._ended:
            return
        try:
            for door in self._doors:
                door.watch(True)
                door.wake()
        except Exception:
            self.on_defect()

    # ------------------------------------------------------------------ the end

    def on_defect(self) -> None:
        """See `Channel`."""
        log.exception("listener %d: closed by a defect in pytofu", self.number)
        self.end(Cause.DEFECT)

    def post(self, message: Message) -> AmpeError | None:
        """ByeSignal closes the listener and comes back; anything else is not allowed."""
        if message._header.proto_byte & OPCODE_BITS != OpCode.BYE_SIGNAL:
            return AmpeError.NOT_ALLOWED
        farewell = message.clone()
        farewell._account = UNCOUNTED
        farewell.mark_from_engine(AmpeStatus.CHANNEL_CLOSED)
        self.group.deliver(self._inbox, [farewell])
        self.end(Cause.ABORTED)
        return None

    def close(self) -> None:
        """Nothing is queued here: as `end`."""
        self.end(Cause.ABORTED)

    def end(self, cause: Cause) -> None:
        """See `Channel`."""
        self._end(ENDINGS[cause])

    def _end(self, ending: Ending) -> None:
        if self._ended:
            return
        self._ended = True
        if self._opening is not None:
            self._opening.cancel()
        for door in self._doors:
            try:
                door.close()
            except Exception:
                log.exception("listener %d: a defect in pytofu while it was closed", self.number)
        last = [channel_closed(self.number, self._message_id, ending)]
        if self._welcome is not None:  # closed before it could be answered
            self._welcome.mark_from_engine(AmpeStatus.CHANNEL_CLOSED, OpCode.WELCOME_RESPONSE)
            last.insert(0, self._welcome)
        for message in last:
            message._account = UNCOUNTED
        self.group.deliver(self._inbox, last)
        self.group.remove(self)


class _Door(Source):
    """One of the addresses that a listener listens on: a name may stand for several."""

    __slots__ = ("_closed", "_gave_way", "_left_some", "_listener", "_listening", "_received")

    def __init__(self, listener: Listener, listening: Listening) -> None:
        self._listener = listener
        self._listening = listening
        self._closed = False
        self._gave_way = False
        self._left_some = False  # whether more may have waited, when it last accepted
        self._received = 0  # messages of the group, when it last looked

    def fileno(self) -> int:
        """See `Source`."""
        return self._listening.fileno()

    def open(self) -> None:
        """Accept whatever comes."""
        self._listening.on_ready(self.wake)
        self.watch(True)

    def watch(self, open_: bool) -> None:
        """Ask to be called when a connection waits, or no more."""
        self._listener.group.readiness.watch(self, read=open_, write=False)

    def wake(self) -> None:
        """A connection may wait that no descriptor tells of."""
        self._listener.group.readiness.again(self)

    def on_readable(self, now: float) -> None:
        """Accept what waits, in bounds; the rest at the next turn.

        A connection costs as much as many messages. So while messages come in, and connections
        faster than they are accepted, every other turn is without new ones, and who is there
        already gets at least as far as who comes.
        """
        if self._closed or not self._listener.may_accept():
            return
        received = self._listener.group.traffic.messages_received
        messages_came, self._received = received != self._received, received
        self._gave_way = self._left_some and messages_came and not self._gave_way
        if self._gave_way:
            if self._listening.buffered:
                self.wake()
            return
        for _ in range(_MOST_ACCEPTS):
            link = self._listening.accept()
            self._left_some = isinstance(link, Link)
            if isinstance(link, Link):
                self._listener.accepted(link)
                if self._listener.has_ended:  # by what the program's accept_filter did
                    return
                if self._listener.group.is_full or self._listener.group.is_behind:
                    break  # whether that stops anybody is seen when somebody waits
            elif isinstance(link, LinkError):
                self._listener.cannot_accept(link)
                return
            else:
                return
        if self._listening.buffered:
            self.wake()

    def on_writable(self, now: float) -> None:
        """Nothing is written here."""

    def on_defect(self) -> None:
        """See `Source`."""
        self._listener.on_defect()

    def close(self) -> None:
        """Accept nothing more."""
        self._closed = True
        try:
            self._listener.group.readiness.unwatch(self)
        finally:
            self._listening.close()


def _with_address(headers: TextHeaders, address: Address) -> bytes:
    """The headers, with the address really bound in the one that asked for it."""
    bound = Message()
    address.format(bound)
    line = bound.text_headers.to_bytes().removesuffix(b"\r\n")
    return _LISTEN_ON_LINE.sub(lambda found: found[1] + line, headers.to_bytes(), count=1)
