"""Every public callable with its arguments: the right ones, and which of the wrong are right too.

What is public is found by looking; here stands only what fits. `tests/public/test_inventory.py`
gives each of them every wrong thing in turn.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio
import trio.testing

import pytofu
from pytofu import (
    AllocationStrategy,
    Ampe,
    AmpeError,
    AmpeStatus,
    Appendable,
    Backoff,
    BinaryHeader,
    Codec,
    Err,
    ErrDefer,
    Holder,
    Incoming,
    MailBox,
    MemoryClientAddress,
    MemoryServerAddress,
    Message,
    MoreMessagesFlag,
    Ok,
    OpCode,
    Options,
    Peer,
    Service,
    TCPClientAddress,
    TCPServerAddress,
    TextHeaders,
    TLSClientAddress,
    TLSServerAddress,
    Topics,
    UDSClientAddress,
    UDSServerAddress,
    connect,
    serve,
)
from pytofu.peers.streams import Stream
from tests.public.wrong_things import NOT_GIVEN, Arg, anything, arg
from tests.support import End, open_pair


@attrs.frozen
class World:
    """What the callables work on, alive."""

    end: End
    """A channel between two engines; the peers are on the same engine."""
    peer: Peer
    lasting: Peer
    topics: Topics
    stream: Stream

    async def state(self) -> object:
        """What a call that is refused must not change, once everything has come to rest."""
        await trio.testing.wait_all_tasks_blocked()
        app = self.end.app
        peers = [(one.connected, one.queued_bytes) for one in (self.peer, self.lasting)]
        return app.ampe.statistics(), app.chnls.statistics(), peers


@asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    """One engine with a group and a channel of its own, and two peers."""
    topics = Topics()
    async with open_pair(MemoryServerAddress("inventory")) as pair, trio.open_nursery() as nursery:
        ampe = pair.client.app.ampe
        (where,) = await nursery.start(_serve, ampe, topics)
        async with (
            connect(where, ampe=ampe) as peer,
            connect(where, ampe=ampe, reconnect=Backoff()) as lasting,
            peer.stream() as stream,
        ):
            yield World(pair.client, peer, lasting, topics, stream)
        nursery.cancel_scope.cancel()


async def _serve(ampe: Ampe, topics: Topics, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
    where = "mem://inventory-peers"
    await serve(answer, where, topics=topics, ampe=ampe, task_status=task_status)


async def answer(peer: Peer, request: Incoming) -> bytes:
    """A handler. To what opens a stream it answers when that has ended."""
    if request.stream is not None:
        async for _ in request.stream:
            pass
    return request.body


async def greet(peer: Peer) -> None:
    """What is run for each peer."""


class Methods:
    """What a proxy is made of."""

    async def method(self) -> int: ...  # type: ignore[empty-body]


# ---------------------------------------------------------------------- kinds of arguments


@attrs.frozen
class Made:
    """An argument that is made anew for each call."""

    make: Callable[[World], Any]


def message_holder(_: World) -> Holder[Message]:
    message = Message(body=b"body")
    TCPClientAddress("127.0.0.1", 1).format(message)
    return Holder(message)


TLS: Final = arg(None, "None")
TEXT: Final = arg("news", "text")
ANY_TEXT: Final = arg("news", "text", "odd text")
BYTES: Final = arg(b"news", "bytes")
HEADERS: Final = arg({"name": "value"}, called="a text header")
NUMBER: Final = arg(7)
FUNCTION: Final = arg(lambda _: Ok(1), "class")
HANDLER: Final = arg(answer, "None", "class")
ON_PEER: Final = arg(greet, "None", "class")
HOLDER: Final = arg(Made(message_holder), called="Holder")
ERROR: Final = arg(AmpeError.NOT_ALLOWED)
RESULT: Final = arg(Ok(1), called="Result")
STRATEGY: Final = arg(AllocationStrategy.POOL_ONLY)
MESSAGE: Final = arg(Made(lambda _: Message()), called="Message")
HOST: Final = arg("localhost", "None", "text", "odd text")  # `format` says what is none
# `format` says that they are none.
OPTIONAL_PORT: Final = arg(7, "None", "negative", "huge", "enormous")
FIELD: Final = anything(7)  # `post` and `to_bytes` say so
SECONDS: Final = arg(1.0, "float", "infinite", "huge")
COUNT: Final = arg(7, "huge", "enormous")

OPTIONS: Final[dict[str, Arg]] = {
    **{
        field.name: attrs.evolve(SECONDS, good=field.default)
        for field in attrs.fields(Options)
        if isinstance(field.default, float)
    },
    **{
        field.name: attrs.evolve(COUNT, good=field.default)
        for field in attrs.fields(Options)
        if isinstance(field.default, int)
    },
    **dict.fromkeys(("initial_pool_msgs", "max_pool_msgs"), arg(7, "None", "huge", "enormous")),
    **dict.fromkeys(
        ("max_channels_per_host", "send_buffer", "receive_buffer"),
        arg(None, "None", "huge", "enormous"),
    ),
    **dict.fromkeys(("tls_server", "tls_client"), TLS),
    **{name: arg(False, "True") for name in ("in_clear", "reuse_port")},
    "accept_filter": arg(None, "None", "class"),
    "bye_timeout": SECONDS,
    "channel_share": arg(0.5),
}


# ---------------------------------------------------------------------- the table

type Receiver = Callable[[World], Any]


@attrs.frozen
class Entry:
    """A callable: on what it is called, and with what."""

    receiver: Receiver | None
    arguments: dict[str, Arg]


def of(receiver: Receiver | None, **arguments: Arg) -> Entry:
    """A method, or with None a function."""
    return Entry(receiver, arguments)


def function(**arguments: Arg) -> Entry:
    """What is called without an object."""
    return Entry(None, arguments)


def ampe(world: World) -> Any:
    return world.end.app.ampe


def chnls(world: World) -> Any:
    return world.end.app.chnls


def peer(world: World) -> Any:
    return world.peer


def lasting_peer(world: World) -> Any:
    return world.lasting


def message(_: World) -> Any:
    return Message(BinaryHeader(message_id=3), b"name:value\r\n", b"body")


def text_headers(_: World) -> Any:
    return TextHeaders(b"name:value\r\n")


def appendable(_: World) -> Any:
    return Appendable(b"twelve bytes")


def topics(world: World) -> Any:
    return world.topics


def ok(_: World) -> Any:
    return Ok(1)


def err(_: World) -> Any:
    return Err(1)


async def answer_number(number: int) -> int:
    """A method of a service."""
    return number


TABLE: Final[dict[str, Entry]] = {
    # engine
    "open_ampe": function(options=arg(Options(), "None")),
    "Options": function(**OPTIONS),
    "Ampe.get": of(ampe, strategy=STRATEGY),
    "Ampe.put": of(ampe, holder=HOLDER),
    "Ampe.create": of(ampe, tls_client=TLS, tls_server=TLS),
    "Ampe.open_channel_group": of(ampe, tls_client=TLS, tls_server=TLS),
    "Ampe.destroy": of(ampe, chnls=arg(Made(lambda world: world.end.app.ampe.create()))),
    "ChannelGroup.post": of(chnls, holder=HOLDER),
    "ChannelGroup.send": of(chnls, holder=HOLDER),
    "ChannelGroup.update_receiver": of(chnls, holder=HOLDER),
    "ChannelGroup.peer": of(
        lambda world: world.end.app.chnls, channel_number=arg(Made(lambda world: world.end.number))
    ),
    "ChannelGroup.wait_receive": of(
        chnls, misplaced=arg(NOT_GIVEN), timeout_ns=arg(1, "None", "negative", "huge", "enormous")
    ),
    "ChannelGroup.queued_bytes": of(chnls, channel_number=arg(1, "negative", "huge", "enormous")),
    # messages
    "Message": function(header=arg(BinaryHeader(), "None"), text_headers=BYTES, body=BYTES),
    "Message.opcode=": of(message, value=arg(OpCode.SIGNAL)),
    "Message.channel_number=": of(message, value=arg(7, "negative", "huge", "enormous")),
    "Message.message_id=": of(message, value=arg(7, "negative", "huge", "enormous")),
    "Message.status=": of(message, value=arg(AmpeStatus.SUCCESS)),
    "Message.more=": of(message, value=arg(MoreMessagesFlag.MORE, "True")),
    "Message.set_payload": of(message, data=BYTES),
    "Message.set_text_headers": of(message, raw=BYTES),
    "BinaryHeader": function(
        channel_number=FIELD,
        proto=arg(7, "negative", "huge", "enormous", "True"),
        status=FIELD,
        message_id=FIELD,
        text_headers_len=FIELD,
        body_len=FIELD,
    ),
    "BinaryHeader.proto=": of(
        lambda _: BinaryHeader(), value=arg(pytofu.ProtoFields(OpCode.SIGNAL))
    ),
    "BinaryHeader.from_bytes": function(data=arg(bytes(16))),
    "ProtoFields": function(
        opcode=arg(OpCode.SIGNAL, "True"),
        origin=arg(0, "True"),
        more=arg(1, "True"),
        internal_a=anything(True),
        internal_b=anything(True),
    ),
    "ProtoFields.default": function(opcode=arg(OpCode.SIGNAL, "True")),
    "ProtoFields.from_byte": function(byte=arg(7)),
    "TextHeader": function(name=anything("n"), value=anything("v")),
    "TextHeaders": function(raw=BYTES),
    "TextHeaders.append": of(
        text_headers, name=arg("n", "text", "bytes"), value=arg("v", "text", "bytes")
    ),
    "TextHeaders.try_append": of(
        text_headers,  # what is no header is a value
        name=arg("n", "text", "bytes", "odd text"),
        value=arg("v", "text", "bytes", "odd text"),
    ),
    "TextHeaders.from_bytes": function(raw=arg(b"", "bytes", "None")),
    "TextHeaders.get": of(text_headers, name=ANY_TEXT),
    "TextHeaders.get_all": of(text_headers, name=ANY_TEXT),
    "Appendable": function(data=BYTES, capacity=COUNT, rounding=COUNT),
    "Appendable.append": of(appendable, data=BYTES),
    "Appendable.copy": of(appendable, data=BYTES),
    "Appendable.change": of(appendable, length=NUMBER),
    "Appendable.shrink": of(appendable, count=NUMBER),
    "trace_releases": function(enabled=arg(False, "True")),
    # addresses
    **{
        f"{kind}{side}Address": function(host=HOST, port=OPTIONAL_PORT)
        for kind, side in (("TCP", "Client"), ("TCP", "Server"), ("TLS", "Server"))
    },
    "TLSClientAddress": function(
        host=HOST, port=OPTIONAL_PORT, server_hostname=arg("localhost", "None", "text", "odd text")
    ),
    "UDSClientAddress": function(path=ANY_TEXT),
    "UDSServerAddress": function(path=ANY_TEXT),
    "MemoryClientAddress": function(name=ANY_TEXT),
    "MemoryServerAddress": function(name=ANY_TEXT),
    "WrongAddress": function(reason=ANY_TEXT),
    "WrongAddress.format": of(lambda _: pytofu.WrongAddress(), message=anything(None)),
    "TCPClientAddress.format": of(lambda _: TCPClientAddress("h"), message=MESSAGE),
    "TCPServerAddress.format": of(lambda _: TCPServerAddress("h"), message=MESSAGE),
    "TLSClientAddress.format": of(lambda _: TLSClientAddress("h"), message=MESSAGE),
    "TLSServerAddress.format": of(lambda _: TLSServerAddress("h"), message=MESSAGE),
    "UDSClientAddress.format": of(lambda _: UDSClientAddress("h"), message=MESSAGE),
    "UDSServerAddress.format": of(lambda _: UDSServerAddress("h"), message=MESSAGE),
    "MemoryClientAddress.format": of(lambda _: MemoryClientAddress("h"), message=MESSAGE),
    "MemoryServerAddress.format": of(lambda _: MemoryServerAddress("h"), message=MESSAGE),
    "parse_address": function(message=MESSAGE),
    # errors
    "AmpeException": function(error=ERROR, message=ANY_TEXT),
    "AmpeException.from_error": function(error=ERROR, message=ANY_TEXT),
    # patterns
    "Holder": function(value=anything(1)),
    "Holder.set": of(lambda _: Holder(1), value=anything(1)),
    "borrowed_message": function(ampe=arg(Made(ampe)), strategy=STRATEGY),
    "with_pool_message": function(method=FUNCTION),
    "public_api": function(func=FUNCTION),
    "with_error_propagation": function(func=FUNCTION),
    "try_result": function(result=RESULT),
    "catch_or": function(result=RESULT, default=anything(1)),
    "catch_with": function(result=arg(Err(1)), handler=FUNCTION),
    "log_on_error": function(message=anything("news")),
    "Ok": function(value=anything(1)),
    "Ok.and_then": of(ok, func=FUNCTION),
    "Ok.map": of(ok, func=FUNCTION),
    "Ok.map_err": of(ok, func=anything(1)),
    "Ok.unwrap_or": of(ok, default=anything(1)),
    "Err": function(error=anything(1)),
    "Err.and_then": of(err, func=anything(1)),
    "Err.map": of(err, func=anything(1)),
    "Err.map_err": of(err, func=FUNCTION),
    "Err.unwrap_or": of(err, default=anything(1)),
    "ErrDefer.register": of(lambda _: ErrDefer(), func=FUNCTION, args=anything(1)),
    "MailBox.send": of(lambda _: MailBox[Any](), item=anything(1)),
    "MailBox.receive": of(lambda _: MailBox[Any](), timeout=SECONDS),
    # peers
    "connect": function(
        address=arg("mem://inventory-peers"),
        handler=HANDLER,
        hello=HEADERS,
        reconnect=arg(Backoff(), "None"),
        heartbeat=arg(1.0, "None", "float", "huge"),
        on_peer=ON_PEER,
        tls=TLS,
        ampe=arg(None, "None"),
    ),
    "serve": function(
        handler=HANDLER,
        addresses=arg("mem://another"),
        calls_per_peer=COUNT,
        admit=ON_PEER,
        on_peer=ON_PEER,
        topics=arg(Topics(), "None"),
        grace=SECONDS,
        tls=TLS,
        ampe=arg(None, "None"),
        task_status=arg(trio.TASK_STATUS_IGNORED),
    ),
    "Peer.call": of(peer, body=BYTES, headers=HEADERS, method=TEXT, idempotent=arg(True, "True")),
    "Peer.signal": of(peer, body=BYTES, headers=HEADERS),
    "Peer.stream": of(peer, body=BYTES, headers=HEADERS, method=TEXT),
    "Peer.subscribe": of(peer, pattern=TEXT, window=COUNT),
    "Peer.drain": of(peer, seconds=SECONDS),
    "Peer.proxy": of(
        peer,
        protocol=arg(Methods, "class"),
        codec=arg(Codec.json()),
        idempotent=arg(["method"], called="no method"),
    ),
    "Stream.send": of(lambda world: world.stream, item=BYTES),
    # Looked at when a handler returns it: tests/peers/test_misuse.py.
    "Reply": function(body=anything(b""), headers=anything({})),
    "RemoteError": function(code=ANY_TEXT, text=ANY_TEXT, body=BYTES),
    "Backoff": function(first=SECONDS, longest=arg(1.0, "float", "huge")),
    "Topics": function(keep=COUNT, policy=arg("latest")),
    "Topics.publish": of(topics, topic=TEXT, body=BYTES, headers=HEADERS),
    "Topics.send": of(topics, topic=TEXT, body=BYTES, headers=HEADERS),
    "Service": function(codecs=arg([Codec.json()]), errors=arg({KeyError: "NOT_FOUND"}, "None")),
    "Service.method": of(
        lambda _: Service(), function=arg(answer_number, "None", called="news"), name=TEXT
    ),
    "Codec": function(content_type=ANY_TEXT, encode=arg(repr, "class"), decode=arg(repr, "class")),
}
TABLE.update(
    {
        name.replace("Peer", "LastingPeer"): attrs.evolve(entry, receiver=lasting_peer)
        for name, entry in TABLE.items()
        if name.startswith("Peer.")
    }
)
