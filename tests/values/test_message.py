import copy
import inspect
import pickle
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pytofu.engine.accounts import UNCOUNTED
from pytofu.patterns.result import OK, Err
from pytofu.public.borrowing import borrowed_message
from pytofu.values.errors import AmpeException
from pytofu.values.header import BinaryHeader, MoreMessagesFlag, OpCode, OriginFlag, ProtoFields
from pytofu.values.holder import Holder
from pytofu.values.message import Message, MessageReleasedError, next_message_id
from pytofu.values.releases import trace_releases
from pytofu.values.status import AmpeError, AmpeStatus
from tests.support import App, End, ServerAddress, open_app, open_pair

properties = settings(deadline=None)

headers = st.builds(
    BinaryHeader,
    st.integers(0, 65535),
    st.builds(
        ProtoFields,
        st.sampled_from(OpCode),
        st.sampled_from(OriginFlag),
        st.sampled_from(MoreMessagesFlag),
        st.booleans(),
        st.booleans(),
    ),
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
)
texts = st.lists(st.sampled_from([b"a:b\r\n", b"c: d \r\n", b"\r\n"]), max_size=4).map(b"".join)
messages = st.builds(Message, headers, texts, st.binary(max_size=20))

every_opcode = pytest.mark.parametrize("opcode", OpCode, ids=lambda opcode: opcode.name)


def contents(message: Message) -> tuple[bytes, bytes, bytes]:
    """All that a message says; asking leaves it as it is."""
    return (
        message.header.to_bytes(),
        message.text_headers.to_bytes(),
        message.payload,
    )


def touch(message: Message) -> Message:
    """Make text headers and body objects, as asking for them does."""
    assert message.text_headers is message.text_headers
    assert message.body is message.body
    return message


# ---------------------------------------------------------------------- fields


class TestHeaderFields:
    def test_a_new_message(self) -> None:
        message = Message()
        assert message.opcode is OpCode.REQUEST
        assert message.channel_number == message.message_id == 0
        assert message.status is AmpeStatus.SUCCESS
        assert message.more is MoreMessagesFlag.LAST
        assert not message.has_more()
        assert message.is_from_application()
        assert not message.is_from_engine()
        assert len(message.text_headers) == 0
        assert message.payload == b""
        assert message.body.body is None
        assert message.to_bytes() == bytes(16)

    def test_new_messages_share_nothing(self) -> None:
        first, second = Message(), Message()
        first.message_id = 1
        first.text_headers.append("a", "b")
        first.body.append(b"x")
        assert second.to_bytes() == bytes(16)

    @given(headers)
    @properties
    def test_are_those_of_the_header(self, header: BinaryHeader) -> None:
        message = Message(header)
        fields = header.proto
        assert message.header is message.binary_header is header
        assert message.opcode is fields.opcode
        assert message.channel_number == header.channel_number
        assert message.message_id == header.message_id
        assert message.status is AmpeStatus.from_wire(header.status)
        assert message.more is fields.more
        assert message.has_more() is bool(fields.more)
        assert message.is_from_engine() is (fields.origin is OriginFlag.ENGINE)
        assert message.is_from_application() is (fields.origin is OriginFlag.APPLICATION)

    @given(headers, st.sampled_from(OpCode))
    @properties
    def test_opcode_leaves_the_flags_alone(self, header: BinaryHeader, opcode: OpCode) -> None:
        message = Message(header)
        expected = attrs.evolve(header.proto, opcode=opcode)
        message.opcode = opcode
        assert header.proto == expected

    @given(headers, st.booleans())
    @properties
    def test_more_leaves_the_rest_alone(self, header: BinaryHeader, more: bool) -> None:
        message = Message(header)
        expected = attrs.evolve(header.proto, more=MoreMessagesFlag(more))
        for value in (more, MoreMessagesFlag(more)):
            message.more = value
            assert header.proto == expected
            assert message.more is MoreMessagesFlag(more)

    def test_can_be_written(self) -> None:
        message = Message()
        message.channel_number = 7
        message.message_id = 2**64 - 1
        message.status = AmpeStatus.POOL_EMPTY
        assert message.header == BinaryHeader(7, 0, 19, 2**64 - 1)

    @pytest.mark.parametrize("opcode", range(10, 16))
    def test_no_opcode(self, opcode: int) -> None:
        with pytest.raises(AmpeException) as caught:
            _ = Message(BinaryHeader(proto=opcode)).opcode
        assert caught.value.error_code is AmpeError.INVALID_OP_CODE

    @given(headers, st.sampled_from(AmpeStatus), st.sampled_from([None, *OpCode]))
    @properties
    def test_marks(self, header: BinaryHeader, status: AmpeStatus, opcode: OpCode | None) -> None:
        message = Message(header)
        fields = header.proto
        message.mark_from_engine(status, opcode)
        assert message.is_from_engine()
        assert message.status is status
        assert message.opcode is (fields.opcode if opcode is None else opcode)
        message.mark_from_application(AmpeStatus.RECEIVER_UPDATE)
        assert message.is_from_application()
        assert message.status is AmpeStatus.RECEIVER_UPDATE
        assert message.more is fields.more
        assert header.proto.internal_a == fields.internal_a
        assert header.proto.internal_b == fields.internal_b

    def test_has_no_other_attributes(self) -> None:
        with pytest.raises(AttributeError):
            Message().chanel_number = 1  # type: ignore[attr-defined]


