"""trio-websocket, which never compresses. Trio sets TCP_NODELAY."""

from collections.abc import Set
from contextlib import suppress
from functools import partial
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task


class _TrioWebsocket:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, address)


async def _serve(task: Task, ready: Ready) -> None:
    async def answer(request: WebSocketRequest) -> None:
        connection = await request.accept()
        with suppress(ConnectionClosed):
            await messages.serve(task, connection.send_message, partial(_receive, connection))

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, answer, "127.0.0.1", 0, ssl_context=None)
        )
        ready(f"ws://127.0.0.1:{server.port}")


async def _receive(connection: WebSocketConnection) -> bytes:
    message = await connection.get_message()
    assert isinstance(message, bytes)
    return message


async def _run(task: Task, address: str) -> Figures:
    async with open_websocket_url(address) as connection:
        receive = partial(_receive, connection)
        return await messages.work(task, messages.TRIO, connection.send_message, receive)


CONTENDER: Final = _TrioWebsocket()
