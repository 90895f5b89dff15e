"""What tests of the engine share: applications, raw peers, and what was seen of each.

`open_app` gives an `App`: an engine with one channel group. What it receives is compared as
`Event`s, made by `from_app`, `from_engine` and `closed`. `open_pair` connects two of them;
`open_raw_pair` connects one to a `RawPeer`, a bare socket that the test drives byte by byte.
Everything that waits fails after `PATIENCE` seconds.
"""

import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, Self, TypeGuard, assert_never

import attrs
import trio
import trio.testing

from pytofu import (
    Address,
    Ampe,
    AmpeStatus,
    BinaryHeader,
    ChannelGroup,
    Holder,
    MemoryClientAddress,
    MemoryServerAddress,
    Message,
    OpCode,
    Options,
    OriginFlag,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    open_ampe,
    parse_address,
)
from tests import memory_sockets, tls_sockets

PATIENCE: Final = 5.0
"""Seconds that anything may take before the test fails."""

type Kind = Literal["tcp", "tls", "uds", "mem"]
type Side = Literal["client", "server"]
type ServerAddress = TCPServerAddress | TLSServerAddress | UDSServerAddress | MemoryServerAddress
type ClientAddress = TCPClientAddress | TLSClientAddress | UDSClientAddress | MemoryClientAddress
type Headers = tuple[tuple[str, str], ...]


# ---------------------------------------------------------------------- events


@attrs.frozen(repr=False)
class Event:
    """What an application sees of one received message."""

    opcode: OpCode
    origin: OriginFlag
    status: AmpeStatus
    channel: int
    message_id: int
    reason: AmpeStatus | None = None
    """Read from the text header `~reason`, which is not among `headers`."""
    headers: Headers = ()
    body: bytes = b""
    more: bool = False
    detail: str | None = attrs.field(default=None, eq=False)
    """Read from the text header `~detail`, which is not among `headers` either. Not compared: it
    may be the system's own text."""

    @classmethod
    def of(cls, message: Message) -> Self:
        local = {"~reason", "~detail"}
        headers = tuple((name, value) for name, value in message.text_headers if name not in local)
        reason = message.text_headers.get("~reason")
        return cls(
            message.opcode,
            message.header.proto.origin,
            message.status,
            message.channel_number,
            message.message_id,
            None if reason is None else AmpeStatus[reason],
            headers,
            message.payload,
            message.has_more(),
            message.text_headers.get("~detail"),
        )

    def __repr__(self) -> str:
        parts = [f"{self.opcode.name}({self.origin.name.lower()}, {self.status.name})"]
        parts.append(f"channel={self.channel} id={self.message_id}")
        if self.reason is not None:
            parts.append(f"reason={self.reason.name}")
        if self.detail is not None:
            parts.append(f"detail={self.detail!r}")
        parts.extend(f"{name}:{value}" for name, value in self.headers)
        if self.body:
            parts.append(f"body={len(self.body)}B:{self.body[:20]!r}")
        if self.more:
            parts.append("more")
        return f"<{' '.join(parts)}>"


def from_app(
    opcode: OpCode,
    channel: int,
    message_id: int,
    *,
    status: AmpeStatus = AmpeStatus.SUCCESS,
    headers: Headers = (),
    body: bytes = b"",
    more: bool = False,
) -> Event:
    """What an application made: this one or, without a status, the peer's."""
    origin = OriginFlag.APPLICATION
    return Event(opcode, origin, status, channel, message_id, None, headers, body, more)


def from_engine(
    opcode: OpCode,
    status: AmpeStatus,
    channel: int,
    message_id: int,
    *,
    headers: Headers = (),
    body: bytes = b"",
    more: bool = False,
) -> Event:
    """What the engine on this side made or handed back."""
    origin = OriginFlag.ENGINE
    return Event(opcode, origin, status, channel, message_id, None, headers, body, more)


