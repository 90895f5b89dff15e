"""A link whose methods raise: its channel closes with PROCESSING_FAILED, and nothing else does."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import AmpeStatus, OpCode, Options
from pytofu.engine import opening
from tests.engine.ends import assert_talking, open_ends
from tests.engine.scripted import (
    LINK_METHODS,
    DefectError,
    ScriptedLink,
    ScriptedListening,
    connect,
    listens_at,
    open_end,
    open_listener,
    open_server,
)
from tests.support import PATIENCE, End, Side, frame, from_engine, hello, open_app

FAILED: Final = AmpeStatus.PROCESSING_FAILED
CLOSED: Final = AmpeStatus.CHANNEL_CLOSED


@pytest.fixture(autouse=True)
def _the_log_says_so(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The log has the traceback of the defect, and nothing else."""
    yield
    records = caplog.get_records("call")
    assert records
    for record in records:
        assert record.levelno == logging.ERROR
        assert "defect in pytofu" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is DefectError


async def assert_failed(end: End, *before: OpCode) -> None:
    """It has closed with PROCESSING_FAILED; these messages came back first."""
    events = await end.events_until_closed()
    assert [event.opcode for event in events[:-1]] == list(before)
    assert events[-1] == end.closed(FAILED)
    assert end.app.chnls.statistics().channels == 0


# ---------------------------------------------------------------------- while it opens


@pytest.mark.parametrize("method", ["fileno", "on_ready", "open", "send"])
async def test_while_connecting(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    link.defects = {method}
    async with open_app() as app:
        await assert_failed(connect(app, link, monkeypatch), OpCode.HELLO_REQUEST)
    assert link.closed == "reset"


@pytest.mark.parametrize("method", ["fileno", "on_ready", "open", "peer"])
async def test_while_accepting(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener goes on, and other connections of the same moment are accepted."""
    link, sound = ScriptedLink(), ScriptedLink(hello(6))
    link.defects = {method}
    door = ScriptedListening()
    listens_at(monkeypatch, door)
    async with open_app(Options(max_channels_per_host=5, close_timeout=0.05)) as app:
        await open_listener(app)
        await door.bring(link, sound)
        events = await app.rest()
        assert link.closed == "reset"
        if method != "peer":  # so early that there is no channel
            failed = events.pop(0)
            assert (failed.status, failed.reason, failed.message_id) == (CLOSED, FAILED, 0)
        (greeting,) = events
        assert (greeting.opcode, greeting.message_id) == (OpCode.HELLO_REQUEST, 6)
        assert app.chnls.statistics().channels == 2


async def test_while_a_name_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(address: object, **settings: object) -> None:
        raise DefectError

    monkeypatch.setattr(opening, "connect", fail)
    async with open_app() as app:
        await assert_failed(connect(app, None, monkeypatch), OpCode.HELLO_REQUEST)


# ---------------------------------------------------------------------- when it is open


@pytest.mark.parametrize("method", ["receive", "buffered", "acknowledge"])
async def test_while_reading(method: str, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.defects = {method}
        await link.bring(frame(OpCode.SIGNAL, 8, body=b"body")[:18])
        await assert_failed(end)
    assert link.closed == "reset"


@pytest.mark.parametrize("when", ["at once", "behind a burst", "at the end of the turn"])
async def test_while_writing(when: str, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        group = app.chnls._group
        group.poster.answered = -1 if when == "at once" else group.mailbox.taken
        link.defects = {"send"}
        posted = 0
        while posted == 0 or (when == "behind a burst" and link.closed is None):
            posted += 1
            end.post(OpCode.SIGNAL, posted)
            assert posted < 10_000
        if when == "at the end of the turn":
            assert link.closed is None
            await wait_all_tasks_blocked()
        assert link.closed == "reset"
        assert await end.events_until_closed() == [
            *(
                from_engine(OpCode.SIGNAL, CLOSED, end.number, number + 1)
                for number in range(posted)
            ),
            end.closed(FAILED),
        ]


async def test_while_writing_what_waited(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 10
        end.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked()
        link.defects = {"send"}
        await link.take()
        await assert_failed(end, OpCode.SIGNAL)


async def test_when_its_time_is_up(
    side: Side, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    link = ScriptedLink()
    async with open_app(Options(frame_timeout=7)) as app:
        end = await open_end(app, side, link, monkeypatch)
        await link.bring(frame(OpCode.SIGNAL, 8)[:10])
        link.defects = {"receive"}
        await trio.sleep(8)
        await assert_failed(end)


# ---------------------------------------------------------------------- when it closes


async def test_while_the_end_of_sending_is_said(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `post`: both sides have said Bye."""
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        await link.bring(frame(OpCode.BYE_REQUEST, 8))
        assert (await app.event()).opcode is OpCode.BYE_REQUEST
        end.post(OpCode.BYE_REQUEST, 9)
        await wait_all_tasks_blocked()
        link.defects = {"end"}
        end.post(OpCode.BYE_RESPONSE, 8)
        await assert_failed(end)


@pytest.mark.parametrize("method", ["end", "send", "close", "fileno"])
async def test_while_its_group_closes(
    method: str, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others close as they should."""
    one, other = ScriptedLink(), ScriptedLink()
    with trio.fail_after(PATIENCE):
        async with open_app(Options(close_timeout=0.05)) as app:
            ends = [await open_end(app, side, link, monkeypatch) for link in (one, other)]
            app.chnls._group.poster.answered = app.chnls._group.mailbox.taken
            one.defects = {method}
            if method == "send":
                for end in ends:
                    end.post(OpCode.SIGNAL, 1)
            await app.ampe.destroy(app.chnls)
            assert app.ampe.statistics().channels == 0
    assert one.closed is not None
    assert other.closed == "orderly"
    assert other.said_end


async def test_while_it_is_aborted(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.defects = {"close", "fileno"}
        end.post(OpCode.BYE_SIGNAL, 5)
        assert (await app.event()).opcode is OpCode.BYE_SIGNAL
        assert await app.event() == end.closed(CLOSED)  # what it closed for came first
    assert link.closed == "reset"


async def test_everything_at_once(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.defects = set(LINK_METHODS)
        end.post(OpCode.SIGNAL, 5)
        await wait_all_tasks_blocked()
        await assert_failed(end, OpCode.SIGNAL)
    assert link.closed == "reset"


async def test_other_channels_go_on(tmp_path: Path, side: Side) -> None:
    async with open_ends("uds", tmp_path) as (client, server):
        link = ScriptedLink()
        broken = await open_server((client if side == "client" else server).app, link)
        link.defects = set(LINK_METHODS)
        await link.go_on()
        assert await broken.events_until_closed() == [broken.closed(FAILED)]
        await assert_talking(client, server)
        await assert_talking(server, client)
