"""Connected applications over any transport, memory links among them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from pytofu import (
    Address,
    MemoryClientAddress,
    MemoryServerAddress,
    Message,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    parse_address,
)
from tests.support import App, End, Event, address_headers, open_app

type Kind = Literal["tcp", "uds", "mem"]


def address_of(kind: Kind, folder: Path) -> Address:
    """Where to listen."""
    match kind:
        case "tcp":
            return TCPServerAddress("127.0.0.1", 0)
        case "uds":
            return UDSServerAddress(folder / "s")
        case "mem":
            return MemoryServerAddress(str(folder))


def client_of(address: Address) -> Address:
    """How to connect to what listens there."""
    match address:
        case TCPServerAddress(host, port):
            return TCPClientAddress(host, port)
        case UDSServerAddress(path):
            return UDSClientAddress(path)
        case MemoryServerAddress(name):
            return MemoryClientAddress(name)
        case _:
            raise AssertionError(address)


async def listen(app: App, address: Address) -> tuple[int, Address]:
    """Open a listener; its channel's number, and how to connect to it."""
    number = app.post(OpCode.WELCOME_REQUEST, headers=address_headers(address)).channel_number
    event = await app.event()
    assert (event.opcode, event.status, event.channel) == (OpCode.WELCOME_RESPONSE, 0, number)
    bound = Message()
    for name, value in event.headers:
        bound.text_headers.append(name, value)
    return number, client_of(parse_address(bound))


def connect(app: App, address: Address, message_id: int = 77) -> End:
    """Post a HelloRequest."""
    header = app.post(OpCode.HELLO_REQUEST, 0, message_id, headers=address_headers(address))
    return End(app, header.channel_number, message_id)


async def greet(
    client: App, server: App, address: Address, message_id: int = 77
) -> tuple[End, End]:
    """Connect and say hello on both sides; the client's and the server's end."""
    client_end = connect(client, address, message_id)
    event = await server.event()
    assert (event.opcode, event.message_id) == (OpCode.HELLO_REQUEST, message_id)
    server_end = End(server, event.channel, message_id)
    server_end.post(OpCode.HELLO_RESPONSE, message_id)
    event = await client.event()
    assert (event.opcode, event.channel) == (OpCode.HELLO_RESPONSE, client_end.number)
    return client_end, server_end


@asynccontextmanager
async def open_ends(
    kind: Kind,
    folder: Path,
    *,
    client_options: Options | None = None,
    server_options: Options | None = None,
) -> AsyncIterator[tuple[End, End]]:
    """Two engines that are connected: the client's and the server's end."""
    async with open_app(server_options) as server, open_app(client_options) as client:
        _, address = await listen(server, address_of(kind, folder))
        yield await greet(client, server, address)


async def assert_talking(one: End, other: End) -> None:
    """What one end posts is the next thing that the other receives."""
    header = one.post(OpCode.SIGNAL, body=b"still here")
    event: Event = await other.app.event()
    assert (event.channel, event.message_id) == (other.number, header.message_id)
    assert event.body == b"still here"
