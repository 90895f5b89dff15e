"""One poller for a whole group, leader and followers: over epoll, and over a kqueue made of it."""

import itertools
import os
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from pytofu import Holder, OpCode
from pytofu.engine import passes
from pytofu.engine import reactor as module
from pytofu.engine.busy_polling import _FEW
from pytofu.engine.reactor import EpollReactor, KqueueReactor, PollingReactor, Turns, best
from pytofu.engine.readiness import Source
from pytofu.engine.turns import EndOfTurn
from tests.engine.ends import Kind, open_ends
from tests.engine.fake_kqueue import use_kqueue
from tests.support import PATIENCE

type Poller = Literal["epoll", "kqueue"]


class DefectError(Exception):
    """What a source with a defect raises."""


class End(Source):
    """One end of a socket pair, which notes what it is called for."""

    def __init__(self, calls: list[str], name: str, sock: socket.socket) -> None:
        self.calls = calls
        self.name = name
        self.sock = sock
        self.when_readable: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_readable(self, now: float) -> None:
        assert now == pytest.approx(trio.current_time(), abs=PATIENCE)
        self.calls.append(f"{self.name} reads")
        self.when_readable()

    def on_writable(self, now: float) -> None:
        self.calls.append(f"{self.name} writes")

    def on_defect(self) -> None:
        self.calls.append(f"{self.name} has a defect")

    def fail(self) -> None:
        raise DefectError


class Nowhere(End):
    """A source without a descriptor."""

    def fileno(self) -> int:
        return -1


class World:
    """A reactor, and sources that note in `calls` what they are called for."""

    def __init__(self, make: Callable[..., PollingReactor], stack: ExitStack) -> None:
        self.turn = EndOfTurn()
        self.reactor = make("group", self.turn, PATIENCE)
        assert self.leaderless == {"group"}
        self.calls: list[str] = []
        self._stack = stack
        self.closed = False

    @property
    def leaderless(self) -> set[Any]:
        return cast("set[Any]", self.turn.leaderless)

    def pair(self, name: str) -> tuple[End, socket.socket]:
        """A source, and the socket at its other end."""
        mine, other = socket.socketpair()
        mine.setblocking(False)
        self._stack.enter_context(mine)
        self._stack.enter_context(other)
        return End(self.calls, name, mine), other

    def ready(self, name: str) -> End:
        """A source that is watched, and can read, as long as it does not."""
        end, peer = self.pair(name)
        self.reactor.watch(end, read=True, write=False)
        peer.send(b"a")
        return end

    def nowhere(self, name: str) -> End:
        mine, _ = self.pair(name)
        return Nowhere(self.calls, name, mine.sock)

    def close(self) -> None:
        """Close the reactor, unless that was done."""
        if not self.closed:
            self.closed = True
            self.reactor.close()

    def serve(self) -> list[str]:
        """What is called by serving once."""
        self.calls.clear()
        self.reactor.serve()
        return list(self.calls)


@pytest.fixture(params=["epoll", "kqueue"])
def poller(request: pytest.FixtureRequest) -> Poller:
    poller: Poller = request.param
    return poller


