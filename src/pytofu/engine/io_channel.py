"""An IO channel: one connection to a peer (PROTOCOL 3 to 6).

One task reads. Writing needs none while the socket takes what it is given: `flush` is called by
`post`, or by the group's dispatcher for everything posted since it last ran. Only when the socket
is full does a second task wait for it, until the queue is empty. Both run in the group's nursery.
"""

import contextlib
import math
import socket
from collections.abc import Iterable
from typing import Final

import trio

from pytofu.engine import transport
from pytofu.engine.channel import Channel, Home
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.protocol.framing import RECEIVE_LEN, FrameReader
from pytofu.protocol.lifecycle import Posting, PostRule, State, post_rules, receive_rules
from pytofu.values.address import Address, TCPClientAddress, UDSClientAddress
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus

TURN_LEN: Final = 256 * 1024
"""Bytes received without waiting after which other tasks get a turn."""

BACKLOG_LIMIT: Final = 64 * 1024 * 1024
"""Bytes queued for a peer above which nothing more is taken from it. Large, because while nothing
is read a Bye or the end of the connection is not noticed either."""

_SMALL_READ: Final = 4096
"""Bytes below which the part of a frame that has come may be all that the peer's system lets out
before it is acknowledged."""

_READING_OVER: Final = frozenset({State.FINISHING, State.CLOSED})

_TIMED: Final = _READING_OVER | {State.HELLO_AWAITED, State.BYE_ANSWERED}
"""States with a deadline of their own."""

_RETURNED_AS: Final = frozenset(
    {
        AmpeStatus.COMMUNICATION_FAILED,
        AmpeStatus.CONNECT_FAILED,
        AmpeStatus.INVALID_ADDRESS,
        AmpeStatus.UDS_PATH_NOT_FOUND,
    }
)
"""Reasons with which unsent messages come back; with any other they say channel_closed."""


