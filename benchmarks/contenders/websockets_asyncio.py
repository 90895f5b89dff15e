"""websockets on asyncio.

Without compression, as its guide to performance says of messages that do not shrink. asyncio sets
TCP_NODELAY.
"""

import asyncio
from collections.abc import Set
from contextlib import suppress
from typing import Final

from websockets import ConnectionClosed
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets

from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task


class _Websockets:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


async def _serve(task: Task, ready: Ready) -> None:
    async def answer(connection: ServerConnection) -> None:
        async def receive() -> bytes:
            return await connection.recv(decode=False)

        with suppress(ConnectionClosed):
            await messages.serve(task, connection.send, receive)

    async with serve_websockets(answer, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        ready(f"ws://127.0.0.1:{port}")
        await server.serve_forever()


async def _run(task: Task, address: str) -> Figures:
    async with connect(address, compression=None, proxy=None) as connection:

        async def receive() -> bytes:
            return await connection.recv(decode=False)

        return await messages.work(task, messages.ASYNCIO, connection.send, receive)


CONTENDER: Final = _Websockets()