class TestContents:
    def test_text_headers_are_read_and_extended(self) -> None:
        message = Message(text_headers=b"a:b\r\n")
        assert list(message.text_headers) == [("a", "b")]
        message.text_headers.append("c", "d")
        assert message.text_headers.to_bytes() == b"a:b\r\nc:d\r\n"

    def test_body_and_payload_are_the_same_bytes(self) -> None:
        message = Message(body=b"abc")
        assert message.payload == b"abc"
        message.body.append(b"def")
        assert message.payload == bytes(message.body) == b"abcdef"
        message.set_payload(b"xyz")
        assert message.payload == bytes(message.body) == b"xyz"

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_a_payload_that_may_change_is_copied(
        self, kind: Callable[[bytearray], bytearray | memoryview]
    ) -> None:
        data = bytearray(b"abc")
        message = Message()
        message.set_payload(kind(data))
        data[0] = ord("x")
        assert message.payload == b"abc"
        assert type(message.payload) is bytes

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_text_headers_as_bytes(self, kind: Callable[[bytes], bytes]) -> None:
        message = Message()
        message.text_headers.append("before", "x")
        message.set_text_headers(kind(b"a:b\r\n"))
        assert message.raw_text_headers == b"a:b\r\n"
        assert message.text_headers.get_all("a") == ["b"]
        message.text_headers.append("c", "d")
        assert message.raw_text_headers == b"a:b\r\nc:d\r\n"

    def test_text_headers_that_are_no_bytes(self) -> None:
        message = Message()
        with pytest.raises(TypeError, match="set_text_headers takes bytes"):
            message.set_text_headers("a:b\r\n")  # type: ignore[arg-type]
        assert message.raw_text_headers == b""

    def test_a_payload_of_bytes_is_not_copied(self) -> None:
        data = b"abc" * 100
        message = Message()
        message.set_payload(data)
        assert message.payload is data

    def test_copy_header_to_body(self) -> None:
        message = Message(BinaryHeader(1, 2, 3, 4), b"a:b\r\n", b"old")
        message.copy_header_to_body()
        assert BinaryHeader.from_bytes(message.payload) == BinaryHeader(1, 2, 3, 4)
        assert len(message.text_headers) == 5

    @given(messages, st.booleans())
    @properties
    def test_to_bytes_is_the_frame(self, message: Message, touched: bool) -> None:
        if touched:
            touch(message)
        raw, text, body = contents(message)
        expected = BinaryHeader.from_bytes(raw)
        expected.text_headers_len, expected.body_len = len(text), len(body)
        assert message.to_bytes() == expected.to_bytes() + text + body
        assert contents(message) == (raw, text, body)

    @given(messages, st.booleans())
    @properties
    def test_reset(self, message: Message, touched: bool) -> None:
        if touched:
            touch(message)
        message.reset()
        assert message.to_bytes() == Message().to_bytes()
        assert message.header == BinaryHeader()

    def test_repr(self) -> None:
        message = Message(BinaryHeader(7, 0b0011_0001, AmpeStatus.POOL_EMPTY, 9), body=b"abc")
        assert repr(message) == "<Message RESPONSE channel=7 id=9 engine pool_empty, more 3B>"
        assert repr(touch(message)) == repr(message)
        assert repr(Message(BinaryHeader(proto=12))).startswith("<Message opcode 12 channel=0")


