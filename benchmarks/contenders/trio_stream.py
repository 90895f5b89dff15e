"""Trio's streams, of sockets and over TLS, with a little framing: pytofu that does nothing."""

import math
import ssl
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Final

import trio
from trio.abc import Stream

from benchmarks.alarm import TrioAlarm
from benchmarks.certificates import HOST, client_context, server_context
from benchmarks.contenders import ALL_OTHERS, MESSAGES, ONLY_TLS, Ready
from benchmarks.frames import ASK, Cutter, frame
from benchmarks.memory import ALREADY_OPEN, IdleMemory
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, Figures, OneWay, Tally, WrongAnswer, echo_figures
from benchmarks.work import Subject, Task

type _Send = Callable[[bytes], Awaitable[None]]

_RECEIVE: Final = 64 * 1024


class _TrioStream:
    subjects: Set[Subject] = MESSAGES | ALL_OTHERS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, int(address))


class _TrioTLS:
    subjects: Set[Subject] = ONLY_TLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready, server_context(task))

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_ask_all, int(address), task, client_context(task))


async def _serve(task: Task, ready: Ready, tls: ssl.SSLContext | None = None) -> None:
    listeners = await trio.open_tcp_listeners(0, host=HOST)
    ready(str(listeners[0].socket.getsockname()[1]))
    handler: Callable[[Stream], Awaitable[None]]
    match task.work.subject:
        case Subject.ONE_WAY:
            handler = partial(_count, Tally(task))
        case Subject.CONNECTIONS | Subject.IDLE:
            handler = _greet
        case _:
            handler = _echo
    if tls is None:
        await trio.serve_listeners(handler, listeners)
    else:
        await trio.serve_listeners(handler, [trio.SSLListener(one, tls) for one in listeners])


async def _echo(stream: Stream) -> None:
    cutter = Cutter()
    async with stream:
        while data := await stream.receive_some(_RECEIVE):
            answers = [frame(message_id, body) for message_id, body in cutter.feed(data)]
            if answers:
                await stream.send_all(b"".join(answers))


async def _count(tally: Tally, stream: Stream) -> None:
    cutter = Cutter()
    async with stream:
        while data := await stream.receive_some(_RECEIVE):
            for message_id, body in cutter.feed(data):
                if message_id == ASK:
                    await stream.send_all(frame(ASK, tally.answer()))
                else:
                    tally.arrived(message_id, body)


async def _greet(stream: Stream) -> None:
    """Answer lines with themselves."""
    async with stream:
        while line := await _read_line(stream):
            await stream.send_all(line)


async def _read_line(stream: Stream) -> bytes:
    """A line, of a peer that waits for the answer before it sends another; b"" at the end."""
    line = b""
    while not line.endswith(b"\n"):
        data = await stream.receive_some(_RECEIVE)
        if not data:
            break
        line += data
    return line


async def _run(task: Task, port: int) -> Figures:
    match task.work.subject:
        case Subject.CONNECTIONS:
            return await _visit(port, Echoes(task))
        case Subject.IDLE:
            return await _stay(port, task)
        case Subject.ONE_WAY:
            return await _send(await trio.open_tcp_stream(HOST, port), OneWay(task))
        case Subject.RATE:
            return await _pace(await trio.open_tcp_stream(HOST, port), task)
        case _:
            return await _ask_all(port, task)


async def _visit(port: int, run: Echoes) -> Figures:
    while run.running:
        stream, line = await _say(port, b"%d\n" % run.next_id())
        await stream.aclose()
        run.answered(int(line), run.body)
    return echo_figures([run])


async def _say(port: int, line: bytes) -> tuple[Stream, bytes]:
    """A new connection, and its answer to this line."""
    stream = await trio.open_tcp_stream(HOST, port)
    await stream.send_all(line)
    return stream, await _read_line(stream)


async def _stay(port: int, task: Task) -> Figures:
    streams = [(await _say(port, b"hello\n"))[0] for _ in range(ALREADY_OPEN)]
    memory = IdleMemory(task)
    streams += [(await _say(port, b"hello\n"))[0] for _ in range(task.work.channels)]
    figures = memory.figures()
    for stream in streams:
        await stream.aclose()
    return figures


async def _connect(port: int, tls: ssl.SSLContext | None) -> Stream:
    if tls is None:
        return await trio.open_tcp_stream(HOST, port)
    return await trio.open_ssl_over_tcp_stream(HOST, port, ssl_context=tls)


async def _ask_all(port: int, task: Task, tls: ssl.SSLContext | None = None) -> Figures:
    streams = [await _connect(port, tls) for _ in range(task.work.channels)]
    runs = [Echoes(task, channel) for channel in range(len(streams))]
    async with trio.open_nursery() as nursery:
        for stream, run in zip(streams, runs, strict=True):
            if task.fills_buffers:
                nursery.start_soon(_ask_in_two_tasks, stream, run, task.work.outstanding)
            else:
                nursery.start_soon(_ask, stream, run, task.work.outstanding, stream.send_all)
    figures = echo_figures(runs)
    for stream in streams:  # TLS says so, and a server that is not told fails
        await stream.aclose()
    return figures


async def _ask_in_two_tasks(stream: Stream, run: Echoes, outstanding: int) -> None:
    sender, receiver = trio.open_memory_channel[bytes](math.inf)

    async def write() -> None:
        async for data in receiver:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery, sender:
        nursery.start_soon(write)
        await _ask(stream, run, outstanding, sender.send)


async def _ask(stream: Stream, run: Echoes, outstanding: int, send: _Send) -> None:
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


async def _pace(stream: Stream, task: Task) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(stream, saturation, task.work.outstanding, stream.send_all)
    run = OpenLoop(task, saturation.per_second)

    async def send(ids: range) -> None:
        await stream.send_all(b"".join(frame(message_id, run.body) for message_id in ids))

    cutter = Cutter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_when_due, run, TrioAlarm(), send)
        while not run.finished:
            data = await stream.receive_some(_RECEIVE)
            if not data:
                raise WrongAnswer("the server has closed the connection")
            for message_id, body in cutter.feed(data):
                run.answered(message_id, body)
    return run.figures()


async def _send(stream: Stream, run: OneWay) -> Figures:
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
TLS: Final = _TrioTLS()