def closed(channel: int, message_id: int, reason: AmpeStatus) -> Event:
    """The last event of a channel."""
    origin, status = OriginFlag.ENGINE, AmpeStatus.CHANNEL_CLOSED
    return Event(OpCode.SIGNAL, origin, status, channel, message_id, reason)


def pool_empty(channel: int) -> Event:
    """The news that a channel has stopped reading because the pool is empty."""
    return from_engine(OpCode.SIGNAL, AmpeStatus.POOL_EMPTY, channel, 0)


# ---------------------------------------------------------------------- addresses


def server_address_of(kind: Kind, directory: Path) -> ServerAddress:
    """Where a test can listen: a port that the system chooses, or what only `directory` has."""
    match kind:
        case "tcp":
            return TCPServerAddress("127.0.0.1", 0)
        case "tls":
            return TLSServerAddress("127.0.0.1", 0)
        case "uds":
            return UDSServerAddress(directory / "s")
        case "mem":
            return MemoryServerAddress(str(directory)[-100:])
        case _:
            assert_never(kind)


def client_address_of(address: Address) -> ClientAddress:
    """How to connect to what listens there."""
    match address:
        case TCPServerAddress(host, port):
            return TCPClientAddress(host, port)
        case TLSServerAddress(host, port):
            return TLSClientAddress(host, port)
        case UDSServerAddress(path):
            return UDSClientAddress(path)
        case MemoryServerAddress(name):
            return MemoryClientAddress(name)
        case _:
            raise AssertionError(f"nobody can listen on {address}")


def has_socket_file(address: Address) -> bool:
    """Whether there is a file at that address; only those of Unix sockets have one."""
    match address:
        case UDSClientAddress(path) | UDSServerAddress(path):
            return os.path.exists(path)
        case _:
            return False


def address_headers(address: Address) -> Headers:
    """The text headers of a message that opens a channel with this address."""
    message = Message()
    address.format(message)
    return tuple(message.text_headers)


# ---------------------------------------------------------------------- applications


@attrs.frozen
class End:
    """One end of a connection: an application, its channel's number, and the channel's mid₀."""

    app: "App"
    number: int
    message_id: int

    def post(
        self, opcode: OpCode, message_id: int = 0, *, body: bytes = b"", more: bool = False
    ) -> BinaryHeader:
        """Post a message on this channel."""
        return self.app.post(opcode, self.number, message_id, body=body, more=more)

    def closed(self, reason: AmpeStatus) -> Event:
        """This channel's last event."""
        return closed(self.number, self.message_id, reason)

    async def events_until_closed(self) -> list[Event]:
        """Everything that the application receives until this channel's last event."""
        return await self.app.events_until_closed(self.number)


@attrs.frozen
class ListenerEnd(End):
    """A listener channel, with the address that it is really bound to."""

    address: ServerAddress

    @property
    def client_address(self) -> ClientAddress:
        """How to connect to it."""
        return client_address_of(self.address)