@pytest.fixture
async def world(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    if poller == "kqueue":
        use_kqueue(monkeypatch)
    make = best()
    assert make is (KqueueReactor if poller == "kqueue" else EpollReactor)
    with ExitStack() as stack:
        world = World(make, stack)
        yield world
        world.close()


# ---------------------------------------------------------------------- readiness


async def test_who_is_ready_for_what_it_asked_is_called_for_that(world: World) -> None:
    one, other = world.pair("one")
    watch = world.reactor.watch
    watch(one, read=True, write=False)
    assert world.serve() == []
    other.send(b"a")
    for _ in range(2):  # as long as it does not read
        assert world.serve() == ["one reads"]
    watch(one, read=True, write=True)
    assert sorted(world.serve()) == ["one reads", "one writes"]
    watch(one, read=False, write=True)
    assert world.serve() == ["one writes"]
    watch(one, read=False, write=True)
    assert world.serve() == ["one writes"]
    watch(one, read=False, write=False)
    assert world.serve() == []
    watch(one, read=True, write=False)
    assert world.serve() == ["one reads"]
    world.reactor.unwatch(one)
    assert world.serve() == []
    world.reactor.unwatch(one)


async def test_who_waits_is_told_of_the_end(world: World) -> None:
    reader, writer = world.pair("reader"), world.pair("writer")
    world.reactor.watch(reader[0], read=True, write=False)
    world.reactor.watch(writer[0], read=False, write=True)
    reader[1].close()
    writer[1].close()
    calls = world.serve()
    assert "reader reads" in calls
    assert "writer writes" in calls


async def test_who_waits_for_nothing_is_not_told_of_the_end(world: World) -> None:
    """A channel that is held back must not make the loop spin."""
    one, other = world.pair("one")
    world.reactor.watch(one, read=True, write=False)
    world.reactor.watch(one, read=False, write=False)
    other.close()
    assert world.serve() == []


async def test_who_has_no_descriptor_is_not_watched(world: World) -> None:
    nowhere = world.nowhere("nowhere")
    world.reactor.watch(nowhere, read=True, write=True)
    assert world.serve() == []
    world.reactor.unwatch(nowhere)


async def test_a_defect_is_its_owners_alone(world: World) -> None:
    ends = [world.pair(name) for name in ("one", "other", "third")]
    for end, peer in ends:
        world.reactor.watch(end, read=True, write=False)
        peer.send(b"a")
    ends[1][0].when_readable = ends[1][0].fail
    assert sorted(world.serve()) == [
        *("one reads", "other has a defect", "other reads", "third reads"),
    ]


async def test_ctrl_c_is_no_defect(world: World) -> None:
    one, peer = world.pair("one")
    world.reactor.watch(one, read=True, write=False)
    peer.send(b"a")

    def interrupt() -> None:
        raise KeyboardInterrupt

    one.when_readable = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.reactor.serve()
    assert world.calls == ["one reads"]


async def test_who_was_closed_by_another_is_not_called(world: World) -> None:
    (one, peer), (other, other_peer) = world.pair("one"), world.pair("other")
    for end, far, victim in ((one, peer, other), (other, other_peer, one)):
        world.reactor.watch(end, read=True, write=False)
        far.send(b"a")
        end.when_readable = lambda victim=victim: world.reactor.unwatch(victim)  # type: ignore[misc]
    assert len(world.serve()) == 1


async def test_not_all_are_served_at_once_but_all_in_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_EVENTS", 2)
    for name in "abc":
        end = world.ready(name)
        end.when_readable = lambda end=end: world.reactor.unwatch(end)  # type: ignore[misc]
    first, second = world.serve(), world.serve()
    assert (len(first), len(second)) == (2, 1)
    assert sorted(first + second) == ["a reads", "b reads", "c reads"]


async def test_a_pass_that_takes_long_leaves_the_rest_for_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * 1.0)
    for name in "abc":
        end = world.ready(name)
        end.when_readable = lambda end=end: world.reactor.unwatch(end)  # type: ignore[misc]
    served = [world.serve() for _ in range(3)]
    assert [len(one) for one in served] == [1, 1, 1]
    assert sorted(itertools.chain(*served)) == ["a reads", "b reads", "c reads"]


