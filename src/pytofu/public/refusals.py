"""What is wrong with a message that `post` refuses, and what is right: the exception's text.

Made when something was refused, never before. The name in front of the text is a heading of the
documentation's page "Errors".
"""

from typing import Any

from pytofu.patterns.arguments import must_be, wrong_type
from pytofu.values.errors import AmpeException
from pytofu.values.header import MAX_PART_LEN, OPCODE_BITS, BinaryHeader, OpCode
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.status import AmpeError


def refusal(error: AmpeError, message: Message) -> AmpeException:
    """The exception (not raised) for the error that posting this message gave."""
    return AmpeException.from_error(error, _explained(error, message))


def held_message(call: str, holder: Any) -> Message | None:
    """The message of a holder, or None. Raises `TypeError` for what is no holder of a message."""
    if isinstance(holder, Message):
        advice = f"{call}(Holder(message)), or borrow it: with borrowed_message(ampe) as holder"
        raise wrong_type(call, "a Holder with the message", holder, advice)
    must_be(call, "a Holder with a message", Holder, holder)
    message: Message | None = holder.value
    if message is not None:
        must_be(f"{call}'s holder", "a Message", Message, message)
    return message


def wrong_holder(call: str, holder: object) -> Exception:
    """The exception (not raised) for what has no message to give away."""
    try:
        held_message(call, holder)
    except TypeError as error:
        return error
    return AmpeException.from_error(
        AmpeError.NULL_MESSAGE,
        "the holder is empty: its message was posted or put back before, or what was put into it "
        "is None; ampe.get() gives another one",
    )


def _explained(error: AmpeError, message: Message) -> str:
    header = message.header
    number = header.channel_number
    match error:
        case AmpeError.INVALID_OP_CODE:
            return f"{_opcode(header)} cannot be posted; the engine makes WELCOME_RESPONSE itself"
        case AmpeError.INVALID_MESSAGE_ID:
            return (
                f"message_id is {header.message_id}, and this is a {_opcode(header)}: an answer "
                "has the message_id of what it answers, and all are at most 2**64-1"
            )
        case AmpeError.INVALID_MORE_USAGE:
            return f"`more` is set on a {_opcode(header)}: only REQUEST, RESPONSE, SIGNAL have it"
        case AmpeError.INVALID_CHANNEL_NUMBER if not number:
            return (
                f"channel_number is 0, and this is a {_opcode(header)}: only HELLO_REQUEST and "
                "WELCOME_REQUEST open channels, all others name one"
            )
        case AmpeError.INVALID_CHANNEL_NUMBER:
            return f"this engine has, and had of late, no channel {number}"
        case AmpeError.INVALID_HEADERS_LEN:
            return f"the text headers have {len(message.text_headers)} bytes, {_LIMIT}"
        case AmpeError.INVALID_BODY_LEN:
            return f"the body has {len(message.payload)} bytes, {_LIMIT}; send parts, with `more`"
        case AmpeError.WRONG_ADDRESS:
            return (
                f"a {_opcode(header)} needs an address header, which an address writes: "
                "TCPClientAddress(host, port).format(message)"
            )
        case AmpeError.CHANNEL_CLOSED:
            return f"channel {number} has closed"
        case AmpeError.INVALID_MESSAGE_CHANNEL_GROUP:
            return f"channel {number} belongs to another channel group of the engine: post it there"
        case AmpeError.NOT_ALLOWED:
            return f"a {_opcode(header)} cannot be sent in the present state of channel {number}"
        case AmpeError.ALLOCATION_FAILED if number:
            return (
                f"more is queued than Options.max_queued_bytes or max_total_queued_bytes allow, "
                f"on channel {number}: `send` waits until the peer has taken some of it"
            )
        case AmpeError.ALLOCATION_FAILED:
            return "all channel numbers are in use"
        case AmpeError.SHUTDOWN_STARTED:
            return "the channel group has been destroyed, or its engine left"
        case _:
            return ""


_LIMIT = f"and a message takes at most {MAX_PART_LEN}"


def _opcode(header: BinaryHeader) -> str:
    opcode = header.proto_byte & OPCODE_BITS
    return OpCode(opcode).name if opcode in OpCode else f"message with opcode {opcode}"