class IoChannel(Channel):
    """Made by a HelloRequest (`address` given, connects) or by a listener (`sock` given)."""

    __slots__ = (
        "_accepted",
        "_address",
        "_drained",
        "_held",
        "_hello_answered",
        "_orderly",
        "_reader",
        "_receive_rules",
        "_received",
        "_reset",
        "_room",
        "_sock",
        "_spell",
        "_state",
        "_timed_frame",
        "_write_failed",
    )

    def __init__(
        self,
        group: Home,
        message_id: int = 0,
        *,
        address: Address | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        super().__init__(group, message_id)
        self._accepted = sock is not None
        self._address = address
        self._sock = sock  # None until connected
        self._reader = FrameReader()
        self._held: list[Message] = []  # posted behind a Bye: they come back at the end
        self._drained: trio.Event | None = None  # while a task waits to write: set at its end
        self._write_failed = False
        self._hello_answered = False  # by the engine, because of its address
        self._reset = True  # how to close the socket, unless something orderly ends the channel
        self._orderly = trio.CancelScope()  # around the reading, which an orderly close stops
        self._room = trio.lowlevel.ParkingLot()  # where `send` waits
        self._received = 0  # messages from the peer
        self._timed_frame = -1  # the number of the message that frame_timeout runs for
        self._spell = 0  # the last spell of a dry pool that the application was told of
        self.flush_pending: bool = not self._accepted  # connecting ends with a flush
        self._enter(State.HELLO_AWAITED if self._accepted else State.HELLO_SENT)

    def _enter(self, state: State) -> None:
        self._state: State = state
        self._receive_rules = receive_rules(state, self._accepted)
        self.post_rules: tuple[PostRule, ...] = post_rules(state)

    # ------------------------------------------------------------------ posting

    def post_special(self, message: Message, rule: State | Posting) -> Result[None, AmpeError]:
        """Send it and enter a state, hold it back, close, or refuse it."""
        match rule:
            case Posting.REFUSE:
                return message.refuse(AmpeError.NOT_ALLOWED)
            case Posting.HOLD:
                self._held.append(message.clone())
            case Posting.ABORT:
                self._give_back(message, AmpeStatus.CHANNEL_CLOSED)
                self.abort()
            case Posting.DENY:
                status = AmpeStatus.INVALID_CHANNEL_NUMBER
                self._give_back(message, status, OpCode.HELLO_RESPONSE)
                self.abort(status)
            case State():
                self.writer.push(message)
                self.group.pool.posted()
                if rule is State.FINISHING:
                    self._finish_within_timeout()
                else:
                    self._enter(rule)
                    if rule is State.BYE_ANSWERED:
                        self._reset = False
                        self._end_within(self.group.options.close_timeout)
        return OK

    def _give_back(
        self, message: Message, status: AmpeStatus, opcode: OpCode | None = None
    ) -> None:
        farewell = message.clone()
        farewell.mark_from_engine(status, opcode)
        self.undelivered.append(farewell)

    async def wait_for_room(self) -> None:
        """Wait while more than the high-water mark is queued. Cancelling changes nothing."""
        while self.writer.size > self.group.options.high_water and not self._write_failed:
            await self._room.park()

    # ------------------------------------------------------------------ closing

    def abort(self, reason: AmpeStatus = AmpeStatus.CHANNEL_CLOSED) -> None:
        """Close at once, with a reset; what is posted from now on comes back."""
        self._enter(State.CLOSED)
        self._reset = True
        super().abort(reason)

    def close_orderly(self) -> None:
        """Connect if that is under way, send what is queued, then close."""
        if self._state not in _READING_OVER:
            self._finish_within_timeout()

    def _finish_within_timeout(self) -> None:
        self._enter(State.FINISHING)
        self._end_within(self.group.options.close_timeout)
        self._orderly.cancel()

    def _end_within(self, seconds: float) -> None:
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + seconds)

    def finish(self) -> None:
        """As every channel; a deadline that ended this one is the reason if there is no other."""
        if self._state is State.HELLO_AWAITED:
            self.close_because(AmpeStatus.NOT_ALLOWED)
        elif self._state not in _TIMED and self._reader.partial:
            self.close_because(AmpeStatus.RECV_FAILED)
        self._enter(State.CLOSED)
        super().finish()
        self._room.unpark_all()
        self.group.pool.pass_on()

    def close_socket(self) -> None:
        """Close the connection, if there is one."""
        if self._sock is not None:
            transport.close(self._sock, reset=self._reset)

    def unsent(self) -> Iterable[Message]:
        """What is queued, then what was posted behind a Bye.

        A HelloRequest with an address that leads nowhere comes back as its response.
        """
        status = self.reason if self.reason in _RETURNED_AS else AmpeStatus.CHANNEL_CLOSED
        assert status is not None
        messages = self.writer.unsent()
        self.group.pool.returned(len(messages))
        messages += self._held
        for message in messages:
            message.mark_from_engine(status)
        if self._hello_answered:
            messages[0].opcode = OpCode.HELLO_RESPONSE
        return messages

    # ------------------------------------------------------------------ the task

    async def live(self) -> None:
        """Connect if need be, read until something ends the channel, close in good order."""
        if self._sock is None:
            await self._connect()
        if self._sock is None:
            return
        with self._orderly:
            await self._read(self._sock)
        if self._state is State.FINISHING and not self._write_failed:
            await self._send_rest(self._sock)

    async def _connect(self) -> None:
        address = self._address
        if not isinstance(address, TCPClientAddress | UDSClientAddress):
            self.close_because(AmpeStatus.INVALID_ADDRESS)
            self._hello_answered = True
            return
        with trio.move_on_after(self.group.options.connect_timeout):
            match await transport.connect(address):
                case Ok(sock):
                    self._sock = sock
                    self.flush()
                case Err(error):
                    self.reason = error.to_status()
                    self._hello_answered = error is not AmpeError.CONNECT_FAILED or isinstance(
                        address, UDSClientAddress
                    )
            return
        self.close_because(AmpeStatus.CONNECT_FAILED)

    async def _read(self, sock: socket.socket) -> None:
        """Deliver what arrives until the connection or the lifecycle ends it."""
        if self._accepted:
            self._end_within(self.group.options.hello_timeout)
        reader = self._reader
        turn = 0
        while self._state not in _READING_OVER:
            if self._accepted and self.writer.size > BACKLOG_LIMIT:
                await self._wait_for_the_peer_to_read()
            wanted = reader.wanted
            try:
                data = sock.recv(wanted)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError as error:
                self._connection_ended(error)
                return
            if not data:
                self._connection_ended(None)
                return
            self.group.traffic.bytes_received += len(data)
            reader.feed(data)
            if not self._deliver():
                await self._deliver_as_pool_allows()
            self._time_frame()
            turn += len(data)
            if turn >= TURN_LEN:
                turn = 0
                await trio.lowlevel.checkpoint()  # a busy channel must not starve the others
            elif len(data) < wanted and self._state not in _READING_OVER:
                turn = 0
                if reader.partial and len(data) < _SMALL_READ:
                    transport.acknowledge_now(sock)
                await trio.lowlevel.wait_readable(sock)

    async def _wait_for_the_peer_to_read(self) -> None:
        """Take no more from a peer that does not take what it is sent.

        Otherwise one that asks and never reads the answers would fill the memory. Only on
        accepted channels: if both sides waited for each other to read, none ever would.
        """
        if self._state is not State.BYE_ANSWERED:
            self.scope.deadline = math.inf
            self._timed_frame = -1
        await self.wait_for_room()

    def _deliver(self) -> bool:
        """Deliver what is whole; False when the pool ran dry before everything was."""
        pool = self.group.pool
        while True:
            messages, new_state = self._reader.read(self.number, self._receive_rules, pool.free)
            if messages:
                pool.take(len(messages))
                self._received += len(messages)
                self.group.deliver_received(messages)
            if new_state is not None:
                self._advance(new_state, messages[-1])
                if new_state is State.CLOSED:
                    return True
            elif self._reader.violation is not None:
                self._reset = True
                self.close_because(self._reader.violation.to_status())
                self._enter(State.CLOSED)
                return True
            else:
                return not self._reader.has_unread()

    def _connection_ended(self, error: OSError | None) -> None:
        """The peer closed the connection, or it broke.

        Reading gives EPIPE only after the peer has closed in good order: then it is no failure.
        """
        if self._state is State.BYE_ANSWERED:
            self.close_because(AmpeStatus.SUCCESS)
        elif error is None or isinstance(error, BrokenPipeError):
            self.close_because(AmpeStatus.PEER_DISCONNECTED)
        else:
            self.close_because(AmpeStatus.COMMUNICATION_FAILED)
        self._reset = error is not None

    def _advance(self, state: State, message: Message) -> None:
        """Enter the state behind a message from the peer."""
        if self._state is State.HELLO_AWAITED:
            self.message_id: int = message.message_id
            self.scope.deadline = math.inf
        elif state is State.CLOSED:
            agreed = message.opcode is OpCode.BYE_RESPONSE
            self._reset = False
            self.reason: AmpeStatus | None = (
                AmpeStatus.SUCCESS if agreed else AmpeStatus.PEER_DISCONNECTED
            )
        self._enter(state)

    async def _deliver_as_pool_allows(self) -> None:
        """Deliver the rest as messages are put back.

        Nothing is read meanwhile, so that the transport holds the peer back.
        """
        pool = self.group.pool
        if self._state not in _READING_OVER and self._state is not State.BYE_ANSWERED:
            self.scope.deadline = math.inf  # waiting for our own application is not its fault
        done = False
        while not done:
            spell = pool.run_dry()
            if spell != self._spell:
                self._spell = spell
                self.group.deliver([self.signal(AmpeStatus.POOL_EMPTY)])
            await pool.wait_free()
            done = self._state in _READING_OVER or self._deliver()
        pool.pass_on()

    def _time_frame(self) -> None:
        """Keep frame_timeout running for a frame that has begun, from its beginning."""
        if self._state in _TIMED:
            return  # by a stricter deadline
        if not self._reader.partial:
            if self._timed_frame >= 0:
                self._timed_frame = -1
                self.scope.deadline = math.inf
        elif self._timed_frame != self._received:
            self._timed_frame = self._received
            self.scope.deadline = trio.current_time() + self.group.options.frame_timeout

    # ------------------------------------------------------------------ writing

    def flush(self) -> None:
        """Write what is queued as far as the socket takes it; a task of its own sees to the rest.

        Does nothing before the connection is made, and while that task is at work.
        """
        if self._sock is None or self._drained is not None or self._state is State.CLOSED:
            return
        self.flush_pending = False
        if not self._write(self._sock):
            self.flush_pending = True
            self._drained = trio.Event()
            self.group.nursery.start_soon(self._drain, self._sock, self._drained)

    def _write(self, sock: socket.socket) -> bool:
        """Write until the queue is empty or the connection broken; False if the socket is full."""
        writer = self.writer
        traffic = self.group.traffic
        while writer.size and not self._write_failed and self._state is not State.CLOSED:
            block = writer.block()
            try:
                written = sock.send(block)
            except BlockingIOError:
                return False
            except OSError as error:
                self._write_failed = True
                if not isinstance(error, BrokenPipeError):  # of which the reader knows more
                    self._connection_ended(error)
                # What the peer sent before is still delivered; this makes sure the reader wakes.
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                self._room.unpark_all()
                return True
            traffic.messages_sent += writer.wrote(written)
            traffic.bytes_sent += written
            if self._room and writer.size <= self.group.options.high_water // 2:
                self._room.unpark_all()
        return True

    @trio.lowlevel.enable_ki_protection
    async def _drain(self, sock: socket.socket, drained: trio.Event) -> None:
        try:
            while not self._write(sock):
                await trio.lowlevel.wait_writable(sock)
        except trio.ClosedResourceError:
            pass  # the channel has closed; what is left comes back from there
        except Exception:
            self.abort_for_defect()
        finally:
            self._drained = None
            self.flush_pending = False
            drained.set()

    async def _send_rest(self, sock: socket.socket) -> None:
        """Write everything, say that this was all, and wait for the peer to close in turn.

        Closing without waiting would reset the connection if the peer is still sending, and a
        reset can destroy what it has not read yet.
        """
        self._reset = False
        while self.writer.size and not self._write_failed:
            self.flush()
            if self._drained is not None:
                await self._drained.wait()
        if not self._write_failed:
            self.close_because(AmpeStatus.SUCCESS)  # after crossing byes: our answer is out
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not sock.recv(RECEIVE_LEN):
                        return
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(sock)
                else:
                    await trio.lowlevel.checkpoint()
