"""The server's side: listen on any number of addresses, answer hello and bye."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio

from pytofu import (
    Ampe,
    AmpeException,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    InvalidChannelNumberException,
    MemoryServerAddress,
    Message,
    OpCode,
    TCPServerAddress,
    TLSServerAddress,
    UDSServerAddress,
    borrowed_message,
    parse_address,
)
from pytofu.cli.running import CommandError, in_words
from pytofu.values.address_text import ServerAddress, address_text


class Service(Protocol):
    """What a server does with its channels. Nothing here waits: all clients would wait with it."""

    def listening(self, address: ServerAddress) -> None:
        """A listener is ready; the address is the one really bound."""
        ...

    def opened(self, channel: int, hello: Message) -> None:
        """A client has said hello."""
        ...

    def received(self, holder: Holder[Message]) -> None:
        """A Request, Response or Signal of an open channel has arrived.

        What is left in the holder goes back to the pool.
        """
        ...

    def closed(self, channel: int, reason: AmpeStatus) -> None:
        """A channel has closed."""
        ...


def answer(chnls: ChannelGroup, holder: Holder[Message]) -> None:
    """Send a message to a client, which may be gone by now. Never waits.

    A client that does not read its answers delays nobody: when much is queued for it, the engine
    takes nothing more from it. If a message cannot be sent for another reason than that the
    channel is closed, that channel alone is given up. What was not sent stays in the holder.
    """
    channel = holder.unwrap().channel_number
    try:
        chnls.post(holder)
    except _GONE:
        pass
    except AmpeException:
        holder.unwrap().reset()
        give_up(chnls, channel, holder)


def give_up(chnls: ChannelGroup, channel: int, holder: Holder[Message]) -> None:
    """Close a client's channel at once, with an empty message."""
    message = holder.unwrap()
    message.opcode = OpCode.BYE_SIGNAL
    message.channel_number = channel
    with suppress(AmpeException):  # then it is closed already
        chnls.post(holder)


# The second is what a channel that closed long ago answers.
_GONE: Final = (ChannelClosedException, InvalidChannelNumberException)


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
            reason = message.text_headers.get("~reason")
            if reason is None:
                continue  # not its end: what came back, or that there are too many channels
            # A message that came back may have such a header too, with anything in it.
            known = AmpeStatus.__members__.get(reason, AmpeStatus.UNKNOWN_ERROR)
            if channel in listeners:
                where = address_text(listeners[channel])
                raise CommandError(f"the listener on {where} closed: {in_words(known)}")
            if channel in channels:
                channels.discard(channel)
                service.closed(channel, known)
        elif opcode is OpCode.HELLO_REQUEST:
            channels.add(channel)
            service.opened(channel, message)
            _respond(chnls, holder, OpCode.HELLO_RESPONSE)
        elif opcode is OpCode.BYE_REQUEST:
            _respond(chnls, holder, OpCode.BYE_RESPONSE)
        elif opcode in _REGULAR:
            service.received(holder)


_REGULAR: Final = frozenset({OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL})


def _respond(chnls: ChannelGroup, holder: Holder[Message], opcode: OpCode) -> None:
    message = holder.unwrap()
    message.opcode = opcode
    message.text_headers.clear()
    message.set_payload(b"")
    answer(chnls, holder)


def _bound_address(message: Message, wanted: ServerAddress) -> ServerAddress:
    if message.status is not AmpeStatus.SUCCESS:
        where = address_text(wanted)
        raise CommandError(f"cannot listen on {where}: {in_words(message.status)}")
    address = parse_address(message)
    assert isinstance(
        address, TCPServerAddress | TLSServerAddress | UDSServerAddress | MemoryServerAddress
    )
    return address
