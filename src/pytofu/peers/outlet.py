"""One channel's way out: text headers and bodies in, messages of this channel posted."""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pytofu._choice import compiled, twin
from pytofu.peers.errors import NotSent, RemoteError, error_lines
from pytofu.peers.flow import frame_cost
from pytofu.peers.wire import PART_LEN, REFUSED, encoded
from pytofu.public.ampe import Ampe
from pytofu.public.channel_group import ChannelGroup
from pytofu.values.errors import (
    AllocationFailedException,
    AmpeException,
    ChannelClosedException,
    InvalidChannelNumberException,
    ShutdownException,
)
from pytofu.values.header import MORE_BIT, BinaryHeader, OpCode
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

_REFUSED_LINE: Final = encoded((REFUSED, "1"))

_GONE: Final = (ChannelClosedException, InvalidChannelNumberException, ShutdownException)
"""What posting raises once the channel, or its engine, has closed."""


class Outlet:
    """Makes and posts the messages of one channel. A message that is not posted goes back.

    `lines` are text headers as `encoded` makes them.
    """

    __slots__ = ("_ampe", "_chnls", "_enough", "_learning", "_room", "_senders", "number")

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, number: int) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self.number: int = number
        # What `post_in_turn` knows of the channel, for to ask costs as much as to post: bytes that
        # were queued once when `send` did not wait any more, so that it never waits for fewer; and
        # how many more may be queued until they are so many again. Below 0: it has to look.
        self._enough = 0
        self._room = 0
        self._learning = False
        self._senders = 0  # those who are in `send`: nobody overtakes them

    @property
    def queued_bytes(self) -> int:
        """Bytes posted that the operating system has not taken yet."""
        return self._chnls.queued_bytes(self.number)

    @property
    def is_closed(self) -> bool:
        """Whether the channel has ended, be it that its last event is still to be received."""
        try:
            self._chnls.peer(self.number)
        except AmpeException:
            return True
        return False

    def peer(self) -> PeerInfo:
        """Who is at the other end; nobody, once the channel has ended."""
        try:
            return self._chnls.peer(self.number)
        except AmpeException:
            return PeerInfo()

    def _message(
        self, opcode: OpCode, ident: int, lines: bytes, body: bytes, more: bool
    ) -> Holder[Message]:
        message = self._ampe.get()
        holder = Holder(message)
        header = message.header  # written directly: this is the hot path
        # A plain int: the compiled core leaves whatever else to the pure code.
        header.proto_byte = opcode | MORE_BIT if more else int(opcode)
        header.channel_number = self.number
        header.message_id = ident
        if lines:
            message.set_text_headers(lines)
        if body:
            message.set_payload(body)
        return holder

    def post(
        self,
        opcode: OpCode,
        ident: int = 0,
        lines: bytes = b"",
        body: bytes = b"",
        *,
        more: bool = False,
    ) -> BinaryHeader:
        """Post one message, without waiting. Raises `NotSent`."""
        try:
            holder = self._message(opcode, ident, lines, body, more)
            try:
                header = self._chnls.post(holder)
            except BaseException:
                self._ampe.put(holder)
                raise
        except _GONE as error:
            raise _not_sent(error) from None
        self._room -= frame_cost(header)
        return header

    def post_in_turn(self, opcode: OpCode, ident: int, lines: bytes, body: bytes) -> bool:
        """Post one message if `send` would not wait for certain; else False. Raises `NotSent`."""
        if self._senders:
            return False
        if self._room < 0:
            self._room = self._enough - self.queued_bytes
            if self._room < 0:
                self._learning = True
                return False
        self.post(opcode, ident, lines, body)
        return True

    async def send(
        self,
        opcode: OpCode,
        ident: int = 0,
        lines: bytes = b"",
        body: bytes = b"",
        *,
        more: bool = False,
    ) -> BinaryHeader:
        """As `post`, waiting while the channel is behind. Cancelled: nothing was posted."""
        try:
            holder = self._message(opcode, ident, lines, body, more)
            self._senders += 1
            try:
                header = await self._chnls.send(holder)
            except BaseException:
                self._ampe.put(holder)
                raise
            finally:
                self._senders -= 1
        except _GONE as error:
            raise _not_sent(error) from None
        self._room = -1
        if self._learning:
            self._learning = False
            self._enough = max(self._enough, self.queued_bytes - frame_cost(header))
        return header

    async def send_parts(self, opcode: OpCode, ident: int, lines: bytes, body: bytes) -> None:
        """Send a body that is too long for one: headers on the first, `more` on all but the last.

        Cancelled: some of the parts may have been posted.
        """
        for start in range(0, len(body), PART_LEN):
            end = start + PART_LEN
            await self.send(opcode, ident, lines, body[start:end], more=end < len(body))
            lines = b""

    def tell(
        self,
        opcode: OpCode,
        ident: int = 0,
        lines: bytes = b"",
        body: bytes = b"",
        *,
        more: bool = False,
    ) -> None:
        """Post something that the peer has to know: never waits, never fails.

        Nothing happens once the channel has ended, which its last event says, or for an id (0)
        that no answer can have. A peer with so much in front of it, unread, that not even this is
        taken is closed: it would wait for ever for what it was not told.
        """
        try:
            self.post(opcode, ident, lines, body, more=more)
        except AllocationFailedException:
            with suppress(AmpeException):
                self.post(OpCode.BYE_SIGNAL)
        except AmpeException:
            pass

    def tell_error(self, ident: int, error: RemoteError, *, refused: bool = False) -> None:
        """End something that the peer has asked for; as `tell`."""
        lines = error_lines(error)
        if refused:
            lines += _REFUSED_LINE
        self.tell(OpCode.RESPONSE, ident, lines)


if compiled and not TYPE_CHECKING:
    Outlet.post_in_turn = twin(Outlet.post_in_turn)


def _not_sent(error: Exception) -> NotSent:
    shutdown = isinstance(error, ShutdownException)
    return NotSent(
        AmpeError.SHUTDOWN_STARTED if shutdown else AmpeError.CHANNEL_CLOSED,
        "the engine is shutting down" if shutdown else "the channel has closed",
    )
