"""A listener on links that the test plays: what can go wrong between asking and listening."""

import logging
from collections.abc import Callable

import pytest
import trio
import trio.testing

from pytofu import AmpeStatus, MemoryServerAddress, OpCode
from pytofu.engine import listener as module
from pytofu.links.base import Link, LinkError, Listening, Wait
from pytofu.protocol.ending import Cause
from pytofu.values.status import AmpeError
from tests.support import App, address_headers, closed, from_engine, open_app

WHERE = MemoryServerAddress("played")
NO_ROOM = LinkError(AmpeError.ALLOCATION_FAILED, "EMFILE: too many open files")


class PlayedListening(Listening):
    """Answers `accept` with what the test has laid out, then says that nobody waits."""

    def __init__(self, *answers: Link | LinkError | Exception) -> None:
        self.answers = list(answers)
        self.wake: Callable[[], None] = lambda: None
        self.closed = False

    @property
    def address(self) -> MemoryServerAddress:
        return WHERE

    def fileno(self) -> int:
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def accept(self) -> Link | Wait | LinkError:
        answer = self.answers.pop(0) if self.answers else Wait.READABLE
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


async def listen(
    app: App, monkeypatch: pytest.MonkeyPatch, *answers: LinkError | Exception
) -> tuple[PlayedListening, int]:
    """A listener that has been welcomed, and its number."""
    played = PlayedListening(*answers)
    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: [played])
    number = app.post(OpCode.WELCOME_REQUEST, 0, 5, headers=address_headers(WHERE)).channel_number
    assert (await app.event()).opcode is OpCode.WELCOME_RESPONSE
    return played, number


async def wake(played: PlayedListening) -> None:
    played.wake()
    await trio.testing.wait_all_tasks_blocked()


async def test_no_room_in_the_system_is_said_once_and_passes(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_app() as app:
        played, _ = await listen(app, monkeypatch, NO_ROOM, NO_ROOM)
        await wake(played)
        await trio.sleep(1)  # it has asked again, twice
        assert not played.answers
        assert caplog.text.count("accepting again later") == 1
        assert await app.rest() == []


async def test_a_broken_listening_ends_the_listener(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        broken = LinkError(AmpeError.ACCEPT_FAILED, "EBADF: bad file descriptor")
        played, number = await listen(app, monkeypatch, broken)
        await wake(played)
        event = await app.event()
        assert event == closed(number, 5, AmpeStatus.ACCEPT_FAILED)
        assert event.detail == "EBADF: bad file descriptor"
        assert played.closed


async def test_a_defect_ends_the_listener(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        played, number = await listen(app, monkeypatch, ZeroDivisionError("a defect"))
        with caplog.at_level(logging.ERROR, "pytofu"):
            await wake(played)
        assert await app.event() == closed(number, 5, AmpeStatus.PROCESSING_FAILED)
        assert "closed by a defect in pytofu" in caplog.text
        await wake(played)  # as it may happen in the very moment
        assert not app.chnls._group.channels


async def test_a_listener_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app() as app:
        _, number = await listen(app, monkeypatch)
        channel = app.ampe._engine.numbers.open[number]
        channel.end(Cause.ABORTED)
        channel.end(Cause.DEFECT)
        assert await app.rest() == [closed(number, 5, AmpeStatus.CHANNEL_CLOSED)]


@pytest.mark.parametrize("found", [True, False])
async def test_a_name_that_is_found_when_the_listener_has_been_closed(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    played = PlayedListening()

    async def find(address: object, **settings: object) -> list[Listening] | LinkError:
        app.post(OpCode.BYE_SIGNAL, number, 9)
        return [played] if found else LinkError(AmpeError.INVALID_ADDRESS, "no such name")

    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: None)
    monkeypatch.setattr(module, "listen", find)
    async with open_app() as app:
        header = app.post(OpCode.WELCOME_REQUEST, 0, 5, headers=address_headers(WHERE))
        number = header.channel_number
        status = AmpeStatus.CHANNEL_CLOSED
        headers = address_headers(WHERE)
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.BYE_SIGNAL, status, number, 9),
            from_engine(OpCode.WELCOME_RESPONSE, status, number, 5, headers=headers),
            closed(number, 5, status),
        ]
        assert played.closed is found
