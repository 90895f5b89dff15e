"""Wrong types at every door of the public interface: refused, in words, with nothing changed."""

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

import pytofu
from pytofu import (
    AmpeException,
    Appendable,
    BinaryHeader,
    ErrDefer,
    Holder,
    MemoryClientAddress,
    MemoryServerAddress,
    Message,
    NullMessageException,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    TextHeaders,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
    borrowed_message,
    catch_or,
    catch_with,
    open_ampe,
    parse_address,
    public_api,
    try_result,
    with_error_propagation,
    with_pool_message,
)
from tests.resources import nothing_left as nothing_left
from tests.support import App, open_app

WRONG: Final[dict[str, Any]] = {
    "int": 5,
    "float": 5.0,
    "bool": True,
    "str": "text",
    "bytes": b"bytes",
    "list": [1, 2],
    "dict": {"a": 1},
    "None": None,
    "object": object(),
    "Message": Message(body=b"m"),
    "Holder": Holder("text"),
    "class": Message,
}

type Call = Callable[[App, Any], object]

NUMBER: Final = frozenset({"int"})
TEXT: Final = frozenset({"str"})
BYTES: Final = frozenset({"bytes"})
FUNCTION: Final = frozenset({"class"})
NOBODY: Final = frozenset({"None"})
BOOL: Final = frozenset({"bool"})
NOTHING: Final[frozenset[str]] = frozenset()


def message_with(**fields: Any) -> Message:
    message = Message()
    for name, value in fields.items():
        setattr(message, name, value)
    return message


