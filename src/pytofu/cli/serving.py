"""The server's side: listen on any number of addresses, answer hello and bye."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    InvalidChannelNumberException,
    Message,
    OpCode,
    TCPServerAddress,
    UDSServerAddress,
    borrowed_message,
    parse_address,
)
from pytofu.cli.addresses import ServerAddress, address_text
from pytofu.cli.running import CommandError, in_words

_PATIENCE: Final = 5.0
"""Seconds that one client may keep all others waiting by not reading its answers."""


class Service(Protocol):
    """What a server does with its channels."""

    def listening(self, address: ServerAddress) -> None:
        """A listener is ready; the address is the one really bound."""
        ...

    def opened(self, channel: int, hello: Message) -> None:
        """A client has said hello."""
        ...

    async def received(self, holder: Holder[Message]) -> None:
        """A Request, Response or Signal of an open channel has arrived."""
        ...

    def closed(self, channel: int, reason: AmpeStatus) -> None:
        """A channel has closed."""
        ...


async def answer(chnls: ChannelGroup, holder: Holder[Message]) -> None:
    """Send a message to a client, which may be gone by now.

    Waits for a client that does not read its answers, but not for long: then its channel is
    closed. What could not be sent stays in the holder.
    """
    channel = holder.unwrap().channel_number
    # The second is what a channel that closed long ago answers.
    with suppress(ChannelClosedException, InvalidChannelNumberException):
        with trio.move_on_after(_PATIENCE) as scope:
            await chnls.send(holder)
        if scope.cancelled_caught:
            message = holder.unwrap()
            message.reset()
            message.opcode = OpCode.BYE_SIGNAL
            message.channel_number = channel
            chnls.post(holder)


async def serve(
    ampe: Ampe,
    chnls: ChannelGroup,
    addresses: Iterable[ServerAddress],
    service: Service,
    task_status: trio.TaskStatus[Sequence[ServerAddress]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started, with the bound addresses, when all listeners are ready.

    Raises `CommandError` when a listener cannot be opened, or fails later.
    """
    listeners: dict[int, ServerAddress] = {}
    for address in addresses:
        with borrowed_message(ampe) as holder:
            address.format(holder.value)
            listeners[chnls.post(holder).channel_number] = address
    bound: dict[int, ServerAddress] = {}
    channels: set[int] = set()
    async for holder in chnls:  # pragma: no branch  (it ends by being cancelled)
        message = holder.unwrap()
        channel = message.channel_number
        opcode = message.opcode
        if opcode is OpCode.WELCOME_RESPONSE:
            bound[channel] = _bound_address(message, listeners[channel])
            if len(bound) == len(listeners):
                in_order = [bound[number] for number in listeners]
                for address in in_order:
                    service.listening(address)
                task_status.started(in_order)
        elif message.is_from_engine():
            if channel in listeners:
                where = address_text(listeners[channel])
                raise CommandError(f"the listener on {where} closed: {in_words(message.status)}")
            reason = message.text_headers.get("~reason")
            if reason is not None and channel in channels:
                channels.discard(channel)
                # A message that came back may have such a header too, with anything in it.
                known = AmpeStatus.__members__.get(reason, AmpeStatus.UNKNOWN_ERROR)
                service.closed(channel, known)
        elif opcode is OpCode.HELLO_REQUEST:
            channels.add(channel)
            service.opened(channel, message)
            await _respond(chnls, holder, OpCode.HELLO_RESPONSE)
        elif opcode is OpCode.BYE_REQUEST:
            await _respond(chnls, holder, OpCode.BYE_RESPONSE)
        elif opcode in _REGULAR:
            await service.received(holder)


_REGULAR: Final = frozenset({OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL})


async def _respond(chnls: ChannelGroup, holder: Holder[Message], opcode: OpCode) -> None:
    message = holder.unwrap()
    message.opcode = opcode
    message.text_headers.clear()
    message.set_payload(b"")
    await answer(chnls, holder)


def _bound_address(message: Message, wanted: ServerAddress) -> ServerAddress:
    if message.status is not AmpeStatus.SUCCESS:
        where = address_text(wanted)
        raise CommandError(f"cannot listen on {where}: {in_words(message.status)}")
    address = parse_address(message)
    assert isinstance(address, TCPServerAddress | UDSServerAddress)
    return address
