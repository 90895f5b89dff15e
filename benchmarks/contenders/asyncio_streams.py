"""asyncio streams, on asyncio's own event loop and on uvloop's. Both set TCP_NODELAY themselves."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine, Set
from functools import partial
from typing import Any, Final

from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, HEADER, frame
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

type _Runner = Callable[[Coroutine[Any, Any, Any]], Any]


def _with_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    import uvloop

    return uvloop.run(main)


class _AsyncioStreams:
    subjects: Set[Subject] = MESSAGES | {Subject.FAN_IN}

    def __init__(self, runner: _Runner) -> None:
        self._runner = runner

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        self._runner(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        figures: Figures = self._runner(_run(task, int(address)))
        return figures


async def _read(reader: StreamReader) -> tuple[int, bytes]:
    length, message_id = HEADER.unpack(await reader.readexactly(HEADER.size))
    return message_id, await reader.readexactly(length)


async def _serve(task: Task, ready: Ready) -> None:
    counts = task.work.subject is Subject.ONE_WAY
    handler = partial(_count, Tally(task)) if counts else _echo
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=1024)
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


async def _run(task: Task, port: int) -> Figures:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(task.work.channels)]
    if task.work.subject is Subject.ONE_WAY:
        return await _send(*streams[0], OneWay(task))
    runs = [Echoes(task, channel) for channel in range(len(streams))]
    async with asyncio.TaskGroup() as group:
        for (reader, writer), run in zip(streams, runs, strict=True):
            group.create_task(_ask(reader, writer, run, task.work.outstanding))
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
    writer.close()


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
UVLOOP: Final = _AsyncioStreams(_with_uvloop)
