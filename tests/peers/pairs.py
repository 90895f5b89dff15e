"""What the tests between peers share: servers, connected peers, and peers made by hand.

`serving` runs a server, `connected` two peers. `scripted_client` is a bare socket that has said
Hello to a server, `scripted_server` one that has answered the Hello of `connect`: the test writes
and reads their frames.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import attrs
import trio

from pytofu import (
    Ampe,
    Incoming,
    OpCode,
    Options,
    Peer,
    TCPServerAddress,
    connect,
    open_ampe,
    serve,
)
from pytofu.peers.peer import Handler
from pytofu.values.address_text import address_text, client_address
from tests.support import Frame, RawListener, RawPeer, ServerAddress, frame, hello

TCP: Final = TCPServerAddress("127.0.0.1", 0)
AWARE: Final = b"tofu-features:client calls=64\r\n"
"""The features header of a scripted client that knows the conventions."""
PATIENCE: Final = 5.0


async def echo(peer: Peer, request: Incoming) -> bytes:
    """A handler that answers with what it was asked."""
    return request.body


@asynccontextmanager
async def serving(
    handler: Handler | None = echo, address: ServerAddress | str = TCP, **settings: Any
) -> AsyncIterator[str]:
    """A server for the length of a block; its address."""
    async with trio.open_nursery() as nursery:
        (where,) = await nursery.start(_serve, handler, address, settings)
        yield where
        nursery.cancel_scope.cancel()


async def _serve(
    handler: Handler | None,
    address: ServerAddress | str,
    settings: dict[str, Any],
    task_status: trio.TaskStatus[tuple[str, ...]],
) -> None:
    await serve(handler, address, task_status=task_status, **settings)


@attrs.define
class Both:
    """Two peers, each as the other sees it."""

    client: Peer
    """The server, as the client sees it."""
    server: Peer
    """The client, as the server sees it."""


@asynccontextmanager
async def connected(
    handler: Handler | None = echo,
    address: ServerAddress | str = TCP,
    *,
    client_handler: Handler | None = None,
    client: Mapping[str, Any] = {},
    **settings: Any,
) -> AsyncIterator[Both]:
    """A server and a client for the length of a block."""
    peers: list[Peer] = []
    came = trio.Event()

    async def on_peer(peer: Peer) -> None:
        peers.append(peer)
        came.set()

    async with (
        serving(handler, address, on_peer=on_peer, **settings) as where,
        connect(where, client_handler, **client) as peer,
    ):
        await came.wait()
        yield Both(peer, peers[0])


@asynccontextmanager
async def counted(**options: Any) -> AsyncGenerator[Ampe]:
    """An engine whose pool must be as full at the end as it was at the beginning."""
    async with open_ampe(Options(initial_pool_msgs=256, max_pool_msgs=256, **options)) as ampe:
        yield ampe
        assert ampe.statistics().pool_free == 256
        assert ampe.statistics().channels == 0


@attrs.define
class Script:
    """A peer made by hand."""

    raw: RawPeer

    async def send(self, opcode: OpCode, ident: int, text: bytes = b"", **rest: Any) -> None:
        """Write a frame."""
        await self.raw.send(frame(opcode, ident, text=text, **rest))

    async def expect(self, opcode: OpCode) -> Frame:
        """Read a frame, which must be one of these."""
        received = await self.raw.receive_frame()
        assert received.opcode is opcode, received
        return received


@asynccontextmanager
async def scripted_client(where: str, features: bytes = AWARE) -> AsyncIterator[Script]:
    """A socket that has exchanged Hellos with a server."""
    raw = await RawPeer.connect(client_address(where))
    with raw:
        greeting = hello(7)
        await raw.send(
            frame(OpCode.HELLO_REQUEST, 7, text=b"~connect_to:uds|x\r\n" + features)
            if features
            else greeting
        )
        script = Script(raw)
        await script.expect(OpCode.HELLO_RESPONSE)
        yield script


@asynccontextmanager
async def scripted_server(
    features: bytes = b"tofu-features:server calls=64\r\n",
    *,
    address: ServerAddress = TCP,
    receive_buffer: int | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Peer, Script]]:
    """What `connect` gives, connected to a socket that has answered its Hello."""
    with RawListener(address, receive_buffer=receive_buffer) as listener:
        manager: AbstractAsyncContextManager[Peer] = connect(
            address_text(listener.client_address), **settings
        )
        scripts: list[Script] = []

        async def answer() -> None:
            raw = await listener.accept()
            script = Script(raw)
            greeting = await script.expect(OpCode.HELLO_REQUEST)
            await script.send(OpCode.HELLO_RESPONSE, greeting.message_id, features)
            scripts.append(script)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            async with manager as peer:
                (script,) = scripts
                try:
                    yield peer, script
                finally:
                    script.raw.close()
