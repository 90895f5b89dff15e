"""Leaving `open_ampe` under load: normally, by an exception, by cancellation, by Ctrl-C.

However it is left, that ends in time, nothing of the engine is left, and what comes out is what
the application raised, bare.
"""

import itertools
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pytofu import (
    Ampe,
    ChannelClosedException,
    Holder,
    OpCode,
    Options,
    ShutdownException,
    TCPServerAddress,
    UDSServerAddress,
    open_ampe,
)
from tests.ctrl_c import CtrlC
from tests.leaks import live_tasks, open_files
from tests.support import (
    App,
    ClientAddress,
    RawListener,
    RawPeer,
    ServerAddress,
    connect_apps,
    open_app,
)

CLOSE_TIMEOUT: Final = 0.3
NEVER: Final = 60.0
"""A close_timeout that must not be waited for."""
MARGIN: Final = 3.0
"""Seconds for a busy machine. Without load all of this takes some milliseconds."""

LARGE: Final = bytes(60_000)
PROGRAM: Final = Path(__file__).with_name("loaded_program.py")


class OwnError(Exception):
    """Of the application."""


# ---------------------------------------------------------------------- the load


@attrs.frozen
class Peers:
    """What the engine under test talks to: one that echoes and one that is mute, two transports."""

    echoing: list[ClientAddress]
    mute: list[ClientAddress]


def addresses(directory: Path) -> list[ServerAddress]:
    """One for each transport."""
    directory.mkdir()
    return [TCPServerAddress("127.0.0.1", 0), UDSServerAddress(directory / "s")]


@asynccontextmanager
async def open_peers(directory: Path) -> AsyncIterator[Peers]:
    """Peers in an engine of their own, and raw ones."""
    with (
        RawListener(TCPServerAddress("127.0.0.1", 0), receive_buffer=4096) as tcp_mute,
        RawListener(UDSServerAddress(directory / "mute")) as uds_mute,
    ):
        async with open_app() as app, trio.open_nursery() as nursery:
            listeners = [await app.listen(to) for to in addresses(directory / "echoing")]
            nursery.start_soon(echo, app)
            yield Peers(
                [listener.client_address for listener in listeners],
                [tcp_mute.client_address, uds_mute.client_address],
            )
            nursery.cancel_scope.cancel()


async def echo(app: App) -> None:
    """Answer requests for ever."""
    async for holder in app.chnls:
        message = holder.unwrap()
        if message.opcode in (OpCode.REQUEST, OpCode.HELLO_REQUEST):
            message.opcode = message.opcode.echo().unwrap()
            with suppress(ChannelClosedException):
                app.chnls.post(holder)


async def put_under_load(ampe: Ampe, app: App, peers: Peers, directory: Path) -> list[RawPeer]:
    """Give the engine of everything something to close, and more to send than anybody takes."""
    listeners = [await app.listen(address) for address in addresses(directory)]
    clients = [await RawPeer.connect(listener.client_address) for listener in listeners]
    for address in (*peers.echoing, *peers.mute):
        end = app.connect(address)
        for _ in range(200):
            end.post(OpCode.REQUEST, body=LARGE)
    for address in peers.echoing:
        app.connect(address)
    other = App(ampe, ampe.create())
    other.connect(peers.echoing[0])
    other.chnls.update_receiver(Holder())
    for _ in range(20):
        await app.event()
    return clients


# ---------------------------------------------------------------------- ways out


@trio.lowlevel.enable_ki_protection
def ctrl_c_later() -> None:
    """Ctrl-C at a moment when Trio has to wait for the main task's next checkpoint."""
    signal.raise_signal(signal.SIGINT)


@attrs.frozen
class Leaving:
    """One way to leave: what the block does last, and what comes out of `open_ampe`."""

    leave: Callable[[App, trio.CancelScope], Awaitable[None]]
    outcome: type[BaseException] | None = None
    close_timeout: float = NEVER
    on_closing: Callable[[trio.CancelScope], None] | None = None
    """What happens while the engine closes."""


async def by_the_end(_app: App, _scope: trio.CancelScope) -> None:
    """Nothing more to do."""


async def by_error(_app: App, _scope: trio.CancelScope) -> None:
    raise OwnError


async def by_cancellation(app: App, scope: trio.CancelScope) -> None:
    scope.cancel()
    while True:
        await app.event()


async def by_ctrl_c(_app: App, _scope: trio.CancelScope) -> None:
    signal.raise_signal(signal.SIGINT)


async def by_ctrl_c_at_a_checkpoint(app: App, _scope: trio.CancelScope) -> None:
    ctrl_c_later()
    while True:
        await app.event()


LEAVINGS: Final = {
    "end": Leaving(by_the_end, close_timeout=CLOSE_TIMEOUT),
    "error": Leaving(by_error, OwnError),
    "cancellation": Leaving(by_cancellation),
    "ctrl-c": Leaving(by_ctrl_c, KeyboardInterrupt),
    "ctrl-c at a checkpoint": Leaving(by_ctrl_c_at_a_checkpoint, KeyboardInterrupt),
    "cancellation while closing": Leaving(by_the_end, on_closing=trio.CancelScope.cancel),
    "ctrl-c while closing": Leaving(
        by_the_end, KeyboardInterrupt, on_closing=lambda _: ctrl_c_later()
    ),
}


