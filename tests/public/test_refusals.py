"""What the exception says of a message that `post` refuses."""

import re

import pytest

from pytofu import (
    AllocationFailedException,
    AmpeError,
    AmpeException,
    Holder,
    MemoryServerAddress,
    Message,
    OpCode,
    Options,
)
from pytofu.public.refusals import refusal
from tests.support import App, open_app, open_pair

MEMORY = MemoryServerAddress("refusals")


def refused(app: App, holder: Holder[Message]) -> str:
    """The exception's text; the message stays in its holder, and goes back to the pool."""
    with pytest.raises(AmpeException) as caught:
        app.chnls.post(holder)
    app.ampe.put(holder)
    return str(caught.value)


async def test_an_empty_holder() -> None:
    async with open_app() as app:
        text = refused(app, Holder())
        assert text.startswith("NULL_MESSAGE: the holder is empty: its message was posted or put")
        assert text.endswith("ampe.get() gives another one")
        with pytest.raises(AmpeException, match=r"^NULL_MESSAGE: the holder is empty: what it"):
            Holder[Message]().unwrap()


async def test_what_is_wrong_with_the_message_itself() -> None:
    async with open_app() as app:
        for opcode, fields, text in (
            (12, {}, "INVALID_OP_CODE: message with opcode 12 cannot be posted"),
            (9, {}, "INVALID_OP_CODE: WELCOME_RESPONSE cannot be posted; the engine makes"),
            (1, {"channel": 7}, "INVALID_MESSAGE_ID: message_id is 0, and this is a RESPONSE: an"),
            (0, {"channel": 7, "message_id": 2**64}, f"INVALID_MESSAGE_ID: message_id is {2**64},"),
            (5, {"more": True}, "INVALID_MORE_USAGE: `more` is set on a BYE_REQUEST: only"),
            (0, {}, "INVALID_CHANNEL_NUMBER: channel_number is 0, and this is a REQUEST: only"),
            (0, {"channel": 70000}, "INVALID_CHANNEL_NUMBER: this engine has, and had of late, no"),
            (3, {}, "WRONG_ADDRESS: a HELLO_REQUEST needs an address header, which an address"),
            (0, {"channel": 7, "body": bytes(65536)}, "INVALID_BODY_LEN: the body has 65536 bytes"),
            (
                0,
                {"channel": 7, "headers": (("n", "v" * 65533),)},
                "INVALID_HEADERS_LEN: the text headers have 65537 bytes, and a message takes at",
            ),
        ):
            holder = app.message(OpCode.SIGNAL, **fields)
            holder.unwrap().opcode = opcode  # type: ignore[assignment]
            assert refused(app, holder).startswith(text)


async def test_what_is_wrong_with_the_channel() -> None:
    async with open_pair(MEMORY, client_options=Options(max_queued_bytes=65536)) as pair:
        app, number = pair.client.app, pair.client.number
        other = App(app.ampe, app.ampe.create())
        text = refused(other, other.message(OpCode.SIGNAL, number))
        assert text == (
            f"INVALID_MESSAGE_CHANNEL_GROUP: channel {number} belongs to another channel group of "
            "the engine: post it there"
        )
        text = refused(app, app.message(OpCode.HELLO_RESPONSE, number, 5))
        assert text == (
            f"NOT_ALLOWED: a HELLO_RESPONSE cannot be sent in the present state of channel {number}"
        )
        app.post(OpCode.SIGNAL, number, body=bytes(65535))
        app.post(OpCode.SIGNAL, number, body=bytes(65535))
        with pytest.raises(AllocationFailedException, match=f"on channel {number}: `send` waits"):
            app.post(OpCode.SIGNAL, number)
        app.post(OpCode.BYE_SIGNAL, number)
        await pair.client.events_until_closed()
        text = refused(app, app.message(OpCode.SIGNAL, number))
        assert text == f"CHANNEL_CLOSED: channel {number} has closed"
        await app.ampe.destroy(app.chnls)
        text = refused(app, app.message(OpCode.SIGNAL, number))
        assert text == "SHUTDOWN_STARTED: the channel group has been destroyed, or its engine left"


@pytest.mark.parametrize("error", AmpeError)
def test_every_error_has_its_own_exception(error: AmpeError) -> None:
    caught = refusal(error, Message())
    assert caught.error_code is error
    assert re.match(f"{error.name}(: .+)?$", str(caught))


def test_no_channel_number_is_free() -> None:
    text = str(refusal(AmpeError.ALLOCATION_FAILED, Message()))
    assert text == "ALLOCATION_FAILED: all channel numbers are in use"
