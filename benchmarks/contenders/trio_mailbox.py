"""Trio's SocketStream, a task that reads it, and a memory channel to the task that works.

One mailbox for everything that arrives is what pytofu is about; this is what that costs before it
does anything else. To be compared with `trio_stream`, where the task that reads does the work.
"""

import math
from collections.abc import Awaitable, Callable, Set
from functools import partial
from typing import Final

import trio

from benchmarks.alarm import TrioAlarm
from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, Cutter, frame
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

type _Message = tuple[int, bytes]

_RECEIVE: Final = 64 * 1024


class _TrioMailbox:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, int(address))


async def _read(stream: trio.SocketStream, mailbox: trio.MemorySendChannel[_Message]) -> None:
    cutter = Cutter()
    with mailbox:
        while data := await stream.receive_some(_RECEIVE):
            for message in cutter.feed(data):
                mailbox.send_nowait(message)


async def _receive(mailbox: trio.MemoryReceiveChannel[_Message]) -> list[_Message]:
    """Everything that has arrived, and at least one message."""
    messages = [await mailbox.receive()]
    try:
        while True:
            messages.append(mailbox.receive_nowait())
    except (trio.WouldBlock, trio.EndOfChannel):
        return messages


async def _serve(task: Task, ready: Ready) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ready(str(listeners[0].socket.getsockname()[1]))
    await trio.serve_listeners(partial(_answer, task), listeners)


async def _answer(task: Task, stream: trio.SocketStream) -> None:
    """Echo, or count until somebody asks."""
    tally = Tally(task) if task.work.subject is Subject.ONE_WAY else None
    sender, mailbox = trio.open_memory_channel[_Message](math.inf)
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(_read, stream, sender)
        while True:
            answers = []
            try:
                for message_id, body in await _receive(mailbox):
                    if tally is None:
                        answers.append(frame(message_id, body))
                    elif message_id == ASK:
                        answers.append(frame(ASK, tally.answer()))
                    else:
                        tally.arrived(message_id, body)
            except trio.EndOfChannel:
                return
            if answers:
                await stream.send_all(b"".join(answers))


async def _run(task: Task, port: int) -> Figures:
    sender, mailbox = trio.open_memory_channel[_Message](math.inf)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(_read, stream, sender)
        if task.work.subject is Subject.ONE_WAY:
            figures = await _send(stream, mailbox, OneWay(task))
        elif task.work.subject is Subject.RATE:
            figures = await _pace(stream, mailbox, task)
        elif task.fills_buffers:
            outbox, to_send = trio.open_memory_channel[bytes](math.inf)
            nursery.start_soon(_write, stream, to_send)
            figures = await _ask(outbox.send, mailbox, Echoes(task), task.work.outstanding)
        else:
            figures = await _ask(stream.send_all, mailbox, Echoes(task), task.work.outstanding)
        nursery.cancel_scope.cancel()
    return figures


async def _write(stream: trio.SocketStream, outbox: trio.MemoryReceiveChannel[bytes]) -> None:
    async for data in outbox:
        await stream.send_all(data)


async def _ask(
    send: Callable[[bytes], Awaitable[None]],
    mailbox: trio.MemoryReceiveChannel[_Message],
    run: Echoes,
    outstanding: int,
) -> Figures:
    await send(b"".join(frame(run.next_id(), run.body) for _ in range(outstanding)))
    while run.outstanding:
        requests = []
        for answer in await _receive(mailbox):
            run.answered(*answer)
            if run.running:
                requests.append(frame(run.next_id(), run.body))
        if requests:
            await send(b"".join(requests))
    return echo_figures([run])


async def _pace(
    stream: trio.SocketStream, mailbox: trio.MemoryReceiveChannel[_Message], task: Task
) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(stream.send_all, mailbox, saturation, task.work.outstanding)
    run = OpenLoop(task, saturation.per_second)

    async def send(ids: range) -> None:
        await stream.send_all(b"".join(frame(message_id, run.body) for message_id in ids))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_when_due, run, TrioAlarm(), send)
        while not run.finished:
            for message_id, body in await _receive(mailbox):
                run.answered(message_id, body)
    return run.figures()


async def _send(
    stream: trio.SocketStream, mailbox: trio.MemoryReceiveChannel[_Message], run: OneWay
) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await stream.send_all(frame(message_id, run.body))
        await stream.send_all(frame(ASK, b""))
        _, answer = await mailbox.receive()
        run.counted(answer)
    return run.figures()


CONTENDER: Final = _TrioMailbox()
