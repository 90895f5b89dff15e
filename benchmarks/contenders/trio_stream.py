"""Trio's SocketStream and a little framing: what pytofu would be if it did nothing."""

import math
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Final

import trio

from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, Cutter, frame
from benchmarks.memory import ALREADY_OPEN, IdleMemory
from benchmarks.runs import Echoes, Figures, OneWay, Tally, WrongAnswer, echo_figures
from benchmarks.work import Subject, Task

type _Send = Callable[[bytes], Awaitable[None]]

_RECEIVE: Final = 64 * 1024


class _TrioStream:
    subjects: Set[Subject] = MESSAGES | {Subject.FAN_IN, Subject.CONNECTIONS, Subject.IDLE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, int(address))


async def _serve(task: Task, ready: Ready) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ready(str(listeners[0].socket.getsockname()[1]))
    counts = task.work.subject is Subject.ONE_WAY
    await trio.serve_listeners(partial(_count, Tally(task)) if counts else _echo, listeners)


async def _echo(stream: trio.SocketStream) -> None:
    cutter = Cutter()
    async with stream:
        while data := await stream.receive_some(_RECEIVE):
            answers = [frame(message_id, body) for message_id, body in cutter.feed(data)]
            if answers:
                await stream.send_all(b"".join(answers))


async def _count(tally: Tally, stream: trio.SocketStream) -> None:
    cutter = Cutter()
    async with stream:
        while data := await stream.receive_some(_RECEIVE):
            for message_id, body in cutter.feed(data):
                if message_id == ASK:
                    await stream.send_all(frame(ASK, tally.answer()))
                else:
                    tally.arrived(message_id, body)


async def _run(task: Task, port: int) -> Figures:
    match task.work.subject:
        case Subject.CONNECTIONS:
            return await _visit(port, Echoes(task))
        case Subject.IDLE:
            return await _stay(port, task)
        case Subject.ONE_WAY:
            return await _send(await trio.open_tcp_stream("127.0.0.1", port), OneWay(task))
        case _:
            return await _ask_all(port, task)


async def _visit(port: int, run: Echoes) -> Figures:
    while run.running:
        stream, answer = await _say(port, frame(run.next_id(), run.body))
        await stream.aclose()
        run.answered(*answer)
    return echo_figures([run])


async def _say(port: int, request: bytes) -> tuple[trio.SocketStream, tuple[int, bytes]]:
    """A new connection, and its answer to this request."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.send_all(request)
    cutter, answers = Cutter(), list[tuple[int, bytes]]()
    while not answers:
        answers += cutter.feed(await stream.receive_some(_RECEIVE))
    return stream, answers[0]


async def _stay(port: int, task: Task) -> Figures:
    streams = [(await _say(port, frame(1, b"hello")))[0] for _ in range(ALREADY_OPEN)]
    memory = IdleMemory(task)
    streams += [(await _say(port, frame(1, b"hello")))[0] for _ in range(task.work.channels)]
    figures = memory.figures()
    for stream in streams:
        await stream.aclose()
    return figures


async def _ask_all(port: int, task: Task) -> Figures:
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(task.work.channels)]
    runs = [Echoes(task, channel) for channel in range(len(streams))]
    async with trio.open_nursery() as nursery:
        for stream, run in zip(streams, runs, strict=True):
            if task.fills_buffers:
                nursery.start_soon(_ask_in_two_tasks, stream, run, task.work.outstanding)
            else:
                nursery.start_soon(_ask, stream, run, task.work.outstanding, stream.send_all)
    return echo_figures(runs)


async def _ask_in_two_tasks(stream: trio.SocketStream, run: Echoes, outstanding: int) -> None:
    sender, receiver = trio.open_memory_channel[bytes](math.inf)

    async def write() -> None:
        async for data in receiver:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery, sender:
        nursery.start_soon(write)
        await _ask(stream, run, outstanding, sender.send)


async def _ask(stream: trio.SocketStream, run: Echoes, outstanding: int, send: _Send) -> None:
    cutter = Cutter()
    await send(b"".join(frame(run.next_id(), run.body) for _ in range(outstanding)))
    while run.outstanding:
        data = await stream.receive_some(_RECEIVE)
        if not data:
            raise WrongAnswer("the server has closed the connection")
        requests = []
        for message_id, body in cutter.feed(data):
            run.answered(message_id, body)
            if run.running:
                requests.append(frame(run.next_id(), run.body))
        if requests:
            await send(b"".join(requests))


async def _send(stream: trio.SocketStream, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await stream.send_all(frame(message_id, run.body))
        await stream.send_all(frame(ASK, b""))
        cutter, answers = Cutter(), list[tuple[int, bytes]]()
        while not answers:
            answers += cutter.feed(await stream.receive_some(_RECEIVE))
        run.counted(answers[0][1])
    return run.figures()


CONTENDER: Final = _TrioStream()
