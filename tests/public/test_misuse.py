"""What is none of what a call takes is refused, in words, before anything has changed."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pytofu import (
    Holder,
    MemoryClientAddress,
    Message,
    MessageReleasedError,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    UDSServerAddress,
    borrowed_message,
)
from pytofu.patterns.buffer import Appendable
from tests.support import App, open_app, open_pair

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)


@pytest.mark.parametrize("body", [5, [1, 2], "text", None, 1.5, object()])
def test_a_body_is_made_of_bytes(body: Any) -> None:
    message = Message()
    message.set_payload(b"before")
    with pytest.raises(TypeError, match="a body is made of bytes"):
        message.set_payload(body)
    assert message.payload == b"before"


@pytest.mark.parametrize(
    "body", [bytearray(b"abc"), memoryview(b"abcabc")[:3], Appendable(b"abc"), b"abc"]
)
def test_whatever_holds_bytes_is_a_body(body: Any) -> None:
    message = Message()
    message.set_payload(body)
    assert message.payload == b"abc"


def test_text_is_to_be_encoded() -> None:
    with pytest.raises(TypeError, match=r"data\.encode\(\)"):
        Message().set_payload("text")  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [("n", 5), (5, "v"), ("n", None), ("n", bytearray(b"v"))])
def test_a_text_header_is_text_or_bytes(header: Any) -> None:
    message = Message()
    with pytest.raises(TypeError, match="a text header is text or bytes"):
        message.text_headers.append(*header)
    assert not message.text_headers


@pytest.mark.parametrize("opcode", ["REQUEST", 1.0, None])
def test_an_opcode_is_an_opcode(opcode: Any) -> None:
    message = Message()
    with pytest.raises(TypeError, match="an opcode is an OpCode"):
        message.opcode = opcode
    assert message.opcode is OpCode.REQUEST


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TCPClientAddress("h", "80"), "a port is an int, 0 to 65535, not '80'"),  # type: ignore[arg-type]
        (lambda: TCPServerAddress("h", 8.0), "a port is an int"),  # type: ignore[arg-type]
        (lambda: TCPClientAddress(b"h", 80), "a host is a str, not b'h'"),  # type: ignore[arg-type]
        (lambda: TCPServerAddress(5, 80), "a host is a str"),  # type: ignore[arg-type]
        (lambda: UDSServerAddress(b"/x"), "a path is a str"),  # type: ignore[arg-type]
        (lambda: MemoryClientAddress(7), "a name is a str, not 7"),  # type: ignore[arg-type]
    ],
)
def test_an_address_is_made_of_text_and_a_number(make: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_a_path_may_be_a_path() -> None:
    assert UDSServerAddress(Path("/x")) == UDSServerAddress("/x")


# ---------------------------------------------------------------------- posting


async def test_a_message_goes_by_its_holder() -> None:
    async with open_app() as app:
        message: Any = app.ampe.get()
        for name, call in {
            "post": app.chnls.post,
            "put": app.ampe.put,
            "update_receiver": app.chnls.update_receiver,
        }.items():
            with pytest.raises(TypeError, match=rf"{name}\(Holder\(message\)\)"):
                call(message)
        with pytest.raises(TypeError, match=r"send\(Holder\(message\)\)"):
            await app.chnls.send(message)
        with pytest.raises(TypeError, match="the holder holds no message but b'bytes'"):
            app.chnls.post(Holder(b"bytes"))  # type: ignore[arg-type]
        assert message.payload == b""


@pytest.mark.parametrize("field", ["channel_number", "message_id"])
@pytest.mark.parametrize("make", [float, str])
async def test_the_numbers_of_a_message_are_ints(field: str, make: Callable[[int], Any]) -> None:
    async with open_pair(LOCALHOST) as pair:
        app: App = pair.client.app
        holder = app.message(OpCode.REQUEST, pair.client.number, 5, body=b"as it was")
        value = make(getattr(holder.unwrap(), field))
        right = getattr(holder.unwrap(), field)
        setattr(holder.unwrap(), field, value)
        with pytest.raises(TypeError, match=f"{field} is "):
            app.chnls.post(holder)
        setattr(holder.unwrap(), field, right)
        app.chnls.post(holder)
        assert (await pair.server.app.event()).body == b"as it was"


@pytest.mark.parametrize("message_id", [1.5, "1"])
async def test_so_are_those_of_one_that_opens_a_channel(message_id: Any) -> None:
    async with open_app() as app:
        with borrowed_message(app.ampe) as holder:
            LOCALHOST.format(holder.value)
            holder.unwrap().message_id = message_id
            with pytest.raises(TypeError, match="message_id is "):
                app.chnls.post(holder)
        assert app.chnls.statistics().channels == 0


async def test_nanoseconds_are_named() -> None:
    async with open_app() as app:
        with pytest.raises(TypeError):
            await app.chnls.wait_receive(5)  # type: ignore[call-overload]


# ---------------------------------------------------------------------- borrowing


def put_and_fail(app: App, holder: Holder[Message]) -> None:
    app.ampe.put(Holder(holder.value))  # a second owner
    raise ValueError("mine")


async def test_the_error_of_a_block_is_not_hidden_by_that_of_giving_back() -> None:
    async with open_app() as app:
        with (
            pytest.raises(ValueError, match="mine") as caught,
            borrowed_message(app.ampe) as holder,
        ):
            put_and_fail(app, holder)
        assert caught.value.__context__ is None
        assert "could not be put back: this message was posted" in caught.value.__notes__[0]
        with pytest.raises(MessageReleasedError), borrowed_message(app.ampe) as holder:
            app.ampe.put(Holder(holder.value))


# ---------------------------------------------------------------------- copies


def full_message() -> Message:
    message = Message()
    message.opcode = OpCode.REQUEST
    message.channel_number = 5
    message.text_headers.append("a", "b")
    message.set_payload(b"body")
    return message


def pickled(message: Message) -> Message:
    there_and_back: Message = pickle.loads(pickle.dumps(message))
    return there_and_back


DUPLICATES: Final[list[Callable[[Message], Message]]] = [
    copy.copy,
    copy.deepcopy,
    Message.clone,
    pickled,
]


@pytest.mark.parametrize("duplicate", DUPLICATES)
class TestCopies:
    def test_is_independent(self, duplicate: Callable[[Message], Message]) -> None:
        message = full_message()
        as_it_was = message.to_bytes()
        other = duplicate(message)
        assert other.to_bytes() == as_it_was
        other.channel_number = 9
        other.text_headers.append("c", "d")
        other.body.append(b"!")
        assert message.to_bytes() == as_it_was

    def test_does_not_bring_one_back(self, duplicate: Callable[[Message], Message]) -> None:
        message = full_message()
        message.release()
        with pytest.raises(MessageReleasedError):
            duplicate(message)

    async def test_is_charged_to_nobody(self, duplicate: Callable[[Message], Message]) -> None:
        async with open_app() as app:
            before = app.ampe.statistics().pool_free
            lent = app.ampe.get()
            assert lent is not None
            other = duplicate(lent)
            app.ampe.put(Holder(lent))
            other.release()
            assert app.ampe.statistics().pool_free == before
