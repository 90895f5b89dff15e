"""A channel group: its first and its last moments, and no task for a channel (PROTOCOL 2 to 4)."""

import contextvars
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, Message, OpCode, Options, open_ampe
from pytofu.engine import opening
from pytofu.links.base import Link
from tests.engine.ends import Kind, address_of, greet, listen
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


async def bring(app: App, link: ScriptedLink, *numbers: int) -> None:
    await link.bring(b"".join(frame(OpCode.SIGNAL, number) for number in numbers))


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

    async def resolve(address: object, **settings: object) -> Link:
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

    async def resolve(address: object, **settings: object) -> Link:
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
