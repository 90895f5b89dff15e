"""The works, for contenders that send and receive whole messages on asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Never

from benchmarks.frames import ASK, pack, unpack
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

type Send = Callable[[bytes], Awaitable[object]]
type Receive = Callable[[], Awaitable[bytes]]


async def serve(task: Task, send: Send, receive: Receive) -> Never:
    """Answer one client, until something that the contender raises."""
    if task.work.subject is Subject.ONE_WAY:
        await _count(Tally(task), send, receive)
    while True:
        await send(await receive())


async def _count(tally: Tally, send: Send, receive: Receive) -> Never:
    while True:
        message_id, body = unpack(await receive())
        if message_id == ASK:
            await send(tally.answer())
        else:
            tally.arrived(message_id, body)


async def work(task: Task, send: Send, receive: Receive) -> Figures:
    """The client's side of one connection."""
    if task.work.subject is Subject.ONE_WAY:
        return await _send(OneWay(task), send, receive)
    run = Echoes(task)
    if task.fills_buffers:
        await _ask_in_two_tasks(run, task.work.outstanding, send, receive)
    else:
        await _ask(run, task.work.outstanding, send, receive)
    return echo_figures([run])


async def _ask(run: Echoes, outstanding: int, send: Send, receive: Receive) -> None:
    for _ in range(outstanding):
        await send(pack(run.next_id(), run.body))
    while run.outstanding:
        run.answered(*unpack(await receive()))
        if run.running:
            await send(pack(run.next_id(), run.body))


async def _ask_in_two_tasks(
    run: Echoes, outstanding: int, send: Send, receive: Receive
) -> None:
    permits = asyncio.Semaphore(outstanding)

    async def ask() -> None:
        while run.running:
            await permits.acquire()
            await send(pack(run.next_id(), run.body))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        while not asking.done() or run.outstanding:
            run.answered(*unpack(await receive()))
            permits.release()


async def _send(run: OneWay, send: Send, receive: Receive) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await send(pack(message_id, run.body))
        await send(pack(ASK, b""))
        run.counted(await receive())
    return run.figures()
