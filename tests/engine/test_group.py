"""A channel group: who leads and who follows, its first and its last moments (PROTOCOL 2 to 4)."""

import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, Message, OpCode, Options, ShutdownException, open_ampe
from pytofu.engine import opening
from pytofu.links.base import Link
from tests.engine.ends import Kind, address_of, greet, listen, open_ends
from tests.engine.scripted import (
    HERE,
    NOWHERE,
    ScriptedLink,
    ScriptedListening,
    connect,
    listens_at,
    open_end,
    open_server,
)
from tests.leaks import live_tasks
from tests.support import (
    PATIENCE,
    App,
    Side,
    address_headers,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
)

KINDS: Final = ("tcp", "uds", "mem")
CLOSED: Final = AmpeStatus.CHANNEL_CLOSED


@asynccontextmanager
async def open_bare_app(options: Options | None = None) -> AsyncIterator[App]:
    """An application whose group the test destroys."""
    async with open_ampe(options) as ampe:
        yield App(ampe, ampe.create())


class Receivers:
    """Tasks that receive once each, or until they are cancelled."""

    def __init__(self, app: App, nursery: trio.Nursery) -> None:
        self.app = app
        self.nursery = nursery
        self.received: list[int] = []
        self.ended = 0

    async def add(self, count: int = 1) -> list[trio.CancelScope]:
        """Start some and let them wait."""
        scopes = [trio.CancelScope() for _ in range(count)]
        for scope in scopes:
            self.nursery.start_soon(self._receive, scope)
            await wait_all_tasks_blocked()
        return scopes

    async def _receive(self, scope: trio.CancelScope) -> None:
        with scope:
            try:
                message = await self.app.chnls.wait_receive()
            except ShutdownException:
                self.ended += 1
            else:
                self.received.append(message.message_id)
                self.app.ampe.put(Holder(message))


async def bring(app: App, link: ScriptedLink, *numbers: int) -> None:
    await link.bring(b"".join(frame(OpCode.SIGNAL, number) for number in numbers))


