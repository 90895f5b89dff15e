"""pyzmq with its sockets for asyncio; otherwise as `zmq_blocking`."""

import asyncio
from collections.abc import Set
from typing import Final

import zmq
import zmq.asyncio

from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task


class _ZmqAsyncio:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


async def _serve(task: Task, ready: Ready) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.bind("tcp://127.0.0.1:*")
        ready(sock.getsockopt_string(zmq.LAST_ENDPOINT))
        await messages.serve(task, sock.send, sock.recv)


async def _run(task: Task, address: str) -> Figures:
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.connect(address)
        return await messages.work(task, messages.ASYNCIO, sock.send, sock.recv)


CONTENDER: Final = _ZmqAsyncio()
