"""The client's side: connect, say hello, talk, say bye."""

import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    TextHeader,
    borrowed_message,
    open_ampe,
)
from pytofu.cli.addresses import ClientAddress, address_text
from pytofu.cli.running import CommandError, in_words

_HELLO_TIMEOUT: Final = 15.0  # seconds; connecting alone may take ten
_BYE_TIMEOUT: Final = 2.0


class ConversationEndedError(CommandError):
    """The channel closed before this side said bye."""


@attrs.frozen
class Received:
    """A message from the peer."""

    opcode: OpCode
    message_id: int
    more: bool
    headers: tuple[TextHeader, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the first text header with this name."""
        return next((header.value for header in self.headers if header.name == name), None)


class Conversation:
    """A channel to a server; `dial` makes them."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, address: ClientAddress) -> None:
        self.ampe = ampe
        self.chnls = chnls
        self._where = address_text(address)
        with borrowed_message(ampe) as holder:
            address.format(holder.value)
            header = chnls.post(holder)
        self.channel_number = header.channel_number
        self._hello_id = header.message_id

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
        """Send a message and return its message_id. Raises as `ChannelGroup.post` does."""
        with borrowed_message(self.ampe) as holder:
            self._fill(holder, opcode, 0, headers, body, more=False)
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
            return (await self.chnls.send(holder)).message_id

    async def receive(self, timeout: float = math.inf) -> Received | None:
        """The next message from the peer; None when so many seconds have passed without one.

        Raises `ConversationEndedError` when the channel closes. A ByeRequest is answered.
        """
        deadline = trio.current_time() + timeout
        while True:
            left = max(0.0, deadline - trio.current_time())
            message = await self.chnls.wait_receive(None if left == math.inf else int(left * 1e9))
            if message is None:
                return None
            with _returned(self.ampe, message):
                if message.is_from_application():
                    if message.opcode is OpCode.BYE_REQUEST:
                        self.post(OpCode.BYE_RESPONSE)
                        continue
