"""Receiving from a channel group: who leads and who follows (PROTOCOL 4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, Message, OpCode, Options, ShutdownException, open_ampe
from tests.engine.ends import Kind, open_ends
from tests.engine.scripted import (
    ScriptedLink,
    open_server,
)
from tests.support import (
    App,
    frame,
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
        taken: list[Message] = []
        while not taken or taken[-1].channel_number != end.number:
            message = app.chnls.receive_nowait()
            assert message is not None
            taken.append(message)
        assert len(taken) <= 18


async def test_a_quiet_channel_is_answered_before_a_busy_one_has_been_served() -> None:
    """Its peer waits for the answer; what is posted on the busy one goes out together."""
    async with open_app() as app:
        busy, quiet = ScriptedLink(), ScriptedLink()
        await open_server(app, busy)
        end = await open_server(app, quiet)
        await bring(app, quiet, 999)
        await bring(app, busy, *range(1, 32))
        served: list[int] = []
        while not quiet.sent:
            message = app.chnls.receive_nowait()
            assert message is not None
            served.append(message.channel_number)
            app.chnls.post(Holder(message))
        assert end.number in served
        assert len(served) <= 18
        assert busy.sent == b""


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


@pytest.mark.parametrize("follows", [False, True])
async def test_whoever_waits_is_told_that_a_share_is_used_up_whoever_has_seen_it(
    follows: bool, nursery: trio.Nursery
) -> None:
    """It comes when that is so already, or follows while the group's own task sees it."""
    async with open_app(Options(initial_pool_msgs=64, max_pool_msgs=64)) as app:
        link = ScriptedLink()
        await open_server(app, link)
        await bring(app, link, *range(1, 9))
        held = [await app.receive() for _ in range(8)]
        await wait_all_tasks_blocked()  # nobody receives: the group serves itself
        receivers = Receivers(app, nursery)
        if follows:
            await receivers.add()
        await bring(app, link, 9)
        if not follows:
            await receivers.add()
        assert receivers.received == [0]
        while held:
            app.ampe.put(Holder(held.pop()))
        assert (await app.event()).message_id == 9


async def test_what_was_forgotten_makes_room_at_once_for_who_waits() -> None:
    async with open_app(Options(initial_pool_msgs=64, max_pool_msgs=64)) as app:
        link = ScriptedLink()
        await open_server(app, link)
        await bring(app, link, *range(1, 10))
        held = [await app.receive() for _ in range(8)]
        held.clear()
        assert (await app.receive()).message_id == 9  # and no news of the share


async def test_who_leads_is_told_of_a_share_that_the_clock_has_seen_used_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    """It looks what has arrived before it lets time be up."""
    options = Options(initial_pool_msgs=64, max_pool_msgs=64, bye_timeout=7)
    async with open_app(options) as app:
        link = ScriptedLink()
        end = await open_server(app, link)
        await bring(app, link, *range(1, 9))
        held = [await app.receive() for _ in range(8)]
        end.post(OpCode.BYE_REQUEST, 5)
        receivers = Receivers(app, nursery)
        await receivers.add()
        await link.go_on()  # with which the group passes the lead on
        link.arrived.append(frame(OpCode.SIGNAL, 9))  # and nothing has said so yet
        await trio.sleep(8)
        assert receivers.received == [0]
        while held:
            app.ampe.put(Holder(held.pop()))
        assert (await app.event()).message_id == 9
