"""NATS: nats-py on both sides, and between them a nats-server that belongs to the run."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Set
from contextlib import suppress
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, pack, unpack
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task

_SUBJECT: Final = "benchmarks"
_UNLIMITED: Final = -1
"""Messages and bytes that a subscription may have waiting: nats-py drops what is too much."""
_CONFIGURATION: Final = "max_pending: 4GB\n"
"""The server cuts off a client that is further behind than this, and one way nobody waits."""


class _Nats:
    subjects: Set[Subject] = MESSAGES

    def missing(self) -> str | None:
        if shutil.which("nats-server", path=_path()) is None:
            return "there is no nats-server (Debian's package of that name has it)"
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
    """Debian installs it where only root's shells look."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))


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
    if task.work.subject is Subject.ONE_WAY:
        return await _send(client, OneWay(task))
    return await _ask(client, Echoes(task), task.work.outstanding)


async def _ask(client: Client, run: Echoes, outstanding: int) -> Figures:
    inbox = client.new_inbox()
    answers = (await client.subscribe(inbox)).messages
    for _ in range(outstanding):
        await client.publish(_SUBJECT, pack(run.next_id(), run.body), reply=inbox)
    async for answer in answers:
        run.answered(*unpack(answer.data))
        if run.running:
            await client.publish(_SUBJECT, pack(run.next_id(), run.body), reply=inbox)
        elif not run.outstanding:
            break
    return echo_figures([run])


async def _send(client: Client, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            await client.publish(_SUBJECT, pack(message_id, run.body))
        answer = await client.request(_SUBJECT, pack(ASK, b""), timeout=30)
        run.counted(answer.data)
    return run.figures()


CONTENDER: Final = _Nats()