async def test_those_left_by_a_pass_come_first_in_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the others, whom the poller tells first, have to say meanwhile."""
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * 1.0)
    for name in "abc":
        world.ready(name)
    calls = [world.serve() for _ in range(9)]
    assert all(len(one) == 1 for one in calls)
    assert calls[:3] == calls[3:6] == calls[6:]
    assert sorted(itertools.chain(*calls[:3])) == ["a reads", "b reads", "c reads"]


@pytest.mark.parametrize("alone", [False, True])
async def test_who_is_left_by_a_pass_and_closed_is_not_called(
    world: World, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(passes, "perf_counter", lambda: next(clock) * 1.0)
    ends = [world.ready(name) for name in "ab"]
    (first,) = world.serve()
    left = next(end for end in ends if f"{end.name} reads" != first)
    world.reactor.unwatch(left)
    for end in ends if alone else ():
        world.reactor.unwatch(end)
    served = list(itertools.chain(*(world.serve() for _ in range(3))))
    assert served == ([] if alone else [first, first])


@pytest.mark.parametrize("descriptor", [True, False])
async def test_those_that_bring_much_have_a_turn_when_several_others_had_theirs(
    world: World, descriptor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "perf_counter", lambda: 0.0)  # no pass takes long
    heavy = [world.ready(name) if descriptor else world.nowhere(name) for name in "ABC"]

    def serve() -> set[str]:
        if not descriptor:
            for end in heavy:
                world.reactor.again(end)
        return {call[0] for call in world.serve() if call.endswith("reads")}

    for end in heavy:
        end.brings_much = True
    alone = [serve() for _ in range(6)]
    assert all(len(one) == 1 for one in alone)
    assert set[str]().union(*alone[:3]) == set[str]().union(*alone[3:]) == {"A", "B", "C"}

    light = [world.ready(name) for name in "abcdefgh"]
    among_others = [serve() for _ in range(30)]
    assert all(one >= set("abcdefgh") for one in among_others)
    turns = [sum(name in one for one in among_others) for name in "ABC"]
    assert max(turns) - min(turns) <= 1
    each = 1 + len(light) // 4 if descriptor else 1  # others without a descriptor count for theirs
    assert {len(one & set("ABC")) for one in among_others[1:]} == {each}


async def test_places_of_others_are_not_saved_for_ever(world: World) -> None:
    light, heavy = [world.pair(name)[0] for name in "aA"]
    heavy.brings_much = True
    turns = Turns()
    for _ in range(10_000):
        turns.begin(1)
        assert turns.has_one(light)
    turns.begin(1)
    assert sum(turns.has_one(heavy) for _ in range(1_000)) <= 1 + 257 // 4


# ---------------------------------------------------------------------- without a descriptor


async def test_who_asks_to_be_called_again_is_called_both_ways(world: World) -> None:
    nowhere = world.nowhere("nowhere")
    world.reactor.again(nowhere)
    assert world.serve() == ["nowhere writes", "nowhere reads"]
    assert world.serve() == []


async def test_who_asks_while_it_is_served_is_called_the_next_time(world: World) -> None:
    nowhere = world.nowhere("nowhere")
    nowhere.when_readable = lambda: world.reactor.again(nowhere)
    world.reactor.again(nowhere)
    for _ in range(3):
        assert world.serve() == ["nowhere writes", "nowhere reads"]


@pytest.mark.parametrize("much", [False, True])
async def test_who_asks_more_than_once_is_called_once(world: World, much: bool) -> None:
    """However often a source asks while it is served: what waits must not grow."""
    ends = [world.nowhere(name) for name in "ab"]

    def ask() -> None:
        for end in ends * 2:
            world.reactor.again(end)

    for end in ends:
        end.brings_much = much
        end.when_readable = ask
    ask()
    for _ in range(5):
        assert len(world.serve()) == (2 if much else 4)
    assert len(world.reactor._again) == 2


async def test_a_defect_of_who_asked_is_its_owners_alone(world: World) -> None:
    one, other = world.nowhere("one"), world.nowhere("other")
    one.when_readable = one.fail
    for end in (one, other):
        world.reactor.again(end)
    assert world.serve() == [
        *("one writes", "one reads", "one has a defect", "other writes", "other reads"),
    ]


async def test_asking_from_another_thread_wakes_whoever_leads(world: World) -> None:
    nowhere = world.nowhere("nowhere")
    async with leading(world):
        await trio.to_thread.run_sync(world.reactor.again, nowhere)
    assert world.serve() == ["nowhere writes", "nowhere reads"]


def test_asking_when_trio_has_ended_is_harmless() -> None:
    reactors: list[PollingReactor] = []

    async def main() -> None:
        reactors.append(World(EpollReactor, ExitStack()).reactor)
        reactors[0].close()

    trio.run(main)
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            reactors[0].again(End([], "late", sock))
        except BaseException as error:
            errors.append(error)

    with socket.socket() as sock:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert errors == []


# ---------------------------------------------------------------------- the lead


@asynccontextmanager
async def leading(world: World) -> AsyncIterator[trio.CancelScope]:
    """Somebody leads while the block begins, and has stopped behind it."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.reactor.lead)
            await wait_all_tasks_blocked()
            assert not world.reactor.can_lead
            assert world.leaderless == set()
            yield nursery.cancel_scope
        assert world.reactor.can_lead
        assert world.leaderless == (set() if world.closed else {"group"})


async def test_who_leads_waits_until_somebody_is_ready(world: World) -> None:
    one, peer = world.pair("one")
    world.reactor.watch(one, read=True, write=False)
    async with leading(world):
        peer.send(b"a")
    assert world.serve() == ["one reads"]