# What is called with the wrong thing, and which of them are right.
CALLS: Final[dict[str, tuple[Call, frozenset[str]]]] = {
    "open_ampe": (lambda app, x: open_ampe(x), NOBODY),
    "Ampe.put": (lambda app, x: app.ampe.put(x), NOTHING),
    # Whatever has a `get` may lend messages; a dict's gives None, as an empty pool does.
    "borrowed_message": (lambda app, x: borrowed_message(x).__enter__(), frozenset()),
    "ChannelGroup.post": (lambda app, x: app.chnls.post(x), NOTHING),
    "ChannelGroup.update_receiver": (lambda app, x: app.chnls.update_receiver(x), NOTHING),
    "Holder.post": (lambda app, x: app.chnls.post(Holder(x)), frozenset({"Message"})),
    "Message.opcode": (lambda app, x: message_with(opcode=x), NUMBER),
    "Message.channel_number": (lambda app, x: message_with(channel_number=x), NUMBER),
    "Message.message_id": (lambda app, x: message_with(message_id=x), NUMBER),
    "Message.status": (lambda app, x: message_with(status=x), NUMBER),
    "Message.set_payload": (lambda app, x: Message().set_payload(x), BYTES),
    "Message.body.append": (lambda app, x: Message().body.append(x), BYTES),
    "Message(header)": (lambda app, x: Message(x), NOBODY),
    "Message(text_headers)": (lambda app, x: Message(None, x), BYTES | NOBODY),
    "Message(body)": (lambda app, x: Message(None, b"", x), BYTES | NOBODY),
    "BinaryHeader.from_bytes": (lambda app, x: BinaryHeader.from_bytes(x), NOTHING),
    "BinaryHeader.to_bytes": (lambda app, x: BinaryHeader(message_id=x).to_bytes(), NUMBER | BOOL),
    "TextHeaders": (lambda app, x: TextHeaders(x), BYTES),
    "TextHeaders.from_bytes": (lambda app, x: TextHeaders.from_bytes(x), BYTES | NOBODY),
    "TextHeaders.append(name)": (lambda app, x: TextHeaders().append(x, "v"), TEXT | BYTES),
    "TextHeaders.append(value)": (lambda app, x: TextHeaders().append("n", x), TEXT | BYTES),
    "TextHeaders.get": (lambda app, x: TextHeaders().get(x), TEXT),
    "TextHeaders.get_all": (lambda app, x: TextHeaders().get_all(x), TEXT),
    "Appendable": (lambda app, x: Appendable(x), BYTES),
    "Appendable(capacity)": (lambda app, x: Appendable(b"", capacity=x), NUMBER),
    "Appendable(rounding)": (lambda app, x: Appendable(b"", rounding=x), NUMBER),
    "Appendable.copy": (lambda app, x: Appendable().copy(x), BYTES),
    "Appendable.change": (lambda app, x: Appendable().change(x), NUMBER),
    "Appendable.shrink": (lambda app, x: Appendable(b"123456").shrink(x), NUMBER),
    "TCPClientAddress(host)": (lambda app, x: TCPClientAddress(x), TEXT | NOBODY),
    "TCPClientAddress(port)": (lambda app, x: TCPClientAddress("h", x), NUMBER | NOBODY),
    "TCPServerAddress(host)": (lambda app, x: TCPServerAddress(x), TEXT | NOBODY),
    "TCPServerAddress(port)": (lambda app, x: TCPServerAddress("h", x), NUMBER | NOBODY),
    "UDSClientAddress": (lambda app, x: UDSClientAddress(x), TEXT),
    "UDSServerAddress": (lambda app, x: UDSServerAddress(x), TEXT),
    "MemoryClientAddress": (lambda app, x: MemoryClientAddress(x), TEXT),
    "MemoryServerAddress": (lambda app, x: MemoryServerAddress(x), TEXT),
    "TCPClientAddress.format": (
        lambda app, x: TCPClientAddress("h").format(x),
        frozenset({"Message"}),
    ),
    "WrongAddress.format": (lambda app, x: WrongAddress().format(x), NOTHING),
    "parse_address": (lambda app, x: parse_address(x), frozenset({"Message"})),
    "ErrDefer.register": (lambda app, x: ErrDefer().register(x), FUNCTION),
    "public_api": (lambda app, x: public_api(x), FUNCTION),
    "with_error_propagation": (lambda app, x: with_error_propagation(x), FUNCTION),
    "with_pool_message": (lambda app, x: with_pool_message(x), FUNCTION),
    "try_result": (lambda app, x: try_result(x), NOTHING),
    "catch_or": (lambda app, x: catch_or(x, 1), NOTHING),
    "catch_with": (lambda app, x: catch_with(x, pytofu.Err), NOTHING),
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("name", CALLS)
async def test_the_wrong_thing_is_refused_in_words(name: str) -> None:
    call, right = CALLS[name]
    async with open_app() as app:
        before = app.ampe.statistics(), app.chnls.statistics()
        accepted: list[str] = []
        texts: dict[str, str] = {}  # by what they have to name
        for kind, wrong in WRONG.items():
            try:
                call(app, wrong)
                accepted.append(kind)
            except AmpeException:
                pass  # what it says is tested where it belongs
            except (TypeError, ValueError) as error:
                texts[type(wrong).__name__.lower()] = str(error).lower()
            assert (app.ampe.statistics(), app.chnls.statistics()) == before
        assert set(accepted) <= right
        assert [text for name, text in texts.items() if name not in text] == []


@pytest.mark.parametrize("name", ["destroy", "send"])
async def test_so_it_is_where_it_is_awaited(name: str) -> None:
    async with open_app() as app:
        for wrong in WRONG.values():
            with pytest.raises((TypeError, NullMessageException)):
                await (app.ampe.destroy(wrong) if name == "destroy" else app.chnls.send(wrong))
        assert app.ampe.statistics().groups == 1


async def test_a_group_of_another_engine_is_not_destroyed() -> None:
    async with open_app() as app, open_app() as other:
        with pytest.raises(ValueError, match=r"given a group of another engine: <ChannelGroup"):
            await app.ampe.destroy(other.chnls)
        assert other.ampe.statistics().groups == 1


@pytest.mark.parametrize("given", [5, 0.5, None])
async def test_a_time_without_a_unit(given: Any) -> None:
    async with open_app() as app:
        app.chnls.update_receiver(Holder())
        wait_receive: Any = app.chnls.wait_receive
        text = f"wait_receive({given}) names no unit: limit the time by trio.move_on_after({given})"
        with pytest.raises(TypeError, match=re.escape(text)):
            await wait_receive(given)
        with pytest.raises(TypeError, match=r"timeout_ns takes a whole number, not float, 0\.5"):
            await wait_receive(timeout_ns=0.5)
        assert app.chnls.statistics().messages_waiting == 1


# ---------------------------------------------------------------------- what the texts say


def says(text: str, call: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError), match=f"^{re.escape(text)}"):
        call()


