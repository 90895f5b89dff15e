"""Servers and clients in the test's own process."""

import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from pytofu import Holder, Message, MessageRole, OpCode, TCPServerAddress, Topics
from pytofu import serve as serve_peers
from pytofu.cli.endpoints import Places, Target
from pytofu.cli.listen import listen
from pytofu.cli.output import Output
from pytofu.cli.running import CommandError
from pytofu.cli.serve_files import serve_files
from pytofu.cli.uploads import Limits
from pytofu.peers.peer import Handler
from pytofu.values.address_text import ClientAddress, ServerAddress, client_address
from tests.cli.terminal import Paper
from tests.support import App, client_address_of, open_app

type Habits = Mapping[OpCode, Callable[[App, Holder[Message]], None]]
"""What a peer does with each message; what is not listed is ignored."""


def respond(app: App, holder: Holder[Message]) -> None:
    """Turn a request into its response."""
    message = holder.unwrap()
    assert message.opcode.role is MessageRole.REQUEST
    message.opcode = OpCode(message.opcode + 1)
    app.chnls.post(holder)


def say(opcode: OpCode) -> Callable[[App, Holder[Message]], None]:
    """Answer with an empty message of this opcode."""

    def habit(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        app.post(opcode, message.channel_number, message.message_id)

    return habit


ANY_PORT = TCPServerAddress("127.0.0.1", 0)
POLITE: Habits = {OpCode.HELLO_REQUEST: respond, OpCode.BYE_REQUEST: respond}


@asynccontextmanager
async def peer(
    habits: Habits = POLITE, address: ServerAddress = ANY_PORT
) -> AsyncIterator[ClientAddress]:
    """A server with these habits; where to reach it."""

    async def serve() -> None:
        async for holder in app.chnls:
            message = holder.unwrap()
            if message.is_from_application() and message.opcode in habits:
                habits[message.opcode](app, holder)

    async with open_app() as app:
        listener = await app.listen(address)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield listener.client_address
            nursery.cancel_scope.cancel()


def fails(why: str) -> pytest.RaisesGroup[CommandError]:
    """Expect a `CommandError`, by itself or in a group."""
    error = pytest.RaisesExc(CommandError, match=why)
    return pytest.RaisesGroup(error, flatten_subgroups=True, allow_unwrapped=True)


class Printed:
    """An output for machines, and what was printed there."""

    def __init__(self) -> None:
        self.file = Paper()
        self.output = Output(as_json=True, file=self.file)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The JSON objects so far."""
        return [json.loads(line) for line in self.file.getvalue().splitlines()]


@asynccontextmanager
async def file_server(
    inbox: Path, output: Output, *, overwrite: bool = False, limits: Limits | None = None
) -> AsyncIterator[ClientAddress]:
    """`serve-files`, until Ctrl-C; where to reach it."""

    async def command(task_status: trio.TaskStatus[Sequence[ServerAddress]]) -> None:
        await serve_files(
            inbox,
            Places([ANY_PORT]),
            output,
            overwrite=overwrite,
            limits=limits,
            task_status=task_status,
        )

    async with until_ctrl_c(command) as (bound,):
        yield client_address_of(bound)


async def greet(app: App, address: ClientAddress) -> int:
    """Connect to a server and exchange hellos; the channel's number."""
    end = app.connect(address)
    assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
    return end.number


@asynccontextmanager
async def until_ctrl_c(
    command: Callable[[trio.TaskStatus[Any]], Awaitable[None]],
) -> AsyncIterator[Any]:
    """A server command for the length of a block, which Ctrl-C then ends; what it started with."""

    async def run(task_status: trio.TaskStatus[Any]) -> None:
        await command(task_status)

    async with trio.open_nursery() as nursery:
        started = await nursery.start(run)
        yield started
        signal.raise_signal(signal.SIGINT)


@asynccontextmanager
async def serving(
    handler: Handler | None = None, *, topics: Topics | None = None
) -> AsyncGenerator[Target]:
    """A server; where to reach it."""
    async with trio.open_nursery() as nursery:
        work = partial(serve_peers, handler, "tcp://127.0.0.1:0", topics=topics, grace=0)
        (bound,) = await nursery.start(work)
        yield Target(client_address(bound))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(reply: bytes | None, output: Output) -> AsyncGenerator[Target]:
    """`listen`, until Ctrl-C; where to reach it."""

    async def command(task_status: trio.TaskStatus[object]) -> None:
        await listen(Places([ANY_PORT]), reply, output, task_status=task_status)

    async with until_ctrl_c(command) as (bound,):
        yield Target(client_address(bound))
