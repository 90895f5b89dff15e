"""What `post` refuses, in which order, and what it does to the message (PROTOCOL 3)."""

import subprocess
import sys
from collections.abc import Callable
from typing import Final

import pytest

from pytofu import (
    AmpeException,
    AmpeStatus,
    ChannelClosedException,
    Holder,
    InvalidChannelNumberException,
    InvalidMessageChannelGroupException,
    InvalidOpCodeException,
    Message,
    MessageReleasedError,
    NotAllowedException,
    NullMessageException,
    OpCode,
    ProtoFields,
    ShutdownException,
    TCPServerAddress,
    WrongAddressException,
)
from pytofu.engine import channel_numbers
from tests.support import (
    App,
    End,
    Event,
    RawPeer,
    ServerAddress,
    Side,
    address_headers,
    closed,
    connect_apps,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
)

LOOPBACK: Final = TCPServerAddress("127.0.0.1", 0)
TOO_LONG: Final = 65536
OPENERS: Final = (OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST)
RESPONSES: Final = (OpCode.RESPONSE, OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE)
REGULAR: Final = (OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL)
SENDABLE: Final = tuple(opcode for opcode in OpCode if opcode is not OpCode.WELCOME_RESPONSE)
UNKNOWN: Final = 65535
"""A number that no channel ever has."""


def refused(app: App, message: Message) -> AmpeStatus:
    """Post it: it stays in the holder, and its status is the error."""
    holder = Holder(message)
    with pytest.raises(AmpeException) as caught:
        app.chnls.post(holder)
    assert holder.value is message
    assert message.status == caught.value.error_code.to_status()
    return message.status


def with_headers(message: Message, length: int) -> None:
    """Give the message text headers of so many bytes."""
    message.text_headers.append("h", "v" * (length - len("h:\r\n")))
    assert len(message.text_headers) == length


# Each step of PROTOCOL 3 with what makes it fail, in the order of the steps.


def with_bad_opcode(message: Message) -> None:
    message.header.proto_byte |= 0b1111


def with_response_without_id(message: Message) -> None:
    message.opcode = OpCode.BYE_RESPONSE
    message.message_id = 0


def with_more_on_bye(message: Message) -> None:
    if message.opcode in REGULAR:
        message.opcode = OpCode.BYE_SIGNAL
    message.more = True


def without_channel(message: Message) -> None:
    message.channel_number = 0


def with_long_headers(message: Message) -> None:
    with_headers(message, TOO_LONG)


def with_long_body(message: Message) -> None:
    message.set_payload(bytes(TOO_LONG))


STEPS: Final[tuple[tuple[Callable[[Message], None], AmpeStatus], ...]] = (
    (with_bad_opcode, AmpeStatus.INVALID_OP_CODE),
    (with_response_without_id, AmpeStatus.INVALID_MESSAGE_ID),
    (with_more_on_bye, AmpeStatus.INVALID_MORE_USAGE),
    (without_channel, AmpeStatus.INVALID_CHANNEL_NUMBER),
    (with_long_headers, AmpeStatus.INVALID_HEADERS_LEN),
    (with_long_body, AmpeStatus.INVALID_BODY_LEN),
)


async def test_empty_holder() -> None:
    async with open_app() as app:
        with pytest.raises(NullMessageException):
            app.chnls.post(Holder())
        with pytest.raises(NullMessageException):
            await app.chnls.send(Holder())


@pytest.mark.parametrize(
    ("first", "last"),
    [(first, last) for last in range(len(STEPS)) for first in range(last + 1)],
)
async def test_of_several_mistakes_the_first_step_counts(first: int, last: int) -> None:
    async with open_app() as app:
        message = Message()
        message.message_id = 5
        message.channel_number = UNKNOWN
        for make, _ in reversed(STEPS[first : last + 1]):
            make(message)
        assert refused(app, message) is STEPS[first][1]
        assert await app.rest() == []


@pytest.mark.parametrize("opcode", range(10, 16))
async def test_no_opcode(opcode: int) -> None:
    async with open_app() as app:
        message = Message()
        message.header.proto_byte = opcode
        assert refused(app, message) is AmpeStatus.INVALID_OP_CODE


async def test_welcome_response_is_the_engines_own() -> None:
    async with open_app() as app:
        listener = await app.listen(LOOPBACK)
        for channel in (0, listener.number, UNKNOWN):
            with pytest.raises(InvalidOpCodeException):
                app.post(OpCode.WELCOME_RESPONSE, channel, 5)
        assert await app.rest() == []


