"""What the examples share: a few lines that every program on pytofu writes in its own way."""

import contextlib

from pytofu import (
    Ampe,
    AmpeStatus,
    BinaryHeader,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    ShutdownException,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    borrowed_message,
    parse_address,
)

type ClientAddress = TCPClientAddress | UDSClientAddress
type ServerAddress = TCPServerAddress | UDSServerAddress


class UnexpectedError(Exception):
    """Something else was received than the example knows how to deal with."""


def compose(
    ampe: Ampe,
    opcode: OpCode,
    channel: int,
    body: bytes = b"",
    *,
    message_id: int = 0,
    more: bool = False,
    **text_headers: str,
) -> Holder[Message]:
    """A message, ready to be posted; a message_id of 0 lets the engine assign one."""
    message = ampe.get()
    message.opcode = opcode
    message.channel_number = channel
    message.message_id = message_id
    message.more = more
    message.set_payload(body)
    for name, value in text_headers.items():
        message.text_headers.append(name, value)
    return Holder(message)


def post(ampe: Ampe, chnls: ChannelGroup, holder: Holder[Message]) -> BinaryHeader:
    """Post a message that may be refused: then it goes back to the pool."""
    try:
        return chnls.post(holder)
    finally:
        ampe.put(holder)  # if it is still there


async def send(ampe: Ampe, chnls: ChannelGroup, holder: Holder[Message]) -> BinaryHeader:
    """As `post`, waiting while the peer does not keep up; also for when that is cancelled."""
    try:
        return await chnls.send(holder)
    finally:
        ampe.put(holder)


def respond(chnls: ChannelGroup, holder: Holder[Message], body: bytes | None = None) -> None:
    """Send a request back as its response: same channel, same message_id, this body if given.

    If the peer has gone meanwhile, or this side shuts down, the message stays in the holder.
    """
    message = holder.unwrap()
    message.opcode = message.opcode.echo().unwrap()
    if body is not None:
        message.set_payload(body)
    with contextlib.suppress(ChannelClosedException, ShutdownException):
        chnls.post(holder)


def open_channel(ampe: Ampe, chnls: ChannelGroup, address: ClientAddress | ServerAddress) -> int:
    """Begin to connect or to listen; returns the number of the new channel."""
    with borrowed_message(ampe) as holder:
        address.format(holder.value)
        return chnls.post(holder).channel_number


async def expect(
    ampe: Ampe, chnls: ChannelGroup, opcode: OpCode, status: AmpeStatus = AmpeStatus.SUCCESS
) -> Message:
    """Receive a message, which must be of this kind.

    Returns a copy, which need not be put back to the pool: the message itself has been.
    """
    holder = Holder(await chnls.wait_receive())
    message = holder.unwrap().clone()
    ampe.put(holder)
    if message.opcode is not opcode or message.status is not status:
        raise UnexpectedError(describe(message))
    return message


# The next three are for groups in which nothing else goes on meanwhile: they expect that what is
# received next is for them.


async def listen(ampe: Ampe, chnls: ChannelGroup, address: ServerAddress) -> ClientAddress:
    """Listen; returns the address to connect to."""
    open_channel(ampe, chnls, address)
    return where_to_connect(await expect(ampe, chnls, OpCode.WELCOME_RESPONSE))


async def connect(ampe: Ampe, chnls: ChannelGroup, address: ClientAddress) -> int:
    """Connect; returns the number of the new channel."""
    channel = open_channel(ampe, chnls, address)
    await expect(ampe, chnls, OpCode.HELLO_RESPONSE)
    return channel


async def say_bye(ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
    """Close a channel in agreement with the peer."""
    chnls.post(compose(ampe, OpCode.BYE_REQUEST, channel))
    await expect(ampe, chnls, OpCode.BYE_RESPONSE)
    await expect(ampe, chnls, OpCode.SIGNAL, AmpeStatus.CHANNEL_CLOSED)


def where_to_connect(welcome: Message) -> ClientAddress:
    """How a client reaches the listener that has been welcomed by this message."""
    match parse_address(welcome):
        case TCPServerAddress(host, port):
            return TCPClientAddress(host, port)
        case UDSServerAddress(path):
            return UDSClientAddress(path)
        case other:
            raise UnexpectedError(other)


def is_closed(message: Message) -> bool:
    """Whether this is the last event of a channel."""
    return message.opcode is OpCode.SIGNAL and message.status is AmpeStatus.CHANNEL_CLOSED


def describe(message: Message) -> str:
    """A message in a few words, without the numbers, which differ from run to run."""
    origin = "the engine" if message.is_from_engine() else "the application"
    text = f"{message.opcode.name} from {origin}"
    if message.status is not AmpeStatus.SUCCESS:
        text += f", {message.status.name.lower()}"
    if reason := message.text_headers.get("~reason"):
        text += f" (reason: {reason.lower()})"
    if message.payload:
        text += f": {message.payload.decode(errors='replace')}"
    return text