async def when_closing(app: App, action: Callable[[], None]) -> None:
    """Do this as soon as the application's group has begun to close."""
    with suppress(ShutdownException):
        while True:
            app.ampe.put(Holder(app.chnls.receive_nowait()))
            await trio.lowlevel.checkpoint()
    action()


@asynccontextmanager
async def open_group(ampe: Ampe, inner_block: bool) -> AsyncIterator[App]:
    """An application, whose group has a block of its own or is left to the engine."""
    if inner_block:
        async with ampe.open_channel_group() as chnls:
            yield App(ampe, chnls)
    else:
        yield App(ampe, ampe.create())


@attrs.define
class Run:
    """What is left when the block has been left."""

    ampe: Ampe
    clients: list[RawPeer]
    started: float
    """When it began to be left."""


async def leave_under_load(leaving: Leaving, inner_block: bool, directory: Path) -> None:
    """Open an engine, put it under load and leave it; check how that went."""
    tasks = live_tasks()
    own = directory / "own"
    run: Run | None = None
    caught: BaseException | None = None
    async with open_peers(directory) as peers, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            try:
                async with (
                    open_ampe(Options(close_timeout=leaving.close_timeout)) as ampe,
                    open_group(ampe, inner_block) as app,
                ):
                    clients = await put_under_load(ampe, app, peers, own)
                    if leaving.on_closing is not None:
                        action = partial(leaving.on_closing, scope)
                        nursery.start_soon(when_closing, app, action)
                    run = Run(ampe, clients, trio.current_time())
                    await leaving.leave(app, scope)
            except (OwnError, KeyboardInterrupt) as error:
                caught = error
        assert run is not None
        limit = MARGIN if leaving.close_timeout == NEVER else leaving.close_timeout + MARGIN
        assert trio.current_time() - run.started < limit
        assert type(caught) is (leaving.outcome or type(None))
        statistics = run.ampe.statistics()
        assert (statistics.groups, statistics.channels) == (0, 0)
        assert list(own.iterdir()) == []
        for client in run.clients:
            with client:
                await client.ending()
    assert live_tasks() == tasks


@pytest.mark.parametrize("inner_block", [False, True], ids=["engine", "group and engine"])
@pytest.mark.parametrize("leaving", LEAVINGS.values(), ids=LEAVINGS.keys())
def test_leaving_under_load(leaving: Leaving, inner_block: bool, tmp_path: Path) -> None:
    files = open_files()
    trio.run(leave_under_load, leaving, inner_block, tmp_path)
    assert open_files() == files


# ---------------------------------------------------------------------- real processes


@pytest.mark.parametrize("mode", ["waiting", "busy"])
def test_ctrl_c_ends_a_process(mode: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        arguments = [PROGRAM, tmp_path, mute.getsockname()[1], mode]
        with subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert (tmp_path / "s").is_socket()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=MARGIN)
    assert (process.returncode, output) == (-signal.SIGINT, "")
    assert errors.startswith("Traceback")
    assert errors.endswith("\nKeyboardInterrupt\n")
    assert "ExceptionGroup" not in errors
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- anywhere


async def use_everything(directory: Path, engines: list[Ampe]) -> None:
    """Call everything that an application can call, in the main task."""
    async with open_ampe() as ampe:
        engines.append(ampe)
        server = App(ampe, ampe.create())
        for address in addresses(directory):
            listener = await server.listen(address)
            async with ampe.open_channel_group() as chnls:
                client = App(ampe, chnls)
                near, far = await connect_apps(client, listener)
                near.post(OpCode.REQUEST, body=LARGE)
                await chnls.send(client.message(OpCode.REQUEST, near.number, body=LARGE))
                await server.events(2)
                chnls.update_receiver(Holder())
                assert await chnls.wait_receive() is not None
                assert chnls.receive_nowait() is None
                assert await chnls.wait_receive(timeout_ns=1) is None
                far.post(OpCode.SIGNAL)
                async for holder in chnls:
                    if holder.unwrap().channel_number == near.number:
                        break
                near.post(OpCode.BYE_SIGNAL)
            await server.rest()
        await ampe.destroy(server.chnls)


@pytest.mark.timeout(60)
def test_ctrl_c_on_any_line(tmp_path: Path) -> None:
    files = open_files()
    for at in itertools.count():
        directory = tmp_path / str(at)
        engines: list[Ampe] = []
        ctrl_c = CtrlC(at)
        with ctrl_c.armed():
            try:
                trio.run(use_everything, directory, engines)
            except KeyboardInterrupt:
                assert ctrl_c.where is not None
            except BaseException as error:
                error.add_note(f"Ctrl-C at {ctrl_c.where}")
                raise
        assert not directory.exists() or list(directory.iterdir()) == [], ctrl_c.where
        assert open_files() == files, ctrl_c.where
        for engine in engines:
            statistics = engine.statistics()
            assert (statistics.groups, statistics.channels) == (0, 0), ctrl_c.where
        if ctrl_c.where is None:
            assert at > 50
            break
