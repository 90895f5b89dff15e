"""A listener channel: accepts connections and makes IO channels of them (PROTOCOL 2, 4 and 6)."""

import re
from collections.abc import Iterable
from typing import Final

import trio

from pytofu.engine import transport
from pytofu.engine.channel import Channel, Home, log
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.protocol.lifecycle import Posting, State, listener_post_rules
from pytofu.values.address import LISTEN_ON_HEADER, Address, TCPServerAddress, UDSServerAddress
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus
from pytofu.values.text_headers import TextHeaders

_LISTEN_ON_LINE: Final = re.compile(rb"((?:^|\r\n))" + LISTEN_ON_HEADER.encode() + rb":[^\r\n]*")

_CAPACITY_PAUSE: Final = 0.1
"""Seconds without accepting when the system has no more files or memory for connections."""


class Listener(Channel):
    """Opened by a WelcomeRequest; the only message it takes is ByeSignal."""

    __slots__ = ("_address", "_listening", "_welcome")

    def __init__(self, group: Home, message_id: int, address: Address) -> None:
        super().__init__(group, message_id)
        self._welcome: Message | None = None  # until it is answered
        self._address = address
        self._listening: transport.Listening | None = None
        self.post_rules = listener_post_rules

    def welcome(self, message: Message) -> None:
        """Take the WelcomeRequest."""
        self._welcome = message.clone()

    async def live(self) -> None:
        """Bind, answer the WelcomeRequest, accept until aborted."""
        listening = await self._listen()
        if listening is None:
            return
        self._listening = listening
        while True:
            await trio.lowlevel.wait_readable(listening.sock)
            try:
                for connection in transport.accept_all(listening.sock):
                    self.group.accept(connection)
            except OSError as error:
                if error.errno not in transport.ACCEPT_LATER:
                    log.error("listener %d: cannot accept: %s", self.number, error)
                    self.close_because(AmpeStatus.ACCEPT_FAILED)
                    return
                log.warning("listener %d: accepting again later: %s", self.number, error)
                await trio.sleep(_CAPACITY_PAUSE)

    async def _listen(self) -> transport.Listening | None:
        result: Result[transport.Listening, AmpeError] = Err(AmpeError.INVALID_ADDRESS)
        if isinstance(self._address, TCPServerAddress | UDSServerAddress):
            result = await transport.listen(self._address, reuse_port=self.group.options.reuse_port)
        welcome, self._welcome = self._welcome, None
        assert welcome is not None
        welcome.opcode = OpCode.WELCOME_RESPONSE
        match result:
            case Ok(listening):
                headers = _with_address(welcome.text_headers, listening.address)
                self.group.deliver([Message(welcome.header, headers, welcome.payload)])
                return listening
            case Err(error):
                status = error.to_status()
                welcome.mark_from_engine(status)
                self.close_because(status)
                self.group.deliver([welcome])
                return None

    def post_special(self, message: Message, rule: State | Posting) -> Result[None, AmpeError]:
        """ByeSignal closes the listener and comes back; anything else is not allowed."""
        if rule is not Posting.ABORT:
            return message.refuse(AmpeError.NOT_ALLOWED)
        farewell = message.clone()
        farewell.mark_from_engine(AmpeStatus.CHANNEL_CLOSED)
        self.undelivered.append(farewell)
        self.abort()
        return OK

    def flush(self) -> None:
        """Nothing is queued here."""

    def close_orderly(self) -> None:
        """Nothing is queued here: as `abort`."""
        self.abort()

    def unsent(self) -> Iterable[Message]:
        """The WelcomeRequest, if the listener was closed before it could be answered."""
        if self._welcome is not None:
            self._welcome.mark_from_engine(AmpeStatus.CHANNEL_CLOSED, OpCode.WELCOME_RESPONSE)
            yield self._welcome

    def close_socket(self) -> None:
        """Close the listening socket and remove its file."""
        if self._listening is not None:
            self._listening.close()


def _with_address(headers: TextHeaders, address: TCPServerAddress | UDSServerAddress) -> bytes:
    """The headers, with the address really bound in the one that asked for it."""
    bound = Message()
    address.format(bound)
    line = bound.text_headers.to_bytes().removesuffix(b"\r\n")
    return _LISTEN_ON_LINE.sub(lambda found: found[1] + line, headers.to_bytes(), count=1)