CHANGES: Final[list[Callable[[Message], object]]] = [
    lambda message: setattr(message, "opcode", OpCode.BYE_SIGNAL),
    lambda message: setattr(message, "channel_number", 77),
    lambda message: setattr(message, "message_id", 77),
    lambda message: setattr(message, "status", AmpeStatus.POOL_EMPTY),
    lambda message: setattr(message, "more", not message.more),
    lambda message: setattr(message.header, "body_len", 77),
    lambda message: message.text_headers.append("x", "y"),
    lambda message: message.text_headers.clear(),
    lambda message: message.body.append(b"x"),
    lambda message: message.body.clean(),
    lambda message: message.set_payload(b"x"),
    lambda message: message.copy_header_to_body(),
    lambda message: message.mark_from_engine(AmpeStatus.SEND_FAILED),
    lambda message: message.check_and_prepare(),
    lambda message: message.reset(),
    lambda message: message.release(),
]


def through_pickle(message: Message) -> Message:
    copied = pickle.loads(pickle.dumps(message))
    assert isinstance(copied, Message)
    return copied


COPIES: Final = (Message.clone, copy.copy, copy.deepcopy, through_pickle)


class TestClone:
    @given(
        st.sampled_from(COPIES),
        messages,
        st.booleans(),
        st.booleans(),
        st.lists(st.sampled_from(CHANGES), max_size=6),
    )
    @properties
    def test_is_equal_and_independent(
        self,
        make: Callable[[Message], Message],
        message: Message,
        touched: bool,
        of_the_clone: bool,
        changes: list[Callable[[Message], object]],
    ) -> None:
        if touched:
            touch(message)
        before = contents(message)
        clone = make(message)
        assert contents(clone) == before
        changed, untouched = (clone, message) if of_the_clone else (message, clone)
        for change in changes:
            try:
                change(changed)
            except MessageReleasedError:
                break
        assert contents(untouched) == before

    @pytest.mark.parametrize("make", COPIES)
    def test_a_released_message_has_no_copies(self, make: Callable[[Message], Message]) -> None:
        with pytest.raises(MessageReleasedError):
            make(Message(body=b"x").release())

    @pytest.mark.parametrize("make", COPIES)
    def test_a_copy_owes_nothing(self, make: Callable[[Message], Message]) -> None:
        message = Message(_account=UNCOUNTED, _cost=5)
        assert (make(message)._account, make(message)._cost) == (None, 0)

    @pytest.mark.parametrize("make", COPIES)
    def test_objects_are_not_shared(self, make: Callable[[Message], Message]) -> None:
        message = touch(Message(text_headers=b"a:b\r\n", body=b"x"))
        clone = make(message)
        assert clone.header is not message.header
        assert clone.text_headers is not message.text_headers
        assert clone.body is not message.body


# ---------------------------------------------------------------------- validation


def request(
    opcode: OpCode = OpCode.REQUEST, channel_number: int = 7, message_id: int = 5
) -> Message:
    return Message(BinaryHeader(channel_number, opcode, 0, message_id))