class App:
    """An application: an engine and one of its channel groups."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup) -> None:
        self.ampe = ampe
        self.chnls = chnls

    def message(
        self,
        opcode: OpCode,
        channel: int = 0,
        message_id: int = 0,
        *,
        headers: Headers = (),
        body: bytes = b"",
        more: bool = False,
    ) -> Holder[Message]:
        """A message from the pool, filled in."""
        message = self.ampe.get()
        assert message is not None
        message.opcode = opcode
        message.channel_number = channel
        message.message_id = message_id
        for name, value in headers:
            message.text_headers.append(name, value)
        message.set_payload(body)
        message.more = more
        return Holder(message)

    def post(
        self,
        opcode: OpCode,
        channel: int = 0,
        message_id: int = 0,
        *,
        headers: Headers = (),
        body: bytes = b"",
        more: bool = False,
    ) -> BinaryHeader:
        """Post a message made on the spot; one that is refused goes back to the pool."""
        holder = self.message(opcode, channel, message_id, headers=headers, body=body, more=more)
        try:
            return self.chnls.post(holder)
        finally:
            self.ampe.put(holder)

    async def receive(self) -> Message:
        """The next message, which the caller then has."""
        with trio.fail_after(PATIENCE):
            message = await self.chnls.wait_receive()
        assert message is not None
        return message

    async def event(self) -> Event:
        """The next message as an event; the message goes back to the pool."""
        message = await self.receive()
        event = Event.of(message)
        self.ampe.put(Holder(message))
        return event

    async def events(self, count: int) -> list[Event]:
        """The next `count` messages as events."""
        return [await self.event() for _ in range(count)]

    async def events_until_closed(self, *numbers: int) -> list[Event]:
        """Everything that arrives until the last of these channels has said that it closed."""
        open_numbers = set(numbers)
        events: list[Event] = []
        while open_numbers:
            event = await self.event()
            events.append(event)
            if event.reason is not None:
                open_numbers.discard(event.channel)
        return events

    async def rest(self) -> list[Event]:
        """What else there is once every task of this process has come to rest."""
        with trio.fail_after(PATIENCE):
            await trio.testing.wait_all_tasks_blocked(0.002)
        events: list[Event] = []
        while (message := self.chnls.receive_nowait()) is not None:
            events.append(Event.of(message))
            self.ampe.put(Holder(message))
        return events

    async def listen(self, address: ServerAddress, message_id: int = 0) -> ListenerEnd:
        """Open a listener and receive the answer, which must be the only thing that arrives."""
        header = self.post(OpCode.WELCOME_REQUEST, 0, message_id, headers=address_headers(address))
        message = await self.receive()
        bound = parse_address(message)
        assert isinstance(
            bound, TCPServerAddress | TLSServerAddress | UDSServerAddress | MemoryServerAddress
        )
        assert Event.of(message) == from_app(
            OpCode.WELCOME_RESPONSE,
            header.channel_number,
            header.message_id,
            headers=address_headers(bound),
        )
        self.ampe.put(Holder(message))
        return ListenerEnd(self, header.channel_number, header.message_id, bound)

    def connect(self, address: ClientAddress, message_id: int = 0, *, body: bytes = b"") -> End:
        """Post a HelloRequest; nothing has been received of it yet."""
        header = self.post(
            OpCode.HELLO_REQUEST, 0, message_id, headers=address_headers(address), body=body
        )
        return End(self, header.channel_number, header.message_id)

    async def accept(self, address: ClientAddress, message_id: int, *, body: bytes = b"") -> End:
        """Receive the HelloRequest that a peer sent to this address."""
        event = await self.event()
        headers = address_headers(address)
        assert event == from_app(
            OpCode.HELLO_REQUEST, event.channel, message_id, headers=headers, body=body
        )
        return End(self, event.channel, event.message_id)


def tls_options(options: Options | None = None) -> Options:
    """These, or else the default ones, with the certificates of the tests if they have none."""
    options = options or Options()
    if options.tls_client is not None or options.tls_server is not None:
        return options
    return attrs.evolve(
        options,
        tls_client=tls_sockets.client_context(),
        tls_server=tls_sockets.server_context(),
    )


@asynccontextmanager
async def open_app(options: Options | None = None) -> AsyncIterator[App]:
    """An engine with one channel group; both close at the end of the block.

    It can do TLS with the certificates of the tests.
    """
    async with open_ampe(tls_options(options)) as ampe, ampe.open_channel_group() as chnls:
        yield App(ampe, chnls)


# ---------------------------------------------------------------------- two applications


@attrs.frozen
class Pair:
    """Two connected applications that have exchanged HelloRequest and HelloResponse."""

    client: End
    server: End
    listener: ListenerEnd

    def ends(self, side: Side) -> tuple[End, End]:
        """The end on that side, and the other one."""
        match side:
            case "client":
                return self.client, self.server
            case "server":
                return self.server, self.client
            case _:
                assert_never(side)


async def connect_apps(client: App, listener: ListenerEnd) -> tuple[End, End]:
    """Connect to a listener and say hello on both sides; client's and server's end."""
    client_end = client.connect(listener.client_address)
    server_end = await listener.app.accept(listener.client_address, client_end.message_id)
    server_end.post(OpCode.HELLO_RESPONSE, client_end.message_id)
    assert await client.event() == from_app(
        OpCode.HELLO_RESPONSE, client_end.number, client_end.message_id
    )
    return client_end, server_end


@asynccontextmanager
async def open_pair(
    address: ServerAddress,
    *,
    client_options: Options | None = None,
    server_options: Options | None = None,
) -> AsyncIterator[Pair]:
    """Two engines, connected over this address; the listener stays open."""
    async with open_app(server_options) as server, open_app(client_options) as client:
        listener = await server.listen(address)
        client_end, server_end = await connect_apps(client, listener)
        yield Pair(client_end, server_end, listener)


# ---------------------------------------------------------------------- raw peers

_HEADER: Final = struct.Struct(">HBBQHH")
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)

FIN: Final = "fin"
RESET: Final = "reset"


def abort_reason(address: Address) -> AmpeStatus:
    """`~reason` at the peer of an engine that aborts: Unix sockets know no reset."""
    if _knows_no_reset(address):
        return AmpeStatus.PEER_DISCONNECTED
    return AmpeStatus.COMMUNICATION_FAILED


def abort_ending(address: Address) -> str:
    """How a connection ends for the raw peer of an engine that aborts."""
    return FIN if _knows_no_reset(address) else RESET


def cut_ending(address: Address) -> str:
    """The same for one that closes in good order, in the middle of a message.

    Over TLS nothing can say that it is the end, where a record is not all there.
    """
    return RESET if isinstance(address, TLSClientAddress | TLSServerAddress) else FIN


def _knows_no_reset(address: Address) -> bool:
    return isinstance(address, UDSClientAddress | UDSServerAddress)


def frame(
    opcode: int,
    message_id: int = 1,
    *,
    text: bytes = b"",
    body: bytes = b"",
    channel: int = 1,
    status: int = 0,
    origin: int = 0,
    more: int = 0,
    internal: int = 0,
) -> bytes:
    """A frame as it is on the wire, put together without pytofu; every field may be wrong."""
    proto = opcode | origin << 4 | more << 5 | internal << 6
    header = _HEADER.pack(channel, proto, status, message_id, len(text), len(body))
    return header + text + body


def hello(message_id: int = 1, *, body: bytes = b"") -> bytes:
    """The frame of a HelloRequest."""
    return frame(OpCode.HELLO_REQUEST, message_id, text=b"~connect_to:uds|x\r\n", body=body)


HELLO_HEADERS: Final[Headers] = (("~connect_to", "uds|x"),)
"""The text headers of `hello`."""


@attrs.frozen
class Frame:
    """A frame that a raw peer received."""

    channel: int
    proto: int
    status: int
    message_id: int
    text: bytes
    body: bytes

    @property
    def opcode(self) -> OpCode:
        """What it means."""
        return OpCode(self.proto & 15)


type Socket = trio.socket.SocketType | memory_sockets.MemorySocket | tls_sockets.TLSSocket


class RawPeer:
    """One end of a connection, without an engine: the test writes and reads its bytes."""

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self._buffer = b""
        if _is_tcp(sock):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent is there

    @classmethod
    async def connect(cls, address: ClientAddress, *, receive_buffer: int | None = None) -> Self:
        """Connect to a listener; a small receive buffer makes the other side's writing stop.

        Over memory the buffer is as large as it is, and larger than none of those.
        """
        with trio.fail_after(PATIENCE):
            if isinstance(address, MemoryClientAddress):
                return cls(await memory_sockets.connect(address))
            if isinstance(address, TLSClientAddress):
                return cls(await tls_sockets.connect(address, receive_buffer))
            tcp = isinstance(address, TCPClientAddress)
            sock = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            # In one step: an engine that resets the connection at once must find it made, or the
            # reset would be an error of connecting, and nothing would be left to receive.
            sock.settimeout(PATIENCE)
            try:
                if isinstance(address, TCPClientAddress):
                    sock.connect((address.host, address.port))
                else:
                    sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
            peer = cls(trio.socket.from_stdlib_socket(sock))
            await trio.lowlevel.checkpoint()
        return peer

    async def send(self, data: bytes) -> None:
        """Write all of it, waiting where the socket is full."""
        with trio.fail_after(PATIENCE):
            view = memoryview(data)
            while view:
                view = view[await self.sock.send(view) :]

    async def receive_bytes(self, count: int) -> bytes:
        """Exactly so many bytes."""
        with trio.fail_after(PATIENCE):
            while len(self._buffer) < count:
                data = await self.sock.recv(1 << 16)
                assert data, f"the connection ended after {self._buffer!r}"
                self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def receive_frame(self) -> Frame:
        """The next frame, whole."""
        channel, proto, status, message_id, text_len, body_len = _HEADER.unpack(
            await self.receive_bytes(_HEADER.size)
        )
        text = await self.receive_bytes(text_len)
        return Frame(channel, proto, status, message_id, text, await self.receive_bytes(body_len))

    async def ending(self) -> tuple[bytes, str]:
        """Read to the end: the bytes that still came, and how it ended: FIN or RESET."""
        with trio.fail_after(PATIENCE):
            data, self._buffer = self._buffer, b""
            while True:
                try:
                    more = await self.sock.recv(1 << 16)
                except ConnectionResetError:
                    return data, RESET
                if not more:
                    return data, FIN
                data += more

    def fin(self) -> None:
        """Say that nothing more comes; what the other side sends can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close: a FIN, or a reset if there is something that was not read."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset. Over UDS there is none unless something was not read."""
        if isinstance(self.sock, memory_sockets.MemorySocket | tls_sockets.TLSSocket):
            self.sock.close(reset=True)
            return
        if _is_tcp(self.sock):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()


