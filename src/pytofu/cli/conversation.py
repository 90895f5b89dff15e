"""The client's side: connect, say hello, talk, say bye."""

from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Self

import attrs
import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    MessageType,
    OpCode,
    TextHeader,
    borrowed_message,
    open_ampe,
)
from pytofu.cli.endpoints import Target
from pytofu.cli.running import CommandError, in_words

_HELLO_TIMEOUT: Final = 15.0  # seconds; connecting alone may take ten
_BYE_TIMEOUT: Final = 2.0


class ConversationEndedError(CommandError):
    """The channel closed before this side said bye."""


class NotReachedError(CommandError):
    """The engine could not connect."""


@attrs.frozen
class Received:
    """A message from the peer."""

    opcode: OpCode
    message_id: int
    more: bool
    headers: tuple[TextHeader, ...]
    body: bytes

    @classmethod
    def of(cls, message: Message) -> Self:
        """What is in the message."""
        return cls(
            message.opcode,
            message.message_id,
            message.has_more(),
            tuple(message.text_headers),
            message.payload,
        )

    def header(self, name: str) -> str | None:
        """The value of the first text header with this name."""
        return next((header.value for header in self.headers if header.name == name), None)


class Conversation:
    """A channel to a server; `dial` makes them."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, target: Target) -> None:
        self.ampe = ampe
        self.chnls = chnls
        self.where: str = target.where
        with borrowed_message(ampe) as holder:
            target.address.format(holder.value)
            header = chnls.post(holder)
        self.channel_number: int = header.channel_number
        self._hello_id = header.message_id
        self._reached = True  # until the engine says that it is not

    def _fill(
        self,
        holder: Holder[Message],
        opcode: OpCode,
        message_id: int,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        more: bool,
    ) -> None:
        message = holder.unwrap()
        message.opcode = opcode
        message.channel_number = self.channel_number
        message.message_id = message_id
        message.more = more
        for name, value in headers:
            message.text_headers.append(name, value)
        message.set_payload(body)

    def post(
        self, opcode: OpCode, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> int:
        """Send a message and return its message_id.

        Raises `ConversationEndedError`, and else as `ChannelGroup.post` does.
        """
        with borrowed_message(self.ampe) as holder:
            self._fill(holder, opcode, 0, headers, body, more=False)
            with self._closed_is_ended():
                return self.chnls.post(holder).message_id

    async def send_part(
        self,
        message_id: int = 0,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        more: bool,
    ) -> int:
        """Send a Request, one of many with this message_id, waiting while the peer is behind."""
        with borrowed_message(self.ampe) as holder:
            self._fill(holder, OpCode.REQUEST, message_id, headers, body, more)
            with self._closed_is_ended():
                return (await self.chnls.send(holder)).message_id

    @contextmanager
    def _closed_is_ended(self) -> Generator[None]:
        try:
            yield
        except ChannelClosedException:
            raise ConversationEndedError(f"{self.where} closed the channel") from None

    async def receive(self) -> Received:
        """The next message from the peer. Cancelling loses none.

        Raises `ConversationEndedError` when the channel closes; a ByeRequest, which makes it
        close, is answered here.
        """
        while True:
            message = await self.chnls.wait_receive()
            holder = Holder(message)
            try:
                if message.is_from_engine():
                    self._check(message)
                elif message.opcode is OpCode.BYE_REQUEST:
                    message.opcode = OpCode.BYE_RESPONSE
                    with suppress(ChannelClosedException):
                        self.chnls.post(holder)
                else:
                    return Received.of(message)
            finally:
                self.ampe.put(holder)

    def _check(self, message: Message) -> None:
        """Raise if the engine says that the channel did not open, or that it has closed."""
        if message.opcode.type is MessageType.HELLO:
            self._reached = False
        # What could not be sent comes back too, and is of no interest behind this.
        if message.opcode is OpCode.SIGNAL and message.message_id == self._hello_id:
            reason = AmpeStatus[message.text_headers.get("~reason") or ""]
            why = in_words(reason, message.text_headers.get("~detail") or "")
            if self._reached:
                raise ConversationEndedError(f"{self.where} closed the channel: {why}")
            raise NotReachedError(f"cannot connect to {self.where}: {why}")

    async def answer_to(self, message_id: int) -> Received:
        """The next Response or Signal with this message_id; what else arrives is dropped."""
        while True:
            received = await self.receive()
            if received.message_id == message_id:
                return received

    async def hello(self, patience: float) -> None:
        """Wait so many seconds at most until the server has answered the HelloRequest."""
        with trio.move_on_after(patience) as scope:
            answer = await self.receive()
            if answer.opcode is not OpCode.HELLO_RESPONSE:
                raise CommandError(f"{self.where} refused the channel: {answer.opcode.name}")
        if scope.cancelled_caught:
            raise CommandError(f"{self.where} does not answer the hello")

    async def bye(self) -> None:
        """Say bye, and see the channel close; a peer that does not answer is not waited for."""
        with trio.move_on_after(_BYE_TIMEOUT), suppress(ConversationEndedError):
            self.post(OpCode.BYE_REQUEST)
            while True:
                await self.receive()


@asynccontextmanager
async def dial(target: Target) -> AsyncGenerator[Conversation]:
    """A conversation for the length of an `async with` block: hello before it, bye after it.

    Raises `CommandError` when there is nobody to talk to, and nobody came in time.
    A block that fails or is cancelled ends with a reset, not with a bye.
    """
    async with open_ampe() as ampe, ampe.open_channel_group(tls_client=target.tls) as chnls:
        conversation = await _reach(ampe, chnls, target)
        yield conversation
        await conversation.bye()


async def _reach(ampe: Ampe, chnls: ChannelGroup, target: Target) -> Conversation:
    """Connect and exchange hellos.

    What a server that is just starting may look like: nothing there, a connection that is closed
    at once (by what stands before it), one that is accepted and answered much later.
    """

    async def attempt(left: float) -> Conversation:
        conversation = Conversation(ampe, chnls, target)
        await conversation.hello(max(_HELLO_TIMEOUT, left))
        return conversation

    return await target.insist(attempt, NotReachedError, ConversationEndedError)