class TestCheckAndPrepare:
    """PROTOCOL 3, steps 1 to 7; the original's table is in tests/conformance."""

    def refused(self, message: Message, error: AmpeError) -> None:
        assert message.check_and_prepare() == Err(error)
        assert message.header.status == error

    @pytest.mark.parametrize("opcode", range(10, 16))
    def test_no_opcode(self, opcode: int) -> None:
        self.refused(Message(BinaryHeader(7, opcode, 0, 5)), AmpeError.INVALID_OP_CODE)

    @every_opcode
    def test_responses_need_an_id(self, opcode: OpCode) -> None:
        message = Message(BinaryHeader(7, opcode), b"~connect_to:uds|x\r\n")
        if opcode.name.endswith("RESPONSE"):
            self.refused(message, AmpeError.INVALID_MESSAGE_ID)
            assert message.message_id == 0
        else:
            assert message.check_and_prepare() is OK
            assert message.message_id > 0

    @every_opcode
    def test_more_is_for_regular_messages(self, opcode: OpCode) -> None:
        message = request(opcode)
        message.text_headers.append("a", "b")
        message.more = True
        if opcode.type.name == "REGULAR":
            assert message.check_and_prepare() is OK
            assert message.has_more()
        else:
            self.refused(message, AmpeError.INVALID_MORE_USAGE)

    @every_opcode
    def test_channel_0_is_for_what_opens_one(self, opcode: OpCode) -> None:
        message = request(opcode, channel_number=0)
        message.text_headers.append("a", "b")
        if opcode in {OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST}:
            assert message.check_and_prepare() is OK
        else:
            self.refused(message, AmpeError.INVALID_CHANNEL_NUMBER)

    @every_opcode
    def test_what_opens_a_channel_needs_text_headers(self, opcode: OpCode) -> None:
        message = request(opcode)
        if opcode in {OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST}:
            self.refused(message, AmpeError.WRONG_ADDRESS)
        else:
            assert message.check_and_prepare() is OK

    @pytest.mark.parametrize("touched", [False, True])
    def test_lengths(self, touched: bool) -> None:
        for length in (0, 1, 65535):
            message = Message(request().header, b"x" * length, b"y" * length)
            if touched:
                touch(message)
            assert message.check_and_prepare() is OK
            assert message.header.text_headers_len == message.header.body_len == length
        for text, body, error in (
            (65536, 0, AmpeError.INVALID_HEADERS_LEN),
            (0, 65536, AmpeError.INVALID_BODY_LEN),
            (65536, 65536, AmpeError.INVALID_HEADERS_LEN),
        ):
            message = Message(request().header, b"x" * text, b"y" * body)
            self.refused(touch(message) if touched else message, error)

    def test_it_is_the_first_error_that_counts(self) -> None:
        message = Message(BinaryHeader(0, OpCode.WELCOME_RESPONSE), b"x" * 65536, b"y" * 65536)
        message.more = True
        self.refused(message, AmpeError.INVALID_MESSAGE_ID)
        message.message_id = 1
        self.refused(message, AmpeError.INVALID_MORE_USAGE)
        message.more = False
        self.refused(message, AmpeError.INVALID_CHANNEL_NUMBER)
        message.channel_number = 1
        self.refused(message, AmpeError.INVALID_HEADERS_LEN)
        message.text_headers.clear()
        self.refused(message, AmpeError.INVALID_BODY_LEN)
        message.set_payload(b"")
        assert message.check_and_prepare() is OK

    @given(headers, texts, st.binary(max_size=9))
    @properties
    def test_what_is_in_order_is_from_the_application_and_a_success(
        self, header: BinaryHeader, text: bytes, body: bytes
    ) -> None:
        header.text_headers_len = header.body_len = 999
        opcode, more, internal = header.proto.opcode, header.proto.more, header.proto.internal_a
        message = Message(header, text, body)
        if message.check_and_prepare() is OK:
            assert message.status is AmpeStatus.SUCCESS
            assert (header.text_headers_len, header.body_len) == (len(text), len(body))
            assert message.message_id > 0
        else:
            assert message.status is not AmpeStatus.SUCCESS
        assert message.is_from_application()
        assert message.opcode is opcode
        assert message.more is more
        assert header.proto.internal_a == internal
        assert (message.text_headers.to_bytes(), message.payload) == (text, body)

    def test_ids_are_assigned_in_order(self) -> None:
        first, second = request(message_id=0), request(message_id=0)
        assert first.check_and_prepare() is second.check_and_prepare() is OK
        assert second.message_id == first.message_id + 1
        assert next_message_id() == second.message_id + 1

    @pytest.mark.parametrize("message_id", [1, 2**64 - 1])
    def test_an_id_is_kept(self, message_id: int) -> None:
        message = request(message_id=message_id)
        assert message.check_and_prepare() is OK
        assert message.message_id == message_id

    @pytest.mark.parametrize("message_id", [-1, 2**64])
    @every_opcode
    def test_an_id_that_does_not_fit_the_header(self, opcode: OpCode, message_id: int) -> None:
        message = request(opcode, message_id=message_id)
        message.text_headers.append("a", "b")
        self.refused(message, AmpeError.INVALID_MESSAGE_ID)

    @pytest.mark.parametrize("message_id", [-1, 2**64])
    async def test_an_id_that_does_not_fit_the_header_opens_no_channel(
        self, message_id: int
    ) -> None:
        with trio.fail_after(2):
            async with open_app() as app:
                headers = (("~connect_to", "tcp|127.0.0.1|1"),)
                with pytest.raises(AmpeException) as caught:
                    app.post(OpCode.HELLO_REQUEST, 0, message_id, headers=headers)
                assert caught.value.error_code is AmpeError.INVALID_MESSAGE_ID
                assert app.chnls.statistics().channels == 0