@pytest.mark.parametrize("opcode", RESPONSES)
async def test_response_without_message_id(opcode: OpCode) -> None:
    async with open_app() as app:
        message = Message()
        message.opcode = opcode
        message.channel_number = UNKNOWN
        assert refused(app, message) is AmpeStatus.INVALID_MESSAGE_ID


@pytest.mark.parametrize("opcode", [opcode for opcode in SENDABLE if opcode not in REGULAR])
async def test_more_on_what_is_not_regular(opcode: OpCode) -> None:
    async with open_app() as app:
        message = Message()
        message.opcode = opcode
        message.message_id = 5
        message.more = True
        assert refused(app, message) is AmpeStatus.INVALID_MORE_USAGE


@pytest.mark.parametrize("opcode", [opcode for opcode in SENDABLE if opcode not in OPENERS])
async def test_channel_0_is_for_openers(opcode: OpCode) -> None:
    async with open_app() as app:
        message = Message()
        message.opcode = opcode
        message.message_id = 5
        assert refused(app, message) is AmpeStatus.INVALID_CHANNEL_NUMBER


@pytest.mark.parametrize("opcode", OPENERS)
@pytest.mark.parametrize("channel", [0, UNKNOWN])
async def test_opener_without_headers_has_no_address(opcode: OpCode, channel: int) -> None:
    async with open_app() as app:
        with pytest.raises(WrongAddressException):
            app.post(opcode, channel, body=bytes(TOO_LONG))
        assert await app.rest() == []


@pytest.mark.parametrize("opcode", SENDABLE)
async def test_unknown_channel(opcode: OpCode) -> None:
    async with open_app() as app:
        message = Message()
        message.opcode = opcode
        message.message_id = 5
        message.channel_number = UNKNOWN
        message.text_headers.append("a", "b")
        assert refused(app, message) is AmpeStatus.INVALID_CHANNEL_NUMBER


async def test_origin_status_and_lengths_are_set_before_anything_is_refused() -> None:
    async with open_app() as app:
        message = Message()
        message.header.proto_byte = 0b0001_0000 | OpCode.RESPONSE
        message.status = AmpeStatus.POOL_EMPTY
        message.header.text_headers_len = message.header.body_len = 99
        assert refused(app, message) is AmpeStatus.INVALID_MESSAGE_ID
        header = message._header
        assert header.proto_byte == OpCode.RESPONSE
        assert (header.text_headers_len, header.body_len) == (0, 0)


async def test_an_invalid_opcode_changes_nothing_but_the_status() -> None:
    async with open_app() as app:
        message = Message()
        message.header.proto_byte = 0b0001_1010
        message.header.body_len = 99
        assert refused(app, message) is AmpeStatus.INVALID_OP_CODE
        assert (message._header.proto_byte, message._header.body_len) == (0b0001_1010, 99)


# ---------------------------------------------------------------------- step 7


