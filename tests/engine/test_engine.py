"""The engine: its groups, its end, and what it counts (PROTOCOL 2 and 4)."""

import gc
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import (
    AmpeError,
    Message,
    MessageReleasedError,
    OpCode,
    Options,
    UDSServerAddress,
    trace_releases,
)
from pytofu.engine.engine import Engine
from pytofu.engine.group import Group
from pytofu.engine.observer import Traffic
from pytofu.patterns.result import OK, Err
from pytofu.values.allocation import AllocationStrategy
from tests.engine.scripted import ScriptedLink, open_server
from tests.support import App, frame, open_app

SHUTDOWN: Final = Err(AmpeError.SHUTDOWN_STARTED)
ALWAYS: Final = AllocationStrategy.ALWAYS


@asynccontextmanager
async def running(options: Options | None = None) -> AsyncIterator[Engine]:
    """An engine without the public storey; it ends, at the latest, with the block."""
    engine = Engine(options or Options())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await engine.started.wait()
        yield engine
        engine.close(abort=True)


async def listening(group: Group, path: Path) -> None:
    """Open a listener."""
    message = Message()
    UDSServerAddress(path).format(message)
    message.opcode = OpCode.WELCOME_REQUEST
    assert group.poster.post(message) is OK
    (await group.receive(5)).unwrap().release()


# ---------------------------------------------------------------------- groups and the end


async def test_an_engine_without_groups_ends_when_it_is_closed() -> None:
    async with running() as engine:
        assert not engine.closing
        assert not engine.closed.is_set()
        engine.close(abort=False)
        assert engine.closing
        await engine.closed.wait()


def test_the_pool_has_the_sizes_of_the_options() -> None:
    async def main() -> Engine:
        return Engine(Options(initial_pool_msgs=3, max_pool_msgs=5))

    engine = trio.run(main)
    assert (engine.budget.free, engine.budget.maximum) == (3, 5)


async def test_groups_come_and_go() -> None:
    async with running() as engine:
        one, other = engine.create().unwrap(), engine.create().unwrap()
        assert engine.groups == {one, other}
        one.close(abort=False)
        assert engine.groups == {one, other}
        await one.closed.wait()
        assert engine.groups == {other}
        engine.close(abort=False)
        await engine.closed.wait()
        assert other.closed.is_set()
        assert engine.groups == set()


async def test_no_group_is_made_once_the_engine_closes(tmp_path: Path) -> None:
    async with running() as engine:
        group = engine.create().unwrap()
        await listening(group, tmp_path / "s")
        engine.close(abort=False)
        assert engine.create() == SHUTDOWN
        assert group.closing
        await engine.closed.wait()
        assert engine.create() == SHUTDOWN


@pytest.mark.parametrize("abort", [False, True])
async def test_closing_closes_the_channels_of_all_groups(tmp_path: Path, abort: bool) -> None:
    async with running() as engine:
        groups = [engine.create().unwrap() for _ in range(3)]
        for index, group in enumerate(groups):
            await listening(group, tmp_path / f"s{index}")
        assert len(engine.numbers.open) == 3
        engine.close(abort=abort)
        await engine.closed.wait()
        assert engine.numbers.open == {}
        assert all(group.closed.is_set() and not group.channels for group in groups)


async def test_cancellation_from_outside_does_not_end_the_engine() -> None:
    engine = Engine(Options())
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await engine.started.wait()
            scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                assert not engine.closed.is_set()
                assert engine.create().is_ok()
                engine.close(abort=False)
                await engine.closed.wait()


async def test_a_defect_in_a_group_ends_the_engine_and_says_what_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class DefectError(Exception):
        pass

    async def fail(self: Group) -> None:
        await trio.lowlevel.checkpoint()
        raise DefectError

    engine = Engine(Options())
    with pytest.RaisesGroup(pytest.RaisesExc(DefectError), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await engine.started.wait()
            sound = engine.create().unwrap()
            await listening(sound, tmp_path / "s")
            await wait_all_tasks_blocked()  # its task runs
            monkeypatch.setattr(Group, "_keep_going", fail)
            broken = engine.create().unwrap()
            with trio.CancelScope(shield=True):
                await engine.closed.wait()
    assert engine.closing
    assert engine.create() == SHUTDOWN
    for group in (sound, broken):
        assert group.closed.is_set()
        assert group.mailbox.take() is None
        assert group.poster.post(Message()) != OK
    assert engine.numbers.open == {}


async def test_what_a_group_has_counted_stays_when_it_is_gone() -> None:
    async with running() as engine:
        for messages in (1, 2):
            group = engine.create().unwrap()
            group.traffic.add(Traffic(messages, 0, 10, 0))
            group.close(abort=False)
            await group.closed.wait()
        assert engine.past_traffic == Traffic(3, 0, 20, 0)


# ---------------------------------------------------------------------- what was forgotten


def free(app: App) -> int:
    return app.ampe.statistics().pool_free


async def received(app: App, count: int) -> list[Message]:
    """So many messages that came over a channel."""
    link = ScriptedLink()
    await open_server(app, link)
    await link.bring(b"".join(frame(OpCode.SIGNAL, number + 1) for number in range(count)))
    return [await app.receive() for _ in range(count)]


@pytest.mark.parametrize("how", ["here", "in another thread", "in a cycle"])
async def test_what_is_forgotten_is_given_back(how: str) -> None:
    async with open_app(Options(initial_pool_msgs=64)) as app:
        held = await received(app, 3)
        lent = app.ampe.get()
        assert free(app) == 60
        piles: list[list[object]] = [[*held, lent]]
        held.clear()
        del lent
        if how == "in a cycle":
            piles[0].append(piles[0])
        if how == "in another thread":
            thread = threading.Thread(target=piles.clear)
            thread.start()
            thread.join()
        else:
            piles.clear()
        assert free(app) == 60
        gc.collect()
        await wait_all_tasks_blocked()
        assert free(app) == 64


async def test_that_something_was_forgotten_is_said_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with open_app() as app:
            for _ in range(3):
                app.ampe.get()
            await wait_all_tasks_blocked()
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert "a message was dropped" in str(warning.message)
    assert ".py" not in str(warning.message)
    assert warning.filename == __file__  # where it was dropped, and not where pytofu found it


async def test_while_releases_are_traced_it_is_said_once_a_place() -> None:
    trace_releases(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with open_app() as app:
                for _ in range(3):
                    app.ampe.get()
                app.ampe.get()
                await wait_all_tasks_blocked()
    finally:
        trace_releases(False)
    assert len(caught) == 2
    assert all(__file__ in str(warning.message) for warning in caught)
    assert len({str(warning.message) for warning in caught}) == 2


async def test_when_the_engine_has_ended_nothing_is_owed_to_it() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with open_app(Options(initial_pool_msgs=64)) as app:
            held: list[Message] = [app.ampe.get(), *await received(app, 2)]
        app.ampe._engine.budget.put(held.pop())
        before = free(app)
        held.clear()
        await wait_all_tasks_blocked()
        assert free(app) == before == 62
    assert caught == []


async def test_what_was_put_back_was_not_forgotten() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with open_app() as app:
            message = app.ampe.get()
            message.release()
            with pytest.raises(MessageReleasedError):
                message.release()
            del message
            await wait_all_tasks_blocked()
    assert caught == []