# ---------------------------------------------------------------------- ownership


def public_names() -> list[str]:
    return [name for name in dir(Message) if not name.startswith("_")]


ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "mark_from_application": (AmpeStatus.SUCCESS,),
    "mark_from_engine": (AmpeStatus.SUCCESS,),
    "refuse": (AmpeError.NOT_ALLOWED,),
    "set_payload": (b"x",),
    "set_text_headers": (b"",),
}

VALUES: Final[dict[str, object]] = {
    "channel_number": 1,
    "message_id": 1,
    "more": True,
    "opcode": OpCode.SIGNAL,
    "status": AmpeStatus.SUCCESS,
}


def call(message: Message, name: str) -> object:
    return getattr(message, name)(*ARGUMENTS.get(name, ()))


def uses(message: Message) -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that can be done to a message by a public name."""
    for name in public_names():
        member = inspect.getattr_static(Message, name)
        if inspect.isdatadescriptor(member):  # a property, in Python or in C
            yield f"read {name}", partial(getattr, message, name)
            if name in VALUES:
                yield f"write {name}", partial(setattr, message, name, VALUES[name])
        else:
            assert inspect.isroutine(member), f"{name} is neither a property nor a method"
            yield f"call {name}", partial(call, message, name)


def check_released(message: Message, where: str = "") -> None:
    """Nothing can be done to the message, and the error says `where` it was released."""
    errors: dict[str, str] = {}
    for what, use in uses(message):
        try:
            use()
            errors[what] = "none"
        except MessageReleasedError as error:
            errors[what] = str(error)
    text = f"this message was posted or put back{where}; it is gone"
    assert {what: error for what, error in errors.items() if error != text} == {}


@pytest.fixture
def traced() -> Iterator[None]:
    trace_releases(True)
    yield
    trace_releases(False)


def line_before() -> str:
    """File and line in front of the caller's."""
    frame = sys._getframe(1)
    return f"{__file__}:{frame.f_lineno - 1}"


def test_the_walk_meets_every_public_name() -> None:
    names = {what.split()[1] for what, _ in uses(Message())}
    assert names == set(public_names())
    assert {"header", "opcode", "clone", "release", "text_headers", "to_bytes"} <= names
    assert set(ARGUMENTS) | set(VALUES) <= names


def test_every_use_is_possible_before_the_release() -> None:
    for index in range(len(list(uses(Message())))):
        _, use = list(uses(Message()))[index]
        use()


class TestRelease:
    @pytest.mark.parametrize("touched", [False, True])
    def test_nothing_can_be_done_afterwards(self, touched: bool) -> None:
        message = touch(Message()) if touched else Message()
        assert message.release() is message
        check_released(message)

    def test_repr_still_works(self) -> None:
        assert repr(Message().release()) == "<Message released>"

    def test_repr_does_not_depend_on_what_is_traced_later(self, traced: None) -> None:
        trace_releases(False)
        untraced = Message().release()
        trace_releases(True)
        assert repr(untraced) == "<Message released>"
        message = Message().release()
        where = line_before()
        trace_releases(False)
        assert repr(message) == f"<Message released at {where}>"

    def test_the_text_of_the_error(self) -> None:
        message = Message().release()
        with pytest.raises(MessageReleasedError, match="was posted or put back; it is gone"):
            _ = message.opcode

    def test_tracing_names_the_line(self, traced: None) -> None:
        message = Message().release()
        where = line_before()
        check_released(message, f" at {where}")
        assert repr(message) == f"<Message released at {where}>"

    def test_tracing_can_be_switched_off_again(self, traced: None) -> None:
        trace_releases(False)
        with pytest.raises(MessageReleasedError) as caught:
            Message().release().release()
        assert ".py" not in str(caught.value)

    def test_callers_inside_the_package_are_passed_over(self, traced: None) -> None:
        message = Message()
        inside = {"__name__": "pytofu.somewhere", "message": message}
        exec(compile("message.release()", "<inside>", "exec"), inside)
        check_released(message, f" at {line_before()}")


type Giving = Callable[[App, End, Message], Awaitable[str]]


