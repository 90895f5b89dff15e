"""A server that can be taken away and comes back, and a proxy that cuts and stalls connections."""

import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

import attrs
import trio
import trio.testing

from pytofu import (
    AmpeError,
    AmpeException,
    BinaryHeader,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    Peer,
    TCPClientAddress,
    UDSClientAddress,
    serve,
)
from pytofu.peers.peer import Handler
from pytofu.values.address_text import address_text, client_address
from tests.peers.pairs import TCP
from tests.support import ServerAddress

_RESET: Final = struct.pack("ii", 1, 0)


class Restartable:
    """A server on one address, that is up or down."""

    def __init__(
        self,
        nursery: trio.Nursery,
        handler: Handler | None,
        settings: Any,
        address: ServerAddress,
    ) -> None:
        self.where = ""
        self._address = address
        self.peers: list[Peer] = []
        self._nursery = nursery
        self._handler = handler
        self._settings = settings
        self._scope = trio.CancelScope()
        self._down = trio.Event()

    async def up(self) -> None:
        """Start it."""
        address: ServerAddress | str = self.where or self._address
        (self.where,) = await self._nursery.start(self._run, address)

    async def _run(
        self,
        address: ServerAddress | str,
        task_status: trio.TaskStatus[tuple[str, ...]],
    ) -> None:
        self._down = trio.Event()
        with trio.CancelScope() as self._scope:
            await serve(
                self._handler,
                address,
                on_peer=self._came,
                task_status=task_status,
                **self._settings,
            )
        self._down.set()

    async def _came(self, peer: Peer) -> None:
        self.peers.append(peer)

    async def down(self, *, abruptly: bool = False) -> None:
        """Stop it, in good order or with all connections reset."""
        if abruptly:
            for peer in self.peers:
                peer._link.abort()
        self._scope.cancel()
        await self._down.wait()


@asynccontextmanager
async def restartable(
    handler: Handler | None, address: ServerAddress = TCP, **settings: Any
) -> AsyncIterator[Restartable]:
    """A server that is up at the beginning of the block."""
    async with trio.open_nursery() as nursery:
        server = Restartable(nursery, handler, settings, address)
        await server.up()
        yield server
        nursery.cancel_scope.cancel()


class Full(ChannelGroup):
    """A channel group with so much queued that it takes nothing but an abort."""

    def __init__(self, chnls: ChannelGroup) -> None:
        super().__init__(chnls._group)

    def post(self, holder: Holder[Message]) -> BinaryHeader:
        if holder.unwrap().opcode is OpCode.BYE_SIGNAL:
            return super().post(holder)
        raise AmpeException.from_error(AmpeError.ALLOCATION_FAILED)


@attrs.frozen
class Fault:
    """What happens to a connection once so many bytes have passed, both ways together."""

    after: int
    what: Literal["cut", "stall"]


class Proxy:
    """Passes bytes on to a server, until a connection's fault: then it is cut with a reset.

    One that stalls passes nothing on, and is cut when every task has come to rest. A Unix socket
    knows no reset: there a cut is an end in the midst of a frame.
    """

    def __init__(self, target: str, next_fault: Callable[[], Fault | None]) -> None:
        found = client_address(target)
        assert isinstance(found, TCPClientAddress | UDSClientAddress)
        self.faults = 0
        self._target = found
        self._next_fault = next_fault

    async def run(self, task_status: trio.TaskStatus[str]) -> None:
        """Serve until cancelled."""
        with self._new_socket() as listener:
            here: TCPClientAddress | UDSClientAddress
            if isinstance(self._target, TCPClientAddress):
                await listener.bind(("127.0.0.1", 0))
                here = TCPClientAddress(*listener.getsockname())
            else:
                here = UDSClientAddress(self._target.path + ".proxy")
                await listener.bind(here.path)
            listener.listen(100)
            task_status.started(address_text(here))
            try:
                async with trio.open_nursery() as nursery:
                    while True:
                        client, _ = await listener.accept()
                        nursery.start_soon(self._connection, client)
            finally:
                if isinstance(here, UDSClientAddress):
                    os.unlink(here.path)

    def _new_socket(self) -> trio.socket.SocketType:
        tcp = isinstance(self._target, TCPClientAddress)
        return trio.socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)

    async def _connection(self, client: trio.socket.SocketType) -> None:
        fault = self._next_fault()
        with client, self._new_socket() as server:
            if isinstance(self._target, TCPClientAddress):
                await server.connect((self._target.host, self._target.port))
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                await server.connect(self._target.path)
            async with trio.open_nursery() as nursery:
                left = [1 << 62 if fault is None else fault.after]

                async def pump(source: trio.socket.SocketType, to: trio.socket.SocketType) -> None:
                    with suppress(OSError):
                        while data := await source.recv(65_536):
                            part = data[: left[0]]
                            left[0] -= len(part)
                            view = memoryview(part)
                            while view:
                                view = view[await to.send(view) :]
                            if not left[0]:
                                break
                    if not left[0] and fault is not None and fault.what == "stall":
                        await trio.testing.wait_all_tasks_blocked(0.001)
                    if not left[0]:
                        self.faults += 1
                        for sock in (source, to):
                            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(pump, client, server)
                nursery.start_soon(pump, server, client)