async def connect_socket(
    sock: trio.socket.SocketType, address: TCPClientAddress | UDSClientAddress
) -> None:
    """Connect a socket of the right family."""
    if isinstance(address, TCPClientAddress):
        await sock.connect((address.host, address.port))
    else:
        await sock.connect(address.path)


def _is_tcp(sock: Socket) -> TypeGuard[trio.socket.SocketType]:
    return isinstance(sock, trio.socket.SocketType) and sock.family != socket.AF_UNIX


class RawListener:
    """A listening socket without an engine."""

    def __init__(self, address: ServerAddress, *, receive_buffer: int | None = None) -> None:
        self.address = address
        self._sock: (
            trio.socket.SocketType
            | memory_sockets.MemoryListeningSocket
            | tls_sockets.TLSListeningSocket
        )
        if isinstance(address, MemoryServerAddress):
            self._sock = memory_sockets.MemoryListeningSocket(address)
            return
        if isinstance(address, TLSServerAddress):
            self._sock = tls_sockets.TLSListeningSocket(address, receive_buffer)
            self.address = self._sock.address
            return
        if isinstance(address, TCPServerAddress):
            sock = socket.socket()
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.bind((address.host, address.port))
            self.address = TCPServerAddress(*sock.getsockname())
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(address.path)
        sock.listen()
        self._sock = trio.socket.from_stdlib_socket(sock)

    @property
    def client_address(self) -> ClientAddress:
        """How to connect to it."""
        return client_address_of(self.address)

    async def accept(self) -> RawPeer:
        """The next connection."""
        with trio.fail_after(PATIENCE):
            sock, _ = await self._sock.accept()
        return RawPeer(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()
        if isinstance(self.address, UDSServerAddress):
            os.unlink(self.address.path)


@attrs.frozen
class RawPair:
    """An application connected to a raw peer, hello said on both sides."""

    end: End
    peer: RawPeer

    @property
    def app(self) -> App:
        """The application."""
        return self.end.app


@asynccontextmanager
async def open_raw_pair(
    side: Side,
    address: ServerAddress,
    *,
    options: Options | None = None,
    receive_buffer: int | None = None,
    message_id: int = 77,
) -> AsyncIterator[RawPair]:
    """An engine on this side of a connection, and a raw peer on the other.

    Both Hello messages have gone over and been received; they carry `message_id`. As server the
    engine has a listener in the same group, which stays open.
    """
    async with open_app(options) as app:
        if side == "server":
            listener = await app.listen(address)
            peer = await RawPeer.connect(listener.client_address, receive_buffer=receive_buffer)
            with peer:
                await peer.send(hello(message_id))
                event = await app.event()
                assert event == from_app(
                    OpCode.HELLO_REQUEST, event.channel, message_id, headers=HELLO_HEADERS
                )
                end = End(app, event.channel, message_id)
                end.post(OpCode.HELLO_RESPONSE, message_id)
                assert (await peer.receive_frame()).opcode is OpCode.HELLO_RESPONSE
                yield RawPair(end, peer)
        else:
            with RawListener(address, receive_buffer=receive_buffer) as raw_listener:
                end = app.connect(raw_listener.client_address, message_id)
                with await raw_listener.accept() as peer:
                    assert (await peer.receive_frame()).opcode is OpCode.HELLO_REQUEST
                    await peer.send(frame(OpCode.HELLO_RESPONSE, message_id))
                    assert await app.event() == from_app(
                        OpCode.HELLO_RESPONSE, end.number, message_id
                    )
                    yield RawPair(end, peer)


# ---------------------------------------------------------------------- a socket that is full

_CLOG_COUNT: Final = 120
_CLOG_BODY_LEN: Final = 60_013  # prime, so that no buffer ends where a frame does


@attrs.frozen
class Clog:
    """Messages that were posted to a peer that does not read: see `clog`."""

    end: End
    _sent_before: int

    @property
    def written(self) -> int:
        """How many are written completely by now. The next one may be in part."""
        return self.bytes_written // len(frame(0, body=_clog_body(0)))

    @property
    def bytes_written(self) -> int:
        """What of `stream` the link has taken by now."""
        return self.end.app.chnls.statistics().bytes_sent - self._sent_before

    def unsent(self, status: AmpeStatus) -> list[Event]:
        """The others, as they come back."""
        return [
            from_engine(OpCode.SIGNAL, status, self.end.number, _clog_id(i), body=_clog_body(i))
            for i in range(self.written, _CLOG_COUNT)
        ]

    def stream(self) -> bytes:
        """All of them, as bytes on the wire."""
        return b"".join(
            frame(OpCode.SIGNAL, _clog_id(i), channel=self.end.number, body=_clog_body(i))
            for i in range(_CLOG_COUNT)
        )


def _clog_id(i: int) -> int:
    return 1000 + i


def _clog_body(i: int) -> bytes:
    return i.to_bytes(4) + bytes(_CLOG_BODY_LEN - 4)


async def clog(pair: RawPair) -> Clog:
    """Post more than fits the sockets, to a raw peer that does not read.

    Returns with one message partly written and many not at all.
    """
    frame_len = len(frame(0, body=_clog_body(0)))
    before = pair.app.chnls.statistics().bytes_sent
    for i in range(_CLOG_COUNT):
        pair.end.post(OpCode.SIGNAL, _clog_id(i), body=_clog_body(i))
    assert await pair.app.rest() == []
    bytes_written = pair.app.chnls.statistics().bytes_sent - before
    written, part = divmod(bytes_written, frame_len)
    assert written < _CLOG_COUNT - 1
    # Over TLS a message counts as written record by record, and the last may have come out even.
    assert part or isinstance(pair.peer.sock, tls_sockets.TLSSocket)
    return Clog(pair.end, before)
