"""A listening whose methods raise: its listener closes with PROCESSING_FAILED, and nothing else."""

from typing import Final

import pytest

from pytofu import AmpeStatus, OpCode, Options
from pytofu.engine import listener as module
from pytofu.links.base import Link, LinkError, Wait
from tests.engine.scripted import (
    HERE,
    DefectError,
    ScriptedLink,
    ScriptedListening,
    listens_at,
    open_listener,
)
from tests.support import App, Event, address_headers, closed, from_engine, hello, open_app

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
FAILED: Final = AmpeStatus.PROCESSING_FAILED


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> ScriptedListening:
    """What the listener of the test listens at."""
    door = ScriptedListening()
    listens_at(monkeypatch, door)
    return door


async def assert_failed(app: App, number: int, caplog: pytest.LogCaptureFixture) -> list[Event]:
    events = await app.events_until_closed(number)
    assert (events[-1].reason, app.chnls.statistics().channels) == (FAILED, 0)
    for record in caplog.records:
        assert "defect in pytofu" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[0] is DefectError
    return events[:-1]


@pytest.mark.parametrize("method", ["address", "on_ready", "fileno", "accept"])
async def test_a_listening_whose_methods_raise(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    doors = [ScriptedListening(ScriptedLink()), ScriptedListening()]
    doors[0].defects = {method}
    listens_at(monkeypatch, *doors)
    async with open_app() as app:
        headers = address_headers(HERE)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        (answer,) = await assert_failed(app, number, caplog)
        assert answer.opcode is OpCode.WELCOME_RESPONSE
        assert answer.status is (CLOSED if method == "address" else AmpeStatus.SUCCESS)
    assert all(door.closed for door in doors)


async def test_a_listening_that_cannot_be_closed(
    door: ScriptedListening, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        end = await open_listener(app)
        door.defects = {"close", "fileno"}
        end.post(OpCode.BYE_SIGNAL, 3)
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        assert "while it was closed" in caplog.text
    assert door.closed


async def test_a_listening_that_cannot_be_opened_again(
    door: ScriptedListening, caplog: pytest.LogCaptureFixture
) -> None:
    """Which shows when another channel closes: that is not to suffer."""
    async with open_app(Options(max_channels=2, close_timeout=0.05)) as app:
        end = await open_listener(app)
        await door.bring(ScriptedLink(hello(6)), ScriptedLink(hello(7)))
        (channel,) = (event.channel for event in await app.rest() if event.message_id == 6)
        door.defects = {"fileno"}
        app.post(OpCode.BYE_SIGNAL, channel)
        events = await app.events_until_closed(channel, end.number)
        assert closed(channel, 6, CLOSED) in events
        assert end.closed(FAILED) in events


async def test_a_name_that_cannot_be_listened_at(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(address: object, **settings: object) -> None:
        raise DefectError

    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: None)
    monkeypatch.setattr(module, "listen", fail)
    async with open_app() as app:
        headers = address_headers(HERE)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        (answer,) = await assert_failed(app, number, caplog)
        assert answer == from_engine(OpCode.WELCOME_RESPONSE, CLOSED, number, 9, headers=headers)


async def test_a_defect_behind_the_end_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Ending(ScriptedListening):
        def accept(self) -> Link | Wait | LinkError:
            end.post(OpCode.BYE_SIGNAL, 3)
            raise DefectError

    door = Ending()
    listens_at(monkeypatch, door)
    async with open_app() as app:
        end = await open_listener(app)
        door.wake()
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        assert await app.rest() == []
        assert "closed by a defect in pytofu" in caplog.text
