"""The end of each turn of Trio's loop: what was posted is written, and everybody is served."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import Holder, OpCode, Options
from pytofu.engine.busy_polling import BusyPolling
from pytofu.engine.turns import EndOfTurn
from pytofu.links.sockets import SocketLink
from tests.engine.ends import (
    Kind,
    address_of,
    assert_talking,
    connect,
    greet,
    listen,
    open_ends,
)
from tests.support import PATIENCE, End, open_app

KINDS = ("tcp", "uds", "mem")


class Group:
    """A group that counts what it is told."""

    def __init__(self, turn: EndOfTurn) -> None:
        self.turn = turn
        self.worked = self.led = 0
        self.task: trio.lowlevel.Task | None = None

    def work(self) -> None:
        self.worked += 1

    def take_lead(self) -> None:
        self.led += 1
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task)

    async def sleep(self) -> None:
        """Until it is to lead."""
        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


@pytest.fixture
async def turn() -> EndOfTurn:
    return EndOfTurn()


async def served(end: End) -> None:
    """Until a message waits to be received: nothing else tells that the links are served."""
    with trio.fail_after(PATIENCE):
        while not end.app.chnls.statistics().messages_waiting:  # noqa: ASYNC110
            await trio.sleep(0.001)
    assert end.app.chnls.statistics().messages_waiting == 1


async def busy(turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()


# ---------------------------------------------------------------------- the instrument


async def test_who_has_work_does_it_once(turn: EndOfTurn) -> None:
    group = Group(turn)
    turn.with_work[group] = None
    turn.before_io_wait(0)
    turn.before_io_wait(0)
    assert (group.worked, group.led, turn.with_work) == (1, 0, {})


async def test_work_may_make_work_for_the_next_turn(turn: EndOfTurn) -> None:
    group = Group(turn)
    group.work = lambda: turn.with_work.setdefault(group)  # type: ignore[method-assign]
    turn.with_work[group] = None
    turn.before_io_wait(0)
    assert turn.take_work() == [group]
    assert turn.take_work() == []


async def test_who_has_no_leader_gets_one_when_the_loop_is_about_to_sleep(turn: EndOfTurn) -> None:
    group = Group(turn)
    turn.before_io_wait(1)
    turn.leaderless.add(group)
    turn.before_io_wait(1)
    assert (group.led, group.worked) == (1, 0)


async def test_the_loop_does_not_sleep_when_somebody_was_woken(turn: EndOfTurn) -> None:
    group = Group(turn)
    turn.leaderless.add(group)
    trio.lowlevel.add_instrument(turn)
    try:
        with trio.fail_after(PATIENCE):
            await group.sleep()
    finally:
        trio.lowlevel.remove_instrument(turn)
    assert group.led == 1


async def test_who_waits_until_all_are_blocked_sees_a_leader(turn: EndOfTurn) -> None:
    group = Group(turn)
    turn.leaderless.add(group)
    trio.lowlevel.add_instrument(turn)
    try:
        await wait_all_tasks_blocked()
    finally:
        trio.lowlevel.remove_instrument(turn)
    assert group.led >= 1


async def test_a_loop_that_never_sleeps_has_a_leader_now_and_then(turn: EndOfTurn) -> None:
    group = Group(turn)
    turn.leaderless.add(group)
    trio.lowlevel.add_instrument(turn)
    try:
        await busy(160)
    finally:
        trio.lowlevel.remove_instrument(turn)
    assert 9 <= group.led <= 11


@pytest.mark.parametrize("led", [True, False])
@pytest.mark.parametrize(
    ("for_seconds", "before", "asked"),
    [(0, "nothing", False), (1, "nothing", True), (1, "work", True), (1, "more work", False)],
)
async def test_the_pollers_are_asked_when_the_loop_is_about_to_sleep(
    turn: EndOfTurn,
    monkeypatch: pytest.MonkeyPatch,
    for_seconds: float,
    before: str,
    asked: bool,
    led: bool,
) -> None:
    asking: list[float] = []

    def before_sleep(_: BusyPolling, seconds: float) -> None:
        asking.append(seconds)

    monkeypatch.setattr(BusyPolling, "before_sleep", before_sleep)
    group = Group(turn)
    if before != "nothing":
        turn.with_work[group] = None
    if before == "more work":
        group.work = lambda: turn.with_work.setdefault(group)  # type: ignore[method-assign]
    if not led:
        turn.leaderless.add(group)  # who has no task here: nobody is woken
    turn.before_io_wait(for_seconds)
    assert asking == [for_seconds] * asked


async def test_the_loop_does_not_look_out_for_peers_when_somebody_was_woken(
    turn: EndOfTurn, monkeypatch: pytest.MonkeyPatch
) -> None:
    runnable: list[int] = []

    def before_sleep(*_: object) -> None:
        runnable.append(trio.lowlevel.current_statistics().tasks_runnable)

    monkeypatch.setattr(BusyPolling, "before_sleep", before_sleep)
    group = Group(turn)
    turn.leaderless.add(group)
    trio.lowlevel.add_instrument(turn)
    try:
        for _ in range(3):
            with trio.fail_after(PATIENCE):
                await group.sleep()
        turn.leaderless.clear()
        await trio.sleep(0.001)
    finally:
        trio.lowlevel.remove_instrument(turn)
    assert set(runnable) == {0}


# ---------------------------------------------------------------------- an engine that has it


async def test_what_is_posted_in_one_turn_is_one_write_a_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    send = SocketLink.send

    def counting(link: SocketLink, data: bytes | memoryview) -> object:
        writes.append(link.fileno())
        return send(link, data)

    async with open_app() as server, open_app() as client:
        _, address = await listen(server, address_of("uds", tmp_path))
        ends = [await greet(client, server, address) for _ in range(3)]
        ends[0][0].post(OpCode.SIGNAL)  # the answer to what was received last goes at once
        await server.event()
        client.chnls._group.poster.answered = client.chnls._group.mailbox.taken
        monkeypatch.setattr(SocketLink, "send", counting)
        for number in range(20):
            for client_end, _ in ends:
                client_end.post(OpCode.SIGNAL, number + 1)
        assert writes == []
        await trio.lowlevel.checkpoint()
        assert len(writes) == len(set(writes)) == 3
        received = await server.events(60)
        for _, server_end in ends:
            mine = [event.message_id for event in received if event.channel == server_end.number]
            assert mine == list(range(1, 21))


async def test_the_answer_to_the_only_message_there_was_goes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    send = SocketLink.send

    def counting(link: SocketLink, data: bytes | memoryview) -> object:
        writes.append(link.fileno())
        return send(link, data)

    async with open_ends("uds", tmp_path) as (client, server):
        client.post(OpCode.REQUEST, 1)
        await server.app.event()
        monkeypatch.setattr(SocketLink, "send", counting)
        server.post(OpCode.RESPONSE, 1)
        assert len(writes) == 1
        server.post(OpCode.SIGNAL, 2)
        assert len(writes) == 1
        assert [event.message_id for event in await client.app.events(2)] == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_program_that_never_receives_is_served(kind: Kind, tmp_path: Path) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        client.post(OpCode.SIGNAL, 1)
        await served(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_program_that_never_sleeps_is_served(kind: Kind, tmp_path: Path) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        await wait_all_tasks_blocked()
        client.post(OpCode.SIGNAL, 1)
        await busy(100)
        assert server.app.chnls.statistics().messages_waiting == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_when_all_tasks_are_blocked_the_sockets_have_been_served(
    kind: Kind, tmp_path: Path
) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        for count in (1, 2, 3):
            client.post(OpCode.SIGNAL, count)
            await wait_all_tasks_blocked()
            assert server.app.chnls.statistics().messages_waiting == count


@pytest.mark.parametrize("kind", KINDS)
async def test_a_clock_that_jumps_does_so_when_the_sockets_have_been_served(
    kind: Kind, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        before = trio.current_time()
        for count in range(1, 6):
            client.post(OpCode.SIGNAL, count)
            await trio.sleep(3600)
            assert server.app.chnls.statistics().messages_waiting == count
        assert trio.current_time() == before + 5 * 3600
        assert [e.message_id for e in await server.app.events(5)] == [1, 2, 3, 4, 5]


async def test_an_engine_whose_instrument_is_gone_serves_who_receives_and_ends(
    tmp_path: Path,
) -> None:
    """Trio takes one away that has raised; any program may."""
    quick = Options(close_timeout=0.05)
    async with (
        open_ends("uds", tmp_path, client_options=quick, server_options=quick) as (client, server),
        trio.open_nursery() as nursery,
    ):
        turn = client.app.ampe._engine._turn
        assert turn is not None
        trio.lowlevel.remove_instrument(turn)

        async def echo() -> None:
            while True:
                server.app.chnls.post(Holder(await server.app.chnls.wait_receive()))

        nursery.start_soon(echo)
        for number in range(1, 11):
            client.post(OpCode.SIGNAL, number)
            assert (await client.app.event()).message_id == number
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- several


@pytest.mark.parametrize("kind", KINDS)
async def test_two_engines_of_one_program(kind: Kind, tmp_path: Path) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        assert client.app.ampe._engine is not server.app.ampe._engine
        assert client.app.ampe._engine._turn is server.app.ampe._engine._turn
        await assert_talking(client, server)
        await assert_talking(server, client)


async def test_the_turn_is_there_as_long_as_an_engine_is() -> None:
    async with open_app() as one:
        first = one.ampe._engine._turn
        assert first is not None
        async with open_app() as two:
            assert two.ampe._engine._turn is first
        assert first.engines == 1
        trio.lowlevel.remove_instrument(first)  # as one that has raised
        async with open_app():
            before = first.number
            await trio.lowlevel.checkpoint()
            assert first.number > before
    async with open_app() as later:
        assert later.ampe._engine._turn is not first
        before = first.number
        await trio.lowlevel.checkpoint()
        assert first.number == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_in_each_of_two_threads(kind: Kind, tmp_path: Path) -> None:
    where: queue.Queue[object] = queue.Queue()
    echoed: list[int] = []

    async def serve() -> None:
        async with open_app() as app:
            _, address = await listen(app, address_of(kind, tmp_path))
            where.put(address)
            while True:
                message = await app.receive()
                match message.opcode:
                    case OpCode.HELLO_REQUEST:
                        message.opcode = OpCode.HELLO_RESPONSE
                        app.chnls.post(Holder(message))
                    case OpCode.REQUEST:
                        message.opcode = OpCode.RESPONSE
                        app.chnls.post(Holder(message))
                    case _:
                        app.ampe.put(Holder(message))
                        return

    async def ask() -> None:
        address = where.get(timeout=PATIENCE)
        async with open_app() as app:
            end = connect(app, address)  # type: ignore[arg-type]
            assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
            for number in range(1, 101):
                end.post(OpCode.REQUEST, number, body=bytes(number * 100))
                echoed.append((await app.event()).message_id)

    threads = [threading.Thread(target=trio.run, args=(main,)) for main in (serve, ask)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert echoed == list(range(1, 101))
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("kind", KINDS)
def test_a_guest_of_another_loop(kind: Kind, tmp_path: Path) -> None:
    """Trio's turns are the host's then, and its waiting for sockets is in a thread."""
    todo: queue.Queue[Callable[[], object]] = queue.Queue()
    outcomes: list[object] = []

    async def main() -> str:
        async with open_ends(kind, tmp_path) as (client, server):
            for _ in range(10):
                await assert_talking(client, server)
                await assert_talking(server, client)
            client.post(OpCode.SIGNAL, 1)
            await served(server)
        return "well"

    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=todo.put, done_callback=outcomes.append
    )
    while not outcomes:
        todo.get(timeout=PATIENCE)()
    (outcome,) = outcomes
    assert outcome.unwrap() == "well"  # type: ignore[attr-defined]
