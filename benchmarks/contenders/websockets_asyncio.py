"""websockets on asyncio.

Without compression, as its guide to performance says of messages that do not shrink. asyncio sets
TCP_NODELAY. It has no calls: a program that wants them carries each out in a task, and finds who
waits for an answer by the id in it. What is published goes out by its `broadcast`.
"""

import asyncio
import ssl
from collections.abc import Set
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

from websockets import ConnectionClosed
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets

from benchmarks.certificates import HOST, client_context, server_context
from benchmarks.contenders import CALLS, MESSAGES, ONLY_TLS, Ready, messages
from benchmarks.frames import unpack
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task

_SUBSCRIBE: Final = "/subscribe"

connect = partial(connect_websocket, compression=None, proxy=None)


class _Websockets:
    subjects: Set[Subject] = MESSAGES | CALLS | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


class _WebsocketsTLS:
    subjects: Set[Subject] = ONLY_TLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready, server_context(task)))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address, client_context(task)))


async def _receive(connection: ServerConnection | ClientConnection) -> bytes:
    return await connection.recv(decode=False)


async def _serve(task: Task, ready: Ready, tls: ssl.SSLContext | None = None) -> None:
    subscribers = set[ServerConnection]()

    async def answer(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            match task.work.subject:
                case Subject.CALL:
                    await _carry_out(connection)
                case Subject.FAN_OUT:
                    await _publish(connection, subscribers)
                case _:
                    await messages.serve(task, connection.send, partial(_receive, connection))

    async with serve_websockets(answer, HOST, 0, compression=None, ssl=tls) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        ready(f"{'ws' if tls is None else 'wss'}://{HOST}:{port}")
        await server.serve_forever()


async def _carry_out(connection: ServerConnection) -> None:
    async with asyncio.TaskGroup() as handlers:
        while True:
            handlers.create_task(connection.send(await _receive(connection)))


async def _publish(connection: ServerConnection, subscribers: set[ServerConnection]) -> None:
    assert connection.request is not None
    if connection.request.path == _SUBSCRIBE:
        subscribers.add(connection)
        await connection.send(b"")
        await connection.wait_closed()
        return
    while True:
        broadcast(subscribers, await _receive(connection))


async def _run(task: Task, address: str, tls: ssl.SSLContext | None = None) -> Figures:
    async with connect(address, ssl=tls) as connection:
        match task.work.subject:
            case Subject.CALL:
                return await _call(task, connection)
            case Subject.FAN_OUT:
                return await _hear(task, connection, address)
            case _:
                receive = partial(_receive, connection)
                return await messages.work(task, messages.ASYNCIO, connection.send, receive)


async def _call(task: Task, connection: ClientConnection) -> Figures:
    waiting: dict[int, asyncio.Future[bytes]] = {}

    async def hear() -> None:
        while True:
            answer = await _receive(connection)
            waiting.pop(unpack(answer)[0]).set_result(answer)

    async def call(body: bytes) -> bytes:
        found = waiting[unpack(body)[0]] = asyncio.Future()
        await connection.send(body)
        return await found

    hearing = asyncio.create_task(hear())
    figures = await messages.call(task, messages.ASYNCIO, call)
    hearing.cancel()
    return figures


async def _hear(task: Task, publisher: ClientConnection, address: str) -> Figures:
    async with AsyncExitStack() as stack:
        subscribers = []
        for _ in range(task.work.channels):
            connection = await stack.enter_async_context(connect(address + _SUBSCRIBE))
            assert await _receive(connection) == b""  # it is subscribed
            subscribers.append(partial(_receive, connection))
        return await messages.hear(task, messages.ASYNCIO, publisher.send, subscribers)


CONTENDER: Final = _Websockets()
TLS: Final = _WebsocketsTLS()