# ---------------------------------------------------------------------- leading and following


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 5])
async def test_of_many_receivers_each_message_has_one(
    kind: Kind, count: int, tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        receivers = Receivers(server.app, nursery)
        await receivers.add(count)
        for number in range(1, count + 1):
            client.post(OpCode.SIGNAL, number)
        await wait_all_tasks_blocked(0.002)
        assert sorted(receivers.received) == list(range(1, count + 1))
        assert await server.app.rest() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_many_receivers_in_a_loop(kind: Kind, tmp_path: Path) -> None:
    async with open_ends(kind, tmp_path) as (client, server), trio.open_nursery() as nursery:
        received: list[int] = []

        async def receive() -> None:
            while True:
                message = await server.app.receive()
                received.append(message.message_id)
                server.app.ampe.put(Holder(message))
                if len(received) == 300:
                    nursery.cancel_scope.cancel()

        for _ in range(4):
            nursery.start_soon(receive)
        for number in range(1, 301):
            client.post(OpCode.SIGNAL, number)
            if number % 7 == 0:
                await trio.lowlevel.checkpoint()
    assert sorted(received) == list(range(1, 301))


@pytest.mark.parametrize("kind", KINDS)
async def test_who_leads_and_is_cancelled_passes_the_lead_on(
    kind: Kind, tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_ends(kind, tmp_path) as (client, server):
        receivers = Receivers(server.app, nursery)
        leader, *_ = await receivers.add(3)
        assert not server.app.chnls._group.readiness.can_lead
        leader.cancel()
        for number in (1, 2):
            client.post(OpCode.SIGNAL, number)
        await wait_all_tasks_blocked(0.002)
        assert sorted(receivers.received) == [1, 2]


async def test_who_leads_and_is_cancelled_when_a_message_comes_loses_nothing(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_ends("mem", tmp_path) as (client, server):
        receivers = Receivers(server.app, nursery)
        (leader,) = await receivers.add()
        client.post(OpCode.SIGNAL, 1)
        client.app.chnls._group.work()  # it is there now, and the leader about to run
        leader.cancel()
        assert (await server.app.event()).message_id == 1
        assert receivers.received == []


async def test_where_all_receivers_are_cancelled_the_group_serves_itself(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_ends("uds", tmp_path) as (client, server):
        receivers = Receivers(server.app, nursery)
        for scope in await receivers.add(2):
            scope.cancel()
        client.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked(0.002)
        assert server.app.chnls.statistics().messages_waiting == 1


@pytest.mark.parametrize("abort", [False, True])
async def test_closing_ends_who_leads_and_who_follows(
    abort: bool, tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_ends("uds", tmp_path) as (_, server):
        receivers = Receivers(server.app, nursery)
        await receivers.add(3)
        group = server.app.chnls._group
        group.close(abort=abort)
        await group.closed.wait()
        await wait_all_tasks_blocked()
        assert (receivers.ended, receivers.received) == (3, [])


async def test_closing_when_nobody_has_a_channel_ends_who_leads(nursery: trio.Nursery) -> None:
    async with open_bare_app() as app:
        receivers = Receivers(app, nursery)
        await receivers.add(2)
        await app.ampe.destroy(app.chnls)
        await wait_all_tasks_blocked()
        assert receivers.ended == 2


async def test_what_comes_from_no_socket_reaches_who_leads(nursery: trio.Nursery) -> None:
    async with open_app() as app:
        receivers = Receivers(app, nursery)
        await receivers.add(2)
        for _ in range(2):
            app.chnls.update_receiver(Holder())
        await wait_all_tasks_blocked()
        assert receivers.received == [0, 0]


async def test_what_a_deadline_brings_reaches_who_leads(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with open_app(Options(hello_timeout=7)) as app:
        receivers = Receivers(app, nursery)
        await receivers.add()
        app.chnls._group.accept(ScriptedLink())
        await trio.sleep(8)
        assert receivers.received == [0]


async def test_a_quiet_channel_need_not_wait_until_a_busy_ones_messages_are_taken() -> None:
    async with open_app() as app:
        busy, quiet = ScriptedLink(), ScriptedLink()
        await open_server(app, busy)
        end = await open_server(app, quiet)
        await bring(app, busy, *range(1, 101))
        quiet.arrived.append(frame(OpCode.SIGNAL, 999))
        quiet.wake()
        taken = []
        while not taken or taken[-1].channel_number != end.number:
            message = app.chnls.receive_nowait()
            assert message is not None
            taken.append(message)
        assert len(taken) <= 18


# ---------------------------------------------------------------------- waiting and not waiting


async def test_polling_takes_what_is_there_and_is_a_checkpoint() -> None:
    async with open_app() as app:
        link = ScriptedLink()
        await open_server(app, link)
        group = app.chnls._group
        with assert_checkpoints():
            assert (await group.receive(0)).is_err()
        await bring(app, link, 1, 2)
        for number in (1, 2):
            with assert_checkpoints():
                assert (await group.receive(0)).unwrap().message_id == number
        link.arrived.append(frame(OpCode.SIGNAL, 3))
        link.wake()
        assert (await group.receive(0)).unwrap().message_id == 3
        group.close(abort=False)
        with assert_checkpoints():
            assert (await group.receive(0)).is_err()


async def test_receiving_when_something_is_there_is_a_checkpoint() -> None:
    async with open_app() as app:
        for seconds in (60, float("inf")):
            app.chnls.update_receiver(Holder())
            with assert_checkpoints():
                assert (await app.chnls._group.receive(seconds)).is_ok()


async def test_receiving_gives_up_when_time_is_up(autojump_clock: MockClock) -> None:
    async with open_app() as app:
        begun = trio.current_time()
        assert (await app.chnls._group.receive(7)).is_err()
        assert trio.current_time() - begun == 7


async def test_who_waits_is_read_for_as_long_as_the_share_is_not_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The application holds more than half, and needs one more to be through with them."""
    async with open_app(Options(initial_pool_msgs=64, max_pool_msgs=64)) as app:
        link = ScriptedLink()
        end = await open_server(app, link)
        await bring(app, link, *range(1, 15))
        held = [await app.receive() for _ in range(8)]
        assert (await app.event()).status is AmpeStatus.POOL_EMPTY
        for _ in range(3):
            app.ampe.put(Holder(held.pop()))
        for number in range(9, 12):
            held.append(await app.receive())
            assert (held[-1].channel_number, held[-1].message_id) == (end.number, number)
        while held:
            app.ampe.put(Holder(held.pop()))
        assert [event.message_id for event in await app.events(3)] == [12, 13, 14]
        assert app.ampe._engine.budget.watchers == 0


async def test_whoever_waits_is_told_that_a_share_is_used_up_whoever_has_seen_it(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async with open_app(Options(initial_pool_msgs=64, max_pool_msgs=64)) as app:
        link = ScriptedLink()
        await open_server(app, link)
        await bring(app, link, *range(1, 9))
        held = [await app.receive() for _ in range(8)]
        link.arrived.append(frame(OpCode.SIGNAL, 9))
        link.wake()
        await wait_all_tasks_blocked()
        receivers = Receivers(app, nursery)
        await receivers.add()
        assert receivers.received == [0]
        while held:
            app.ampe.put(Holder(held.pop()))
        assert (await app.event()).message_id == 9


# ---------------------------------------------------------------------- no tasks for channels


class Spawned(trio.abc.Instrument):
    """Counts the tasks that are started."""

    def __init__(self) -> None:
        self.count = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_a_thousand_quiet_channels_have_no_task(tmp_path: Path) -> None:
    async with open_app() as server, open_app() as client:
        _, address = await listen(server, address_of("mem", tmp_path))
        await greet(client, server, address)
        await wait_all_tasks_blocked()
        with_one = live_tasks()
        for _ in range(999):
            await greet(client, server, address)
        await wait_all_tasks_blocked()
        assert client.chnls.statistics().channels == 1000
        assert live_tasks() == with_one


@pytest.mark.parametrize("kind", KINDS)
async def test_connecting_and_accepting_start_no_task(kind: Kind, tmp_path: Path) -> None:
    async with open_app() as server, open_app() as client:
        await wait_all_tasks_blocked()
        spawned = Spawned()
        trio.lowlevel.add_instrument(spawned)
        try:
            _, address = await listen(server, address_of(kind, tmp_path))
            for _ in range(10):
                one, other = await greet(client, server, address)
                one.post(OpCode.BYE_SIGNAL)
                await one.events_until_closed()
                await other.events_until_closed()
        finally:
            trio.lowlevel.remove_instrument(spawned)
        assert spawned.count == 0


# ---------------------------------------------------------------------- the first moments


async def test_a_group_can_be_used_before_its_task_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listens_at(monkeypatch, ScriptedListening())
    async with open_bare_app() as app:
        number = app.post(OpCode.WELCOME_REQUEST, 0, 7, headers=address_headers(HERE))
        event = await app.event()
        assert (event.opcode, event.channel) == (OpCode.WELCOME_RESPONSE, number.channel_number)


async def test_a_name_can_be_connected_to_before_its_task_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink(frame(OpCode.HELLO_RESPONSE, 77))

    async def resolve(address: object, settings: object) -> Link:
        await trio.lowlevel.checkpoint()
        return link

    monkeypatch.setattr(opening, "connect", resolve)
    async with open_bare_app() as app:
        connect(app, None, monkeypatch)
        app.chnls._group.work()  # before the group's own turn
        assert (await app.event()).opcode is OpCode.HELLO_RESPONSE


async def test_a_group_can_be_destroyed_before_its_task_has_begun() -> None:
    async with open_bare_app() as app:
        app.post(OpCode.WELCOME_REQUEST, headers=address_headers(HERE))
        app.post(OpCode.HELLO_REQUEST, headers=address_headers(NOWHERE))
        await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().channels == app.ampe.statistics().groups == 0
        assert app.ampe.statistics().pool_free == Options().initial_pool_msgs


async def test_tasks_keep_nothing_of_what_a_program_has_in_its_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable = contextvars.ContextVar("variable", default="empty")
    seen: list[str] = []

    async def resolve(address: object, settings: object) -> Link:
        seen.append(variable.get())
        return ScriptedLink()

    monkeypatch.setattr(opening, "connect", resolve)
    token = variable.set("of the program")
    async with open_app() as app:
        end = connect(app, None, monkeypatch)
        await wait_all_tasks_blocked()
        end.post(OpCode.BYE_SIGNAL)
        await end.events_until_closed()
    variable.reset(token)
    assert seen == ["empty"]


# ---------------------------------------------------------------------- update_receiver


async def test_what_the_application_puts_in_itself_is_in_order_with_the_rest() -> None:
    async with open_app() as app:
        link = ScriptedLink()
        end = await open_server(app, link)
        await bring(app, link, 1)
        app.chnls.update_receiver(Holder())
        await bring(app, link, 2)
        message = Message()
        message.opcode, message.message_id, message.channel_number = OpCode.RESPONSE, 3, 12345
        message.text_headers.append("a", "b")
        holder = Holder(message)
        app.chnls.update_receiver(holder)
        assert holder.is_empty()
        update = AmpeStatus.RECEIVER_UPDATE
        assert await app.events(4) == [
            from_app(OpCode.SIGNAL, end.number, 1),
            from_engine(OpCode.SIGNAL, update, 0, 0),
            from_app(OpCode.SIGNAL, end.number, 2),
            from_app(OpCode.RESPONSE, 12345, 3, status=update, headers=(("a", "b"),)),
        ]


# ---------------------------------------------------------------------- closing


async def test_what_was_not_received_goes_back_to_the_pool() -> None:
    async with open_app(Options(initial_pool_msgs=8)) as app:
        link = ScriptedLink()
        await open_server(app, link)
        await bring(app, link, 1)
        app.chnls.update_receiver(Holder())
        assert app.chnls.statistics().messages_waiting == 2
        assert app.ampe.statistics().pool_free == 7
        await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().pool_free == 8


@pytest.mark.parametrize("abort", [False, True])
async def test_what_channels_give_back_while_the_group_closes_is_nobodys(
    abort: bool, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(Options(close_timeout=0.05)) as app:
        link = ScriptedLink()
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        for number in range(1, 301):
            end.post(OpCode.SIGNAL, number)
        group = app.chnls._group
        group.close(abort=abort)
        with trio.fail_after(PATIENCE):
            await group.closed.wait()
        assert app.ampe.statistics().bytes_queued == 0
        assert app.ampe.statistics().pool_free == Options().initial_pool_msgs


async def test_a_group_that_closes_does_not_wait_for_what_was_not_received(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel has closed, and most of what it gives back has not been taken."""
    async with open_app() as app:
        link = ScriptedLink()
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        for number in range(1, 1001):
            end.post(OpCode.SIGNAL, number)
        end.post(OpCode.BYE_SIGNAL, 5)
        assert (await app.event()).message_id == 5
        with trio.fail_after(PATIENCE):
            await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().bytes_queued == app.ampe.statistics().channels == 0


async def test_closing_in_good_order_and_then_at_once(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(Options(close_timeout=60)) as app:
        link = ScriptedLink()
        link.polite = False
        await open_end(app, side, link, monkeypatch)
        group = app.chnls._group
        for _ in range(2):
            group.close(abort=False)
            await wait_all_tasks_blocked()
            assert not group.closed.is_set()
        group.close(abort=True)
        with trio.fail_after(PATIENCE):
            await group.closed.wait()
    assert link.closed == "reset"


async def test_a_connection_accepted_while_the_group_closes_is_closed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = ScriptedListening()
    listens_at(monkeypatch, door)
    link = ScriptedLink(hello(6))
    async with open_bare_app(Options(hello_timeout=60)) as app:
        app.post(OpCode.WELCOME_REQUEST, headers=address_headers(HERE))
        await app.event()
        door.waiting.append(link)
        door.wake()
        with trio.fail_after(PATIENCE):
            await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().channels == 0
    assert not door.accepts or link.closed is not None