async def test_a_message_without_its_holder() -> None:
    async with open_app() as app:
        message: Any = app.ampe.get()
        rest = "takes a Holder with the message, not Message, <Message"
        says(f"ChannelGroup.post {rest}", lambda: app.chnls.post(message))
        says(f"Ampe.put {rest}", lambda: app.ampe.put(message))
        says(f"ChannelGroup.update_receiver {rest}", lambda: app.chnls.update_receiver(message))
        app.ampe.put(Holder(message))  # it is usable still


def test_looking_into_a_holder() -> None:
    holder: Any = Holder(Message())
    says(
        "a Holder has no attribute 'opcode'; what it holds may: holder.unwrap().opcode",
        lambda: holder.opcode,
    )
    assert not hasattr(holder, "payload")
    says("format takes a Message, not Holder", lambda: TCPClientAddress("h").format(holder))


def test_opcodes() -> None:
    message: Any = Message()
    wrong = "opcode takes an OpCode, not str, 'REQUEST': OpCode.REQUEST"
    says(wrong, lambda: setattr(message, "opcode", "REQUEST"))
    says("opcode is one of OpCode, 0 to 9, not 16", lambda: setattr(message, "opcode", 16))
    says("opcode is one of OpCode, 0 to 9, not -1", lambda: setattr(message, "opcode", -1))
    message.opcode = 12  # it has a place in the byte: `post` says that it is none
    assert message.header.proto_byte == 12


def test_what_is_for_reading() -> None:
    message: Any = Message()
    says(
        "`payload` is for reading: message.set_payload(data)",
        lambda: setattr(message, "payload", b""),
    )
    says("text headers have no ['n'], since names may repeat", lambda: message.text_headers["n"])


def test_ports_and_paths() -> None:
    port: Any = "80"
    path: Any = b"/tmp/s"
    says("port takes a whole number, not str, '80': int('80')", lambda: TCPClientAddress("h", port))
    says("path takes str or a Path, not bytes, b'/tmp/s': os.fsd", lambda: UDSServerAddress(path))


# ---------------------------------------------------------------------- behind the setters


@pytest.mark.parametrize(
    ("field", "message_id"), [("channel_number", 0), ("channel_number", 7), ("message_id", 7)]
)
@pytest.mark.parametrize("opcode", [OpCode.REQUEST, OpCode.BYE_REQUEST, OpCode.HELLO_REQUEST])
async def test_a_float_in_the_header_itself_is_refused_too(
    field: str, message_id: int, opcode: OpCode
) -> None:
    async with open_app() as server, open_app() as app:
        listener = await server.listen(MemoryServerAddress("misuse"))
        end = app.connect(listener.client_address)
        accepted = await server.accept(listener.client_address, end.message_id)
        accepted.post(OpCode.HELLO_RESPONSE, end.message_id)
        await app.event()
        opens = opcode is OpCode.HELLO_REQUEST
        holder = app.message(opcode, 0 if opens else end.number, message_id)
        message = holder.unwrap()
        if opens:
            listener.client_address.format(message)
        header: Any = message.header
        setattr(header, field, float(getattr(header, field)))
        before = app.chnls.statistics()
        says(
            f"BinaryHeader.{field} takes a whole number, not float", lambda: app.chnls.post(holder)
        )
        assert holder.unwrap() is message
        assert app.chnls.statistics() == before
        app.ampe.put(holder)
        end.post(OpCode.SIGNAL, body=b"all is well")
        assert (await server.event()).body == b"all is well"
