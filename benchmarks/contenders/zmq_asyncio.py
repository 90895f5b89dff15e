"""pyzmq with its sockets for asyncio; otherwise as `zmq_blocking`."""

import asyncio
from collections.abc import Set
from typing import Final

import zmq
import zmq.asyncio

from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, pack, unpack
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task


class _ZmqAsyncio:
    subjects: Set[Subject] = MESSAGES

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


async def _serve(task: Task, ready: Ready) -> None:
    with zmq.asyncio.Context() as context:
        sock = context.socket(zmq.DEALER)
        sock.bind("tcp://127.0.0.1:*")
        ready(sock.getsockopt_string(zmq.LAST_ENDPOINT))
        if task.work.subject is Subject.ONE_WAY:
            tally = Tally(task)
            while True:
                message_id, body = unpack(await sock.recv())
                if message_id == ASK:
                    await sock.send(tally.answer())
                else:
                    tally.arrived(message_id, body)
        while True:
            await sock.send(await sock.recv())


async def _run(task: Task, address: str) -> Figures:
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.connect(address)
        if task.work.subject is Subject.ONE_WAY:
            return await _send(sock, OneWay(task))
        return await _ask(sock, Echoes(task), task.work.outstanding)


async def _ask(sock: zmq.asyncio.Socket, run: Echoes, outstanding: int) -> Figures:
    for _ in range(outstanding):
        await sock.send(pack(run.next_id(), run.body))
    while run.outstanding:
        run.answered(*unpack(await sock.recv()))
        if run.running:
            await sock.send(pack(run.next_id(), run.body))
    return echo_figures([run])


async def _send(sock: zmq.asyncio.Socket, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await sock.send(pack(message_id, run.body))
        await sock.send(pack(ASK, b""))
        run.counted(await sock.recv())
    return run.figures()


CONTENDER: Final = _ZmqAsyncio()
