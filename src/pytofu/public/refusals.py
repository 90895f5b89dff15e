"""Why a post was refused, in words: what was given, and what is right (PROTOCOL 3)."""

from collections.abc import Callable, Mapping
from typing import Final

from pytofu.values.address import WrongAddress, parse_address
from pytofu.values.header import MAX_PART_LEN, OPCODE_BITS, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

_PARTS: Final = "send it in parts, with `more` set on all but the last"


def _opcode(message: Message) -> str:
    code = message.header.proto_byte & OPCODE_BITS
    return OpCode(code).name if code in OpCode else f"opcode {code}"


def _channel(message: Message) -> str:
    return f"channel {message.channel_number}"


def _unknown_channel(message: Message) -> str:
    if message.channel_number:
        return f"{_channel(message)} is none of this engine's"
    return (
        f"{_opcode(message)} has channel 0, which only HELLO_REQUEST and WELCOME_REQUEST may: set"
        " channel_number to what posting one of these returned, or to that of what was received"
    )


def _address(message: Message) -> str:
    address = parse_address(message)
    return address.reason if isinstance(address, WrongAddress) else repr(address)


def _not_sendable(message: Message) -> str:
    name = _opcode(message)
    if name == "WELCOME_RESPONSE":
        return "WELCOME_RESPONSE is what the engine answers; applications do not post it"
    return f"{name} is no OpCode"


_WHY: Final[Mapping[AmpeError, Callable[[Message], str]]] = {
    AmpeError.INVALID_OP_CODE: _not_sendable,
    AmpeError.INVALID_MESSAGE_ID: lambda message: (
        f"{_opcode(message)} has message_id {message.message_id}: an answer has that of its"
        " request, 1 to 2**64-1"
    ),
    AmpeError.INVALID_MORE_USAGE: lambda message: (
        f"{_opcode(message)} has `more` set: only REQUEST, RESPONSE and SIGNAL come in parts"
    ),
    AmpeError.INVALID_CHANNEL_NUMBER: _unknown_channel,
    AmpeError.INVALID_HEADERS_LEN: lambda message: (
        f"the text headers have {len(message.text_headers)} bytes, and {MAX_PART_LEN} at most"
        " fit into a message"
    ),
    AmpeError.INVALID_BODY_LEN: lambda message: (
        f"the body has {len(message.payload)} bytes, and {MAX_PART_LEN} at most fit into a"
        f" message: {_PARTS}"
    ),
    AmpeError.WRONG_ADDRESS: _address,
    AmpeError.INVALID_ADDRESS: _address,
    AmpeError.CHANNEL_CLOSED: lambda message: f"{_channel(message)} has closed",
    AmpeError.INVALID_MESSAGE_CHANNEL_GROUP: lambda message: (
        f"{_channel(message)} belongs to another channel group of this engine: post it there"
    ),
    AmpeError.NOT_ALLOWED: lambda message: (
        f"{_channel(message)} takes no {_opcode(message)} as things are: behind a Bye there is"
        " nothing more to say, and who accepts answers the Hello before anything else"
    ),
    AmpeError.ALLOCATION_FAILED: lambda message: (
        "every channel number is in use"
        if not message.channel_number
        else f"too much is queued for {_channel(message)} or in all, see Options.max_queued_bytes"
        " and max_total_queued_bytes: `send` waits until there is room"
    ),
    AmpeError.SHUTDOWN_STARTED: lambda message: (
        "the channel group is destroyed, or its engine is shutting down"
    ),
}


def why(error: AmpeError, message: Message | None) -> str:
    """The explanation for the exception; empty where the error's name says all."""
    if message is None:
        return "the holder is empty: what was in it has been posted or put back, or nothing was"
    explain = _WHY.get(error)
    return explain(message) if explain is not None else ""
