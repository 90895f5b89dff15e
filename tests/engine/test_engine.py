"""The engine: its groups, its end, and what it counts (PROTOCOL 2 and 4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import AmpeError, Message, Options, UDSServerAddress
from pytofu.engine.engine import Engine
from pytofu.engine.group import Group
from pytofu.engine.traffic import Traffic
from pytofu.patterns.result import OK, Err
from tests.support import ServerAddress

SHUTDOWN = Err(AmpeError.SHUTDOWN_STARTED)


@asynccontextmanager
async def running(options: Options | None = None) -> AsyncIterator[Engine]:
    """An engine without the public storey; it ends, at the latest, with the block."""
    engine = Engine(options or Options())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run)
        await engine.started.wait()
        yield engine
        engine.close(abort=True)


async def listening(group: Group, address: ServerAddress) -> None:
    """Open a listener."""
    message = Message()
    address.format(message)
    assert group.post(message) is OK
    (await group.mailbox.receive(5)).unwrap()


async def test_an_engine_without_groups_ends_when_it_is_closed() -> None:
    async with running() as engine:
        assert not engine.closing
        assert not engine.closed.is_set()
        engine.close(abort=False)
        assert engine.closing
        await engine.closed.wait()


async def test_the_pool_has_the_sizes_of_the_options() -> None:
    engine = Engine(Options(initial_pool_msgs=3, max_pool_msgs=5))
    assert (engine.pool.free, engine.pool.maximum) == (3, 5)


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


async def test_no_group_is_made_once_the_engine_closes(address: ServerAddress) -> None:
    async with running() as engine:
        group = engine.create().unwrap()
        await listening(group, address)
        engine.close(abort=False)
        assert engine.create() == SHUTDOWN
        assert group.update_receiver(None) == SHUTDOWN
        await engine.closed.wait()
        assert engine.create() == SHUTDOWN


@pytest.mark.parametrize("abort", [False, True])
async def test_closing_closes_the_channels_of_all_groups(
    address: ServerAddress, abort: bool
) -> None:
    async with running() as engine:
        groups = [engine.create().unwrap() for _ in range(3)]
        for index, group in enumerate(groups):
            if isinstance(address, UDSServerAddress):
                await listening(group, UDSServerAddress(f"{address.path}{index}"))
            else:
                await listening(group, address)
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
    monkeypatch: pytest.MonkeyPatch, address: ServerAddress
) -> None:
    class DefectError(Exception):
        pass

    async def dispatch(self: Group) -> None:
        await trio.lowlevel.checkpoint()
        raise DefectError

    engine = Engine(Options())
    with pytest.RaisesGroup(pytest.RaisesExc(DefectError), flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            await engine.started.wait()
            sound = engine.create().unwrap()
            await listening(sound, address)
            monkeypatch.setattr(Group, "_dispatch", dispatch)
            broken = engine.create().unwrap()
            with trio.CancelScope(shield=True):
                await engine.closed.wait()
    assert engine.closing
    assert engine.create() == SHUTDOWN
    for group in (sound, broken):
        assert group.closed.is_set()
        assert group.mailbox.take() is None
        assert group.post(Message()) != OK
    assert engine.numbers.open == {}


async def test_what_a_group_has_counted_stays_when_it_is_gone() -> None:
    async with running() as engine:
        for messages in (1, 2):
            group = engine.create().unwrap()
            group.traffic.add(Traffic(messages, 0, 10, 0))
            group.close(abort=False)
            await group.closed.wait()
        assert engine.past_traffic == Traffic(3, 0, 20, 0)
