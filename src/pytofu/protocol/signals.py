"""Signals that the engine makes about a channel (PROTOCOL 4)."""

from pytofu.protocol.ending import Ending
from pytofu.values.header import ORIGIN_BIT, BinaryHeader, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeStatus
from pytofu.values.text_headers import DETAIL, REASON


def engine_signal(number: int, status: AmpeStatus, message_id: int = 0) -> Message:
    """A Signal from the engine on this side."""
    return Message(BinaryHeader(number, OpCode.SIGNAL | ORIGIN_BIT, status, message_id))


def channel_closed(number: int, message_id: int, ending: Ending) -> Message:
    """The last event of a channel; `message_id` is that of the message that opened it."""
    message = engine_signal(number, AmpeStatus.CHANNEL_CLOSED, message_id)
    message.text_headers.append(REASON, ending.reason.name)
    add_detail(message, ending.detail)
    return message


def add_detail(message: Message, detail: str) -> None:
    """Add the `~detail` header, if there is anything to say: on one line, and as valid text."""
    if not detail:
        return
    text = " ".join(detail.encode(errors="replace").decode().replace("\0", " ").split())
    if text:
        message.text_headers.append(DETAIL, text)
