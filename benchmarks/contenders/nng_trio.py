"""pynng on Trio: a pair of sockets. nng sets TCP_NODELAY unless told not to."""

from collections.abc import Set
from typing import Final

import pynng
import trio

from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task

_QUEUED: Final = 1024
"""Messages that a socket queues before sending waits: more than ever are outstanding."""


class _Pynng:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, address)


async def _serve(task: Task, ready: Ready) -> None:
    with pynng.Pair0(send_buffer_size=_QUEUED, recv_buffer_size=_QUEUED) as sock:
        sock.listen("tcp://127.0.0.1:0")
        ready(f"tcp://{sock.listeners[0].local_address}")
        await messages.serve(task, sock.asend, sock.arecv)


async def _run(task: Task, address: str) -> Figures:
    with pynng.Pair0(send_buffer_size=_QUEUED, recv_buffer_size=_QUEUED) as sock:
        sock.dial(address, block=True)
        return await messages.work(task, messages.TRIO, sock.asend, sock.arecv)


CONTENDER: Final = _Pynng()
