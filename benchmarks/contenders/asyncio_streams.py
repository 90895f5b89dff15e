"""asyncio streams, on asyncio's own event loop and on uvloop's, the former over TLS, too.

All set TCP_NODELAY themselves.
"""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Coroutine, Set
from functools import partial
from typing import Any, Final

from benchmarks.alarm import AsyncioAlarm
from benchmarks.certificates import HOST, client_context, server_context
from benchmarks.contenders import ALL_OTHERS, MESSAGES, ONLY_TLS, Ready
from benchmarks.frames import ASK, HEADER, frame
from benchmarks.memory import ALREADY_OPEN, IdleMemory
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

type _Runner = Callable[[Coroutine[Any, Any, Any]], Any]


def _with_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    import uvloop

    return uvloop.run(main)


class _AsyncioStreams:
    subjects: Set[Subject] = MESSAGES | ALL_OTHERS

    def __init__(self, runner: _Runner) -> None:
        self._runner = runner

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        self._runner(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        figures: Figures = self._runner(_run(task, int(address)))
        return figures


class _AsyncioTLS:
    subjects: Set[Subject] = ONLY_TLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready, server_context(task)))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_ask_all(int(address), task, client_context(task)))


async def _read(reader: StreamReader) -> tuple[int, bytes]:
    length, message_id = HEADER.unpack(await reader.readexactly(HEADER.size))
    return message_id, await reader.readexactly(length)


async def _serve(task: Task, ready: Ready, tls: ssl.SSLContext | None = None) -> None:
    handler: Callable[[StreamReader, StreamWriter], Awaitable[None]]
    match task.work.subject:
        case Subject.ONE_WAY:
            handler = partial(_count, Tally(task))
        case Subject.CONNECTIONS | Subject.IDLE:
            handler = _greet
        case _:
            handler = _echo
    server = await asyncio.start_server(handler, HOST, 0, backlog=1024, ssl=tls)
    ready(str(server.sockets[0].getsockname()[1]))
    async with server:
        await server.serve_forever()


async def _echo(reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while True:
            message_id, body = await _read(reader)
            writer.write(frame(message_id, body))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def _count(tally: Tally, reader: StreamReader, writer: StreamWriter) -> None:
    try:
        while True:
            message_id, body = await _read(reader)
            if message_id == ASK:
                writer.write(frame(ASK, tally.answer()))
                await writer.drain()
            else:
                tally.arrived(message_id, body)
    except asyncio.IncompleteReadError:
        writer.close()


async def _greet(reader: StreamReader, writer: StreamWriter) -> None:
    """Answer lines with themselves."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _run(task: Task, port: int) -> Figures:
    match task.work.subject:
        case Subject.CONNECTIONS:
            return await _visit(port, Echoes(task))
        case Subject.IDLE:
            return await _stay(port, task)
        case Subject.ONE_WAY:
            return await _send(*await asyncio.open_connection(HOST, port), OneWay(task))
        case Subject.RATE:
            return await _pace(*await asyncio.open_connection(HOST, port), task)
        case _:
            return await _ask_all(port, task)


async def _visit(port: int, run: Echoes) -> Figures:
    while run.running:
        writer, line = await _say(port, b"%d\n" % run.next_id())
        writer.close()
        await writer.wait_closed()
        run.answered(int(line), run.body)
    return echo_figures([run])


async def _say(port: int, line: bytes) -> tuple[StreamWriter, bytes]:
    """A new connection, and its answer to this line."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(line)
    await writer.drain()
    return writer, await reader.readline()


async def _stay(port: int, task: Task) -> Figures:
    writers = [(await _say(port, b"hello\n"))[0] for _ in range(ALREADY_OPEN)]
    memory = IdleMemory(task)
    writers += [(await _say(port, b"hello\n"))[0] for _ in range(task.work.channels)]
    figures = memory.figures()
    for writer in writers:
        writer.close()
    return figures


async def _ask_all(port: int, task: Task, tls: ssl.SSLContext | None = None) -> Figures:
    streams = [
        await asyncio.open_connection(HOST, port, ssl=tls) for _ in range(task.work.channels)
    ]
    runs = [Echoes(task, channel) for channel in range(len(streams))]
    async with asyncio.TaskGroup() as group:
        for (reader, writer), run in zip(streams, runs, strict=True):
            group.create_task(_ask(reader, writer, run, task.work.outstanding))
    for _, writer in streams:
        writer.close()
    return echo_figures(runs)


async def _ask(reader: StreamReader, writer: StreamWriter, run: Echoes, outstanding: int) -> None:
    # Without `drain`: what is outstanding bounds the buffer, and whoever waited for it to empty
    # while the server waits to be read would wait for ever.
    for _ in range(outstanding):
        writer.write(frame(run.next_id(), run.body))
    while run.outstanding:
        run.answered(*await _read(reader))
        if run.running:
            writer.write(frame(run.next_id(), run.body))


async def _pace(reader: StreamReader, writer: StreamWriter, task: Task) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(reader, writer, saturation, task.work.outstanding)
    run = OpenLoop(task, saturation.per_second)

    async def send(ids: range) -> None:
        writer.write(b"".join(frame(message_id, run.body) for message_id in ids))
        await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send_when_due(run, AsyncioAlarm(), send))
        while not run.finished:
            run.answered(*await _read(reader))
    writer.close()
    return run.figures()


async def _send(reader: StreamReader, writer: StreamWriter, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            writer.write(frame(message_id, run.body))
            await writer.drain()
        writer.write(frame(ASK, b""))
        await writer.drain()
        _, answer = await _read(reader)
        run.counted(answer)
    writer.close()
    return run.figures()


ASYNCIO: Final = _AsyncioStreams(asyncio.run)
TLS: Final = _AsyncioTLS()
UVLOOP: Final = _AsyncioStreams(_with_uvloop)
