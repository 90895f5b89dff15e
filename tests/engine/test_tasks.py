"""The portable reactor: a task for each link."""

import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import Holder, OpCode
from pytofu.engine.readiness import Source
from pytofu.engine.tasks import TaskReactor
from tests.engine.ends import Kind, open_ends
from tests.leaks import live_tasks
from tests.support import PATIENCE, open_app


class End(Source):
    """One end of a socket pair, which notes what it is called for."""

    def __init__(self, calls: list[str], sock: socket.socket | None = None) -> None:
        self.calls = calls
        self.sock = sock
        self.when_called: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        return -1 if self.sock is None else self.sock.fileno()

    def on_readable(self, now: float) -> None:
        self.calls.append("reads")
        if self.sock is not None and not self.calls.count("writes"):
            self.sock.recv(1)
        self.when_called()

    def on_writable(self, now: float) -> None:
        self.calls.append("writes")
        self.when_called()

    def on_defect(self) -> None:
        self.calls.append("defect")


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def pair(calls: list[str]) -> Iterator[tuple[End, socket.socket]]:
    mine, other = socket.socketpair()
    mine.setblocking(False)
    with mine, other:
        yield End(calls, mine), other


@pytest.fixture
async def reactor() -> AsyncIterator[TaskReactor]:
    async with trio.open_nursery() as nursery:

        def start(task: Callable[[], Awaitable[None]]) -> None:
            nursery.start_soon(task)

        reactor = TaskReactor(start)
        yield reactor
        reactor.close()
        with trio.fail_after(PATIENCE):
            await wait_all_tasks_blocked()
            assert not nursery.child_tasks


async def test_who_is_readable_is_called_each_time(
    reactor: TaskReactor, calls: list[str], pair: tuple[End, socket.socket]
) -> None:
    end, other = pair
    reactor.watch(end, read=True, write=False)
    before = live_tasks()
    reactor.watch(end, read=True, write=False)
    await wait_all_tasks_blocked()
    assert live_tasks() == before
    for count in (1, 2):
        other.send(b"a")
        await wait_all_tasks_blocked(0.002)
        assert calls == ["reads"] * count
    reactor.watch(end, read=False, write=False)
    other.send(b"a")
    await wait_all_tasks_blocked(0.002)
    assert len(calls) == 2


async def test_who_is_writable_is_called_until_it_waits_no_more(
    reactor: TaskReactor, calls: list[str], pair: tuple[End, socket.socket]
) -> None:
    end, _ = pair

    def enough() -> None:
        if len(calls) == 3:
            reactor.watch(end, read=True, write=False)

    end.when_called = enough
    reactor.watch(end, read=True, write=True)
    await wait_all_tasks_blocked(0.002)
    assert calls == ["writes"] * 3
    reactor.unwatch(end)


async def test_who_is_unwatched_while_it_is_served_is_not_called_again(
    reactor: TaskReactor, calls: list[str], pair: tuple[End, socket.socket]
) -> None:
    end, _ = pair
    end.when_called = lambda: reactor.unwatch(end)
    reactor.watch(end, read=False, write=True)
    await wait_all_tasks_blocked(0.002)
    assert calls == ["writes"]


async def test_who_is_closed_is_woken(
    reactor: TaskReactor, calls: list[str], pair: tuple[End, socket.socket]
) -> None:
    end, _ = pair
    reactor.watch(end, read=True, write=False)
    await wait_all_tasks_blocked()
    reactor.unwatch(end)
    reactor.unwatch(end)
    assert end.sock is not None
    end.sock.close()
    reactor.unwatch(end)
    await wait_all_tasks_blocked()
    assert calls == []


async def test_who_has_no_descriptor_is_not_watched(reactor: TaskReactor, calls: list[str]) -> None:
    before = live_tasks()
    nowhere = End(calls)
    reactor.watch(nowhere, read=True, write=True)
    assert live_tasks() == before
    reactor.unwatch(nowhere)


@pytest.mark.parametrize("again", [False, True])
async def test_a_defect_is_told_to_its_owner(
    reactor: TaskReactor, calls: list[str], pair: tuple[End, socket.socket], again: bool
) -> None:
    end, _ = pair

    def fail() -> None:
        reactor.unwatch(end)
        raise RuntimeError

    end.when_called = fail
    if again:
        reactor.again(end)
    else:
        reactor.watch(end, read=False, write=True)
    await wait_all_tasks_blocked(0.002)
    assert calls[:2] == ["writes", "defect"]


@pytest.mark.parametrize("thread", [False, True])
async def test_who_asks_to_be_called_again_is_called_both_ways(
    reactor: TaskReactor, calls: list[str], thread: bool
) -> None:
    nowhere = End(calls)
    if thread:
        await trio.to_thread.run_sync(reactor.again, nowhere)
    else:
        reactor.again(nowhere)
        assert calls == []
    await wait_all_tasks_blocked()
    assert calls == ["writes", "reads"]


async def test_who_asks_more_than_once_is_called_once(
    reactor: TaskReactor, calls: list[str]
) -> None:
    nowhere = End(calls)
    before = live_tasks()
    for _ in range(3):
        reactor.again(nowhere)
    assert live_tasks() == before + 1
    await wait_all_tasks_blocked()
    reactor.again(nowhere)
    await wait_all_tasks_blocked()
    assert calls == ["writes", "reads"] * 2


def test_asking_when_trio_has_ended_is_harmless(calls: list[str]) -> None:
    async def main() -> TaskReactor:
        return TaskReactor(lambda task: None)

    reactor = trio.run(main)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            reactor.again(End(calls))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(PATIENCE)
    assert (thread.is_alive(), errors, calls) == (False, [], [])


async def test_nobody_leads_and_nothing_is_rung(reactor: TaskReactor) -> None:
    assert not reactor.can_lead
    reactor.serve()
    reactor.ring()
    await reactor.lead()


# ---------------------------------------------------------------------- an engine that has it


@pytest.fixture
def _tasks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTOFU_REACTOR", "tasks")


@pytest.mark.usefixtures("_tasks_alone")
@pytest.mark.parametrize("kind", ["tcp", "uds", "mem"])
async def test_an_engine_that_has_it_echoes(kind: Kind, tmp_path: Path) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        assert isinstance(server.app.chnls._group.readiness, TaskReactor)
        large = bytes(65_000)
        for _ in range(64):
            client.post(OpCode.REQUEST, 1, body=large)
        for _ in range(64):
            request = await server.app.receive()
            request.opcode = OpCode.RESPONSE
            server.app.chnls.post(Holder(request))
            assert (await client.app.event()).body == large
        client.post(OpCode.BYE_SIGNAL, 9)
        assert (await client.events_until_closed())[0].opcode is OpCode.BYE_SIGNAL
        await server.events_until_closed()


@pytest.mark.usefixtures("_tasks_alone")
async def test_who_asks_to_be_called_when_its_group_has_ended_is_not(calls: list[str]) -> None:
    """As the other end of a memory link may, from its own thread."""
    async with open_app() as app:
        group = app.chnls._group
        await app.ampe.destroy(app.chnls)
        await trio.to_thread.run_sync(group.readiness.again, End(calls))
        await wait_all_tasks_blocked()
    assert calls == []