async def test_ids_are_assigned_one_after_the_other_in_all_engines(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        header = pair.client.post(OpCode.REQUEST)
        assert header.message_id > pair.client.message_id > pair.listener.message_id > 0
        assert pair.server.post(OpCode.REQUEST).message_id == header.message_id + 1
        assert pair.client.post(OpCode.REQUEST, 2**64 - 1).message_id == 2**64 - 1
        assert pair.client.post(OpCode.SIGNAL).message_id == header.message_id + 2
        assert await pair.server.app.events(3) == [
            from_app(OpCode.REQUEST, pair.server.number, header.message_id),
            from_app(OpCode.REQUEST, pair.server.number, 2**64 - 1),
            from_app(OpCode.SIGNAL, pair.server.number, header.message_id + 2),
        ]


def test_the_first_id_of_a_process_is_1() -> None:
    program = """
import trio
from pytofu import *
async def main():
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            TCPServerAddress("127.0.0.1", 0).format(holder.value)
            print(chnls.post(holder).message_id)
trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.split() == ["1"]


# ---------------------------------------------------------------------- step 8


@pytest.mark.parametrize("opcode", SENDABLE)
async def test_another_groups_channel(opcode: OpCode) -> None:
    async with open_pair(LOOPBACK) as pair:
        ampe = pair.client.app.ampe
        async with ampe.open_channel_group() as chnls:
            other = App(ampe, chnls)
            with pytest.raises(InvalidMessageChannelGroupException):
                other.post(opcode, pair.client.number, 5, headers=(("a", "b"),))
            assert await other.rest() == []
        pair.client.post(OpCode.REQUEST, 6)
        assert await pair.server.app.event() == from_app(OpCode.REQUEST, pair.server.number, 6)


async def test_another_groups_listener() -> None:
    async with open_app() as app, app.ampe.open_channel_group() as chnls:
        listener = await app.listen(LOOPBACK)
        with pytest.raises(InvalidMessageChannelGroupException):
            App(app.ampe, chnls).post(OpCode.BYE_SIGNAL, listener.number)


@pytest.mark.parametrize("opcode", SENDABLE)
async def test_closed_channel(opcode: OpCode, side: Side) -> None:
    async with open_pair(LOOPBACK) as pair:
        near, far = pair.ends(side)
        far.post(OpCode.BYE_SIGNAL)
        assert await near.events_until_closed() == [near.closed(AmpeStatus.COMMUNICATION_FAILED)]
        with pytest.raises(ChannelClosedException):
            near.app.post(opcode, near.number, 5, headers=(("a", "b"),))
        assert await near.app.rest() == []


async def test_a_closed_channels_number_is_forgotten_after_1024_others() -> None:
    async with open_app() as app:

        async def open_and_close() -> int:
            header = app.post(OpCode.HELLO_REQUEST, headers=(("~connect_to", "nonsense"),))
            assert (await app.events_until_closed(header.channel_number))[-1] == closed(
                header.channel_number, header.message_id, AmpeStatus.INVALID_ADDRESS
            )
            return header.channel_number

        first = await open_and_close()
        numbers = {await open_and_close() for _ in range(1023)}
        assert len(numbers | {first}) == 1024  # none was given out twice
        assert numbers <= set(range(1, 65535))
        with pytest.raises(ChannelClosedException):
            app.post(OpCode.SIGNAL, first)
        number = await open_and_close()
        with pytest.raises(InvalidChannelNumberException):
            app.post(OpCode.SIGNAL, first)
        with pytest.raises(ChannelClosedException):
            app.post(OpCode.SIGNAL, number)


@pytest.mark.parametrize(
    "opcode",
    [opcode for opcode in SENDABLE if opcode is not OpCode.BYE_SIGNAL],
)
async def test_a_listener_takes_nothing_but_a_bye_signal(
    opcode: OpCode, address: ServerAddress
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with pytest.raises(NotAllowedException):
            app.post(opcode, listener.number, 5, headers=address_headers(listener.address))
        assert await app.rest() == []
        client = app.connect(listener.client_address)  # it is alive
        await app.accept(listener.client_address, client.message_id)


@pytest.mark.parametrize("opcode", [*REGULAR, OpCode.BYE_REQUEST])
async def test_before_the_hello_is_answered_only_its_answer_may_be_posted(
    opcode: OpCode, address: ServerAddress
) -> None:
    """A connecting peer would punish anything else. What is refused leaves no trace."""
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5))
            number = (await app.event()).channel
            message = app.message(opcode, number, 6, body=b"too early").unwrap()
            assert refused(app, message) is AmpeStatus.NOT_ALLOWED
            app.post(OpCode.HELLO_RESPONSE, number, 5)
            app.chnls.post(Holder(message))
            assert (await peer.receive_frame()).opcode is OpCode.HELLO_RESPONSE
            received = await peer.receive_frame()
            assert (received.opcode, received.body) == (opcode, b"too early")


async def test_a_client_never_posts_a_hello_response(address: ServerAddress) -> None:
    async with open_app() as app, open_app() as server:
        listener = await server.listen(address)

        def refused_on(end: End) -> None:
            with pytest.raises(NotAllowedException):
                end.post(OpCode.HELLO_RESPONSE, 5)

        connecting = app.connect(listener.client_address)
        refused_on(connecting)
        accepted = await server.accept(listener.client_address, connecting.message_id)
        refused_on(connecting)
        accepted.post(OpCode.HELLO_RESPONSE, connecting.message_id)
        assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
        refused_on(connecting)
        connecting.post(OpCode.BYE_REQUEST, 6)
        refused_on(connecting)
        assert await server.event() == from_app(OpCode.BYE_REQUEST, accepted.number, 6)
        assert await app.rest() == await server.rest() == []


async def test_a_received_message_is_for_its_channel_whoever_has_the_number(
    address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_numbers, "RECENT", 0)
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        client_end, first = await connect_apps(client, listener)
        client_end.post(OpCode.REQUEST, 6)
        message = await server.receive()
        first.post(OpCode.BYE_SIGNAL)
        await first.events_until_closed()
        await client_end.events_until_closed()
        monkeypatch.setattr(channel_numbers._random, "randint", lambda *_: first.number)
        client_end, second = await connect_apps(client, listener)
        assert second.number == first.number
        message.opcode = OpCode.RESPONSE
        assert refused(server, message) is AmpeStatus.CHANNEL_CLOSED
        second.post(OpCode.SIGNAL, 7)  # this one is for the new owner
        assert await client.event() == from_app(OpCode.SIGNAL, client_end.number, 7)


async def test_welcome_request_on_a_connection(side: Side) -> None:
    async with open_pair(LOOPBACK) as pair:
        near, far = pair.ends(side)
        with pytest.raises(NotAllowedException):
            near.app.post(OpCode.WELCOME_REQUEST, near.number, headers=address_headers(LOOPBACK))
        near.post(OpCode.REQUEST, 6)
        assert await far.app.event() == from_app(OpCode.REQUEST, far.number, 6)
        assert await near.app.rest() == []


async def test_hello_request_on_a_connection_closes_it(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        headers = address_headers(LOOPBACK)
        header = pair.app.post(
            OpCode.HELLO_REQUEST, pair.end.number, 9, headers=headers, body=b"again"
        )
        assert (header.channel_number, header.message_id) == (pair.end.number, 9)
        assert await pair.end.events_until_closed() == [
            from_engine(
                OpCode.HELLO_RESPONSE,
                AmpeStatus.INVALID_CHANNEL_NUMBER,
                pair.end.number,
                9,
                headers=headers,
                body=b"again",
            ),
            pair.end.closed(AmpeStatus.INVALID_CHANNEL_NUMBER),
        ]
        assert (await pair.peer.ending())[0] == b""


# ---------------------------------------------------------------------- step 9


async def test_shutting_down_is_found_last() -> None:
    async with open_app() as app:
        listener = await app.listen(LOOPBACK)
        async with app.ampe.open_channel_group() as chnls:
            other = App(app.ampe, chnls)
            own = await other.listen(LOOPBACK)
        with pytest.raises(NullMessageException):
            chnls.post(Holder())
        for make, status in STEPS:
            message = Message()
            message.message_id = 5
            message.channel_number = UNKNOWN
            make(message)
            assert refused(other, message) is status
        with pytest.raises(WrongAddressException):
            other.post(OpCode.HELLO_REQUEST)
        with pytest.raises(InvalidChannelNumberException):
            other.post(OpCode.REQUEST, UNKNOWN)
        with pytest.raises(InvalidMessageChannelGroupException):
            other.post(OpCode.BYE_SIGNAL, listener.number)
        with pytest.raises(ShutdownException):
            other.post(OpCode.BYE_SIGNAL, own.number)  # shutting down is why it has closed
        for opcode in OPENERS:
            with pytest.raises(ShutdownException):
                other.post(opcode, headers=address_headers(LOOPBACK))


# ---------------------------------------------------------------------- accepted


async def test_what_is_accepted_leaves_the_holder_and_gets_its_numbers() -> None:
    async with open_pair(LOOPBACK) as pair:
        app = pair.client.app
        holder = app.message(OpCode.REQUEST, pair.client.number, body=b"abc")
        message = holder.value
        assert message is not None
        message.text_headers.append("a", "b")
        header = app.chnls.post(holder)
        assert holder.is_empty()
        with pytest.raises(MessageReleasedError):
            _ = message.header
        with pytest.raises(MessageReleasedError):
            app.chnls.post(Holder(message))
        assert header.channel_number == pair.client.number
        assert header.message_id > 0
        assert header.status == AmpeStatus.SUCCESS
        assert header.proto == ProtoFields(OpCode.REQUEST)
        assert (header.text_headers_len, header.body_len) == (len("a:b\r\n"), 3)


async def test_the_largest_message_goes_and_one_byte_more_does_not(
    address: ServerAddress, side: Side
) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        message = Message()
        message.channel_number = near.number
        with_headers(message, TOO_LONG - 1)
        message.set_payload(bytes(TOO_LONG - 1))
        expected = Event.of(message)
        header = near.app.chnls.post(Holder(message))
        assert await far.app.event() == from_app(
            OpCode.REQUEST,
            far.number,
            header.message_id,
            headers=expected.headers,
            body=expected.body,
        )


async def test_the_engines_own_bits_are_cleared_on_the_wire(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address) as pair:
        message = Message()
        message.header.proto_byte = 0b1101_0000 | OpCode.SIGNAL  # both internal bits, and origin
        message.status = AmpeStatus.UNKNOWN_ERROR
        message.channel_number = pair.end.number
        message.message_id = 8
        pair.app.chnls.post(Holder(message))
        assert await pair.peer.receive_bytes(16) == frame(OpCode.SIGNAL, 8, channel=pair.end.number)