async def test_who_was_ready_soon_is_asked_for_before_the_loop_sleeps(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, peer = world.pair("one")
    world.reactor.watch(one, read=True, write=False)
    for _ in range(_FEW):
        world.turn.polling.before_sleep(PATIENCE)
        async with leading(world):
            peer.send(b"a")
        one.sock.recv(1)
    assert not world.reactor.is_ready()
    sends = iter([b"", b"", b"b"])
    monkeypatch.setattr(os, "sched_yield", lambda: peer.send(next(sends)))
    world.turn.polling.before_sleep(PATIENCE)
    assert world.reactor.is_ready()
    assert world.serve() == ["one reads"]
    assert next(sends, None) is None
    world.close()
    world.turn.polling.before_sleep(PATIENCE)  # asks nobody who is closed


async def test_who_is_watched_later_counts_as_well(world: World) -> None:
    one, _ = world.pair("one")
    async with leading(world):
        world.reactor.watch(one, read=False, write=True)
    assert world.serve() == ["one writes"]


async def test_who_leads_can_be_rung_for(world: World) -> None:
    async with leading(world):
        world.reactor.ring()
        world.reactor.ring()
    assert world.serve() == []
    async with leading(world):  # one ring was one
        world.reactor.ring()


async def test_a_ring_that_nobody_heard_is_for_the_next(world: World) -> None:
    world.reactor.ring()
    with trio.fail_after(PATIENCE):
        await world.reactor.lead()
    assert world.serve() == []


async def test_who_asks_to_be_called_again_ends_the_lead(world: World) -> None:
    nowhere = world.nowhere("nowhere")
    async with leading(world):
        world.reactor.again(nowhere)
    assert world.serve() == ["nowhere writes", "nowhere reads"]


async def test_nobody_waits_while_somebody_is_to_be_called_again(world: World) -> None:
    world.reactor.again(world.nowhere("nowhere"))
    with assert_checkpoints(), trio.fail_after(PATIENCE):
        await world.reactor.lead()
    assert world.serve() == ["nowhere writes", "nowhere reads"]


async def test_who_leads_can_be_cancelled(world: World) -> None:
    async with leading(world) as scope:
        scope.cancel()


async def test_closing_ends_the_lead(world: World) -> None:
    async with leading(world):
        world.close()


async def test_a_ring_behind_the_close_goes_nowhere(world: World) -> None:
    """Its descriptors may be somebody else's by then."""
    world.close()
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    try:
        world.reactor.ring()
        for bell in bells:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(bell)
    finally:
        for bell in bells:
            os.close(bell)


async def test_who_parts_from_its_parent_has_a_poller_and_a_bell_of_its_own() -> None:
    """As a forked child does, whose descriptors are copies; here the copies are the parent's."""
    with ExitStack() as stack:
        world = World(EpollReactor, stack)
        stack.callback(world.close)
        reactor = world.reactor
        theirs, other = world.pair("theirs")
        reactor.watch(theirs, read=True, write=True)
        parents = os.dup(reactor.poller), os.dup(reactor._bell[0])
        number = reactor.poller
        try:
            module._part_from_parent()
            assert reactor.poller == number
            assert world.serve() == []
            mine, _ = world.pair("mine")
            reactor.watch(mine, read=True, write=True)
            assert world.serve() == ["mine writes"]
            reactor.ring()
            assert world.serve() == ["mine writes"]  # the bell was answered
            with pytest.raises(BlockingIOError):
                os.eventfd_read(parents[1])
            with select.epoll.fromfd(parents[0]) as poller:
                assert [descriptor for descriptor, _ in poller.poll(0)] == [theirs.fileno()]
        finally:
            os.close(parents[1])
            other.close()


# ---------------------------------------------------------------------- the system


async def test_where_there_is_no_eventfd_the_bell_is_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "eventfd")
    with ExitStack() as stack:
        world = World(EpollReactor, stack)
        stack.callback(world.close)
        for _ in range(2):
            async with leading(world):
                world.reactor.ring()
                world.reactor.ring()
            assert world.serve() == []


def test_the_reactor_is_what_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best() is EpollReactor
    use_kqueue(monkeypatch)
    assert best() is KqueueReactor
    monkeypatch.delattr(select, "kqueue")
    assert best() is None


def test_tasks_can_be_chosen_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTOFU_REACTOR", "tasks")
    assert best() is None
    monkeypatch.setenv("PYTOFU_REACTOR", "")
    assert best() is EpollReactor


@pytest.mark.parametrize("kind", ["tcp", "uds", "mem"])
async def test_an_engine_over_kqueue_echoes(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_kqueue(monkeypatch)
    async with open_ends(kind, tmp_path) as (client, server):
        assert isinstance(server.app.chnls._group.readiness, KqueueReactor)
        large = bytes(65_000)
        for _ in range(64):
            client.post(OpCode.REQUEST, 1, body=large)
        for _ in range(64):
            request = await server.app.receive()
            request.opcode = OpCode.RESPONSE
            server.app.chnls.post(Holder(request))
            assert (await client.app.event()).body == large
        client.post(OpCode.BYE_SIGNAL, 9)
        await client.events_until_closed()
        await server.events_until_closed()
