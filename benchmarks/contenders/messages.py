"""The works, for contenders that send and receive whole messages, on asyncio or on Trio."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Never, Protocol

import attrs
import trio

from benchmarks.alarm import AsyncioAlarm, LoopAlarm, TrioAlarm
from benchmarks.frames import ASK, pack, unpack
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, FanOut, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

type Send = Callable[[bytes], Awaitable[object]]
type Receive = Callable[[], Awaitable[bytes]]
type Call = Callable[[bytes], Awaitable[bytes]]
type _Function = Callable[[], Awaitable[None]]


class _Semaphore(Protocol):
    async def acquire(self) -> object: ...
    def release(self) -> None: ...


@attrs.frozen
class Loop:
    """What differs between asyncio and Trio."""

    semaphore: Callable[[int], _Semaphore]
    every: Callable[[Sequence[_Function]], Awaitable[None]]
    """Runs each of the functions in a task of its own."""
    alarm: Callable[[], LoopAlarm]


async def _asyncio_every(functions: Sequence[_Function]) -> None:
    async with asyncio.TaskGroup() as group:
        for function in functions:
            group.create_task(_as_coroutine(function))


async def _as_coroutine(function: _Function) -> None:
    await function()


async def _trio_every(functions: Sequence[_Function]) -> None:
    async with trio.open_nursery() as nursery:
        for function in functions:
            nursery.start_soon(function)


ASYNCIO: Final = Loop(asyncio.Semaphore, _asyncio_every, AsyncioAlarm)
TRIO: Final = Loop(trio.Semaphore, _trio_every, TrioAlarm)


async def serve(task: Task, send: Send, receive: Receive) -> Never:
    """Answer one client, until something that the contender raises."""
    if task.work.subject in (Subject.ONE_WAY, Subject.STREAM):
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


async def work(task: Task, loop: Loop, send: Send, receive: Receive) -> Figures:
    """The client's side of one connection."""
    if task.work.subject in (Subject.ONE_WAY, Subject.STREAM):
        return await _send(OneWay(task), send, receive)
    if task.work.subject is Subject.RATE:
        return await _pace(task, loop, send, receive)
    run = Echoes(task)
    if task.fills_buffers:
        await _ask_in_two_tasks(run, loop, task.work.outstanding, send, receive)
    else:
        await _ask(run, task.work.outstanding, send, receive)
    return echo_figures([run])


async def call(task: Task, loop: Loop, ask: Call) -> Figures:
    """The client's side of calls: each caller is a task, and waits for its own answer."""

    async def call_again_and_again(run: Echoes) -> None:
        while run.running:
            run.answered(*unpack(await ask(pack(run.next_id(), run.body))))

    callers = [Echoes(task, number) for number in range(task.work.outstanding)]
    await loop.every([partial(call_again_and_again, run) for run in callers])
    return echo_figures(callers)


async def hear(task: Task, loop: Loop, publish: Send, subscribers: Sequence[Receive]) -> Figures:
    """The client's side of what is published: it says what, and all subscribers are here."""
    run = FanOut(task)

    async def subscriber(number: int, receive: Receive) -> None:
        while unpack(data := await receive())[0] != ASK:
            following = run.heard(number, data)
            if following is not None:
                await publish(following)

    for _ in range(task.work.outstanding):
        await publish(run.next())
    await loop.every(
        [partial(subscriber, number, receive) for number, receive in enumerate(subscribers)]
    )
    return run.figures()


async def _ask(run: Echoes, outstanding: int, send: Send, receive: Receive) -> None:
    for _ in range(outstanding):
        await send(pack(run.next_id(), run.body))
    while run.outstanding:
        run.answered(*unpack(await receive()))
        if run.running:
            await send(pack(run.next_id(), run.body))


async def _ask_in_two_tasks(
    run: Echoes, loop: Loop, outstanding: int, send: Send, receive: Receive
) -> None:
    permits = loop.semaphore(outstanding)

    async def ask() -> None:
        while True:
            await permits.acquire()
            if not run.running:
                return
            await send(pack(run.next_id(), run.body))

    async def hear() -> None:
        while run.running or run.outstanding:
            run.answered(*unpack(await receive()))
            permits.release()

    await loop.every((ask, hear))


async def _pace(task: Task, loop: Loop, send: Send, receive: Receive) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(saturation, task.work.outstanding, send, receive)
    run = OpenLoop(task, saturation.per_second)

    async def send_all(ids: range) -> None:
        for message_id in ids:
            await send(pack(message_id, run.body))

    async def hear() -> None:
        while not run.finished:
            run.answered(*unpack(await receive()))

    await loop.every((lambda: send_when_due(run, loop.alarm(), send_all), hear))
    return run.figures()


async def _send(run: OneWay, send: Send, receive: Receive) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await send(pack(message_id, run.body))
        await send(pack(ASK, b""))
        run.counted(await receive())
    return run.figures()