async def by_put(app: App, end: End, message: Message) -> str:
    app.ampe.put(Holder(message))
    return line_before()


async def by_the_end_of_a_block(app: App, end: End, message: Message) -> str:
    with borrowed_message(app.ampe) as holder:
        where = line_before()
        holder.set(message)
    return where


async def by_post(app: App, end: End, message: Message) -> str:
    app.chnls.post(Holder(message))
    return line_before()


async def by_send(app: App, end: End, message: Message) -> str:
    await app.chnls.send(Holder(message))
    return line_before()


async def by_update_receiver(app: App, end: End, message: Message) -> str:
    app.chnls.update_receiver(Holder(message))
    return line_before()


async def by_opening_a_listener(app: App, end: End, message: Message) -> str:
    message.channel_number = 0
    message.opcode = OpCode.WELCOME_REQUEST
    message.text_headers.append("~listen_on", "tcp|127.0.0.1|0")
    app.chnls.post(Holder(message))
    return line_before()


async def by_connecting(app: App, end: End, message: Message) -> str:
    message.channel_number = 0
    message.opcode = OpCode.HELLO_REQUEST
    message.text_headers.append("~connect_to", "uds|/nowhere")
    app.chnls.post(Holder(message))
    return line_before()


async def by_closing(app: App, end: End, message: Message) -> str:
    message.opcode = OpCode.BYE_SIGNAL
    app.chnls.post(Holder(message))
    return line_before()


async def by_posting_behind_a_bye(app: App, end: End, message: Message) -> str:
    end.post(OpCode.BYE_REQUEST)
    app.chnls.post(Holder(message))
    return line_before()


WAYS: Final[list[Giving]] = [
    by_put,
    by_the_end_of_a_block,
    by_post,
    by_send,
    by_update_receiver,
    by_opening_a_listener,
    by_connecting,
    by_closing,
    by_posting_behind_a_bye,
]


class TestGivingAway:
    @pytest.mark.parametrize("give", WAYS, ids=lambda give: give.__name__)
    async def test_releases_the_message(
        self, give: Giving, address: ServerAddress, traced: None
    ) -> None:
        async with open_pair(address) as pair:
            app = pair.client.app
            message = app.ampe.get()
            assert message is not None
            message.channel_number = pair.client.number
            where = await give(app, pair.client, message)
            check_released(message, f" at {where}")

    async def test_a_loop_puts_back_what_it_has_moved_on_from(self, traced: None) -> None:
        async with open_app() as app:
            app.chnls.update_receiver(Holder())
            app.chnls.update_receiver(Holder())
            received = []
            where = ""
            async for holder in app.chnls:
                where = line_before()
                received.append(holder.value)
                if len(received) == 2:
                    break
            first, second = received
            assert first is not None
            assert second is not None
            check_released(first, f" at {where}")
            assert second.status is AmpeStatus.RECEIVER_UPDATE

    async def test_what_is_refused_is_not_released(self) -> None:
        async with open_app() as app:
            message = request(channel_number=12345)
            with pytest.raises(AmpeException):
                app.chnls.post(Holder(message))
            with pytest.raises(AmpeException):
                await app.chnls.send(Holder(message))
            assert message.status is AmpeStatus.INVALID_CHANNEL_NUMBER
            message.reset()
        with pytest.raises(AmpeException):
            app.chnls.update_receiver(Holder(message))
        message.reset()

    async def test_a_message_with_two_owners_is_found_out(self) -> None:
        async with open_app() as app:
            message = Message()
            app.ampe.put(Holder(message))
            with pytest.raises(MessageReleasedError):
                app.ampe.put(Holder(message))
            with pytest.raises(MessageReleasedError):
                app.chnls.post(Holder(message))
            with pytest.raises(MessageReleasedError):
                app.chnls.update_receiver(Holder(message))

    async def test_a_reference_stays_dead_when_the_pool_hands_out_the_next_message(self) -> None:
        async with open_app() as app:
            old = Message()
            app.ampe.put(Holder(old))
            borrowed = [app.ampe.get() for _ in range(5000)]
            assert all(message is not old for message in borrowed)
            check_released(old)


def test_a_message_that_was_interrupted_while_it_was_made_can_be_dropped() -> None:
    message = Message.__new__(Message)
    del message  # must not write to stderr: pytest would make an error of it
