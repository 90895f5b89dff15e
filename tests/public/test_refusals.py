"""Why a post was refused, in words: what was given, and what is right."""

from collections.abc import Callable
from typing import Final

import pytest

from pytofu import (
    AmpeException,
    BinaryHeader,
    Holder,
    Message,
    NullMessageException,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    open_ampe,
)
from pytofu.public.refusals import why
from pytofu.values.status import AmpeError
from tests.support import open_app, open_pair

UNKNOWN_OPCODE: Final = 12


def message_of(opcode: OpCode = OpCode.REQUEST, channel: int = 1, message_id: int = 1) -> Message:
    return Message(BinaryHeader(channel, int(opcode), 0, message_id))


def unknown_opcode() -> Message:
    return Message(BinaryHeader(1, UNKNOWN_OPCODE))


def part_of_a_hello() -> Message:
    message = message_of(OpCode.HELLO_REQUEST, 0)
    message.more = True
    return message


def long_body() -> Message:
    message = message_of()
    message.set_payload(b"x" * 70_000)
    return message


def long_headers() -> Message:
    message = message_of()
    message.text_headers.append("n", b"x" * 70_000)
    return message


async def refusal(message: Message) -> str:
    """Post it to an engine that has no channel; what is said."""
    async with open_app() as app:
        holder = Holder(message)
        with pytest.raises(AmpeException) as caught:
            app.chnls.post(holder)
        assert holder.value is message
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (unknown_opcode, "INVALID_OP_CODE: opcode 12 is no OpCode"),
        (
            lambda: message_of(OpCode.WELCOME_RESPONSE),
            "INVALID_OP_CODE: WELCOME_RESPONSE is what the engine answers",
        ),
        (
            lambda: message_of(OpCode.RESPONSE, message_id=0),
            "INVALID_MESSAGE_ID: RESPONSE has message_id 0",
        ),
        (part_of_a_hello, "INVALID_MORE_USAGE: HELLO_REQUEST has `more` set"),
        (lambda: message_of(channel=0), "INVALID_CHANNEL_NUMBER: REQUEST has channel 0"),
        (lambda: message_of(channel=77), "INVALID_CHANNEL_NUMBER: channel 77 is none of"),
        (long_headers, "INVALID_HEADERS_LEN: the text headers have 70004 bytes"),
        (long_body, "INVALID_BODY_LEN: the body has 70000 bytes, and 65535 at most"),
        (lambda: message_of(OpCode.HELLO_REQUEST, 0), "WRONG_ADDRESS: neither a ~connect_to"),
    ],
)
async def test_what_is_refused_says_what_was_given(make: Callable[[], Message], said: str) -> None:
    assert (await refusal(make())).startswith(said)


async def test_an_empty_holder() -> None:
    async with open_app() as app:
        with pytest.raises(NullMessageException, match="the holder is empty"):
            app.chnls.post(Holder())


async def test_what_a_channel_does_not_take() -> None:
    async with open_pair(TCPServerAddress("127.0.0.1", 0)) as pair:
        number, app = pair.client.number, pair.client.app
        with pytest.raises(AmpeException, match=f"channel {number} takes no HELLO_RESPONSE"):
            app.chnls.post(Holder(message_of(OpCode.HELLO_RESPONSE, number)))
        other = app.ampe.create()
        with pytest.raises(AmpeException, match=f"channel {number} belongs to another channel"):
            other.post(Holder(message_of(channel=number)))
        app.post(OpCode.BYE_SIGNAL, number)
        await pair.client.events_until_closed()
        with pytest.raises(AmpeException, match=f"CHANNEL_CLOSED: channel {number} has closed"):
            app.chnls.post(Holder(message_of(channel=number)))


async def test_a_group_that_is_destroyed() -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        await ampe.destroy(chnls)
        hello = Message()
        TCPClientAddress("127.0.0.1", 1).format(hello)
        with pytest.raises(AmpeException, match="SHUTDOWN_STARTED: the channel group is destroyed"):
            chnls.post(Holder(hello))


@pytest.mark.parametrize(
    ("error", "message", "said"),
    [
        (AmpeError.ALLOCATION_FAILED, message_of(channel=0), "every channel number is in use"),
        (AmpeError.ALLOCATION_FAILED, message_of(channel=5), "too much is queued for channel 5"),
        (AmpeError.PROCESSING_FAILED, message_of(), ""),
    ],
)
def test_what_hardly_happens(error: AmpeError, message: Message, said: str) -> None:
    assert why(error, message).startswith(said)


def test_an_address_that_cannot_be_used_is_named() -> None:
    message = Message()
    TCPClientAddress("127.0.0.1", 5).format(message)
    assert "port=5" in why(AmpeError.INVALID_ADDRESS, message)
