"""An IO channel on a link that the test plays: opening in steps, and links with defects."""

import logging
from collections.abc import Callable

import pytest
import trio
import trio.testing

from pytofu import (
    AmpeStatus,
    MemoryServerAddress,
    OpCode,
    Options,
    ShutdownException,
    TCPClientAddress,
)
from pytofu.engine import opening
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.listener import Listener
from pytofu.links.base import Link, LinkError, Peer, Wait
from pytofu.values.status import AmpeError
from tests.support import App, closed, hello, open_app, pool_empty


class PlayedLink(Link):
    """Answers each call with the next of what the test has laid out for it."""

    def __init__(self, **answers: list[object]) -> None:
        self.answers = answers
        self.wake: Callable[[], None] = lambda: None
        self.closed: list[bool] = []

    def _next(self, call: str, otherwise: object) -> object:
        answers = self.answers.get(call)
        answer = answers.pop(0) if answers else otherwise
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fileno(self) -> int:
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def open(self) -> Wait | LinkError | None:
        answer = self._next("open", None)
        assert answer is None or isinstance(answer, Wait | LinkError)
        return answer

    def receive(self, size: int) -> bytes | Wait | LinkError:
        answer = self._next("receive", Wait.READABLE)
        assert isinstance(answer, bytes | Wait | LinkError)
        return answer

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        answer = self._next("send", len(data))
        assert isinstance(answer, int | Wait | LinkError)
        return answer

    def end(self) -> Wait | LinkError | None:
        answer = self._next("end", None)
        assert answer is None or isinstance(answer, Wait | LinkError)
        return answer

    def close(self, *, reset: bool) -> None:
        self.closed.append(reset)
        self._next("close", None)

    def peer(self) -> Peer:
        return Peer()


async def accepted(app: App, link: PlayedLink) -> None:
    app.chnls._group.accept(link)
    await trio.testing.wait_all_tasks_blocked()


async def wake(link: PlayedLink) -> None:
    link.wake()
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("wait", list(Wait))
async def test_a_link_that_opens_in_steps(wait: Wait) -> None:
    async with open_app(Options(close_timeout=0)) as app:
        link = PlayedLink(open=[wait, wait, wait], receive=[hello(5)])
        await accepted(app, link)
        assert await app.rest() == []
        await wake(link)
        await wake(link)
        await wake(link)
        event = await app.event()
        assert (event.opcode, event.message_id) == (OpCode.HELLO_REQUEST, 5)


async def test_a_link_that_cannot_be_opened() -> None:
    async with open_app(Options(close_timeout=0)) as app:
        error = LinkError(AmpeError.COMMUNICATION_FAILED, "no handshake")
        link = PlayedLink(open=[Wait.READABLE, error])
        await accepted(app, link)
        await wake(link)
        event = await app.event()
        assert event == closed(event.channel, 0, AmpeStatus.COMMUNICATION_FAILED)
        assert event.detail == "no handshake"
        assert link.closed == [False]


async def test_news_of_a_link_that_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with open_app(Options(close_timeout=0)) as app:
        link = PlayedLink(receive=[LinkError(AmpeError.PEER_DISCONNECTED)])
        await accepted(app, link)
        await wake(link)
        event = await app.event()
        assert event == closed(event.channel, 0, AmpeStatus.PEER_DISCONNECTED)
        await wake(link)
        assert await app.rest() == []


@pytest.mark.parametrize("call", ["receive", "send"])
async def test_a_defect_closes_this_channel_only(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app(Options(close_timeout=0)) as app:
        healthy = PlayedLink(receive=[hello(5)])
        await accepted(app, healthy)
        await wake(healthy)
        number = (await app.event()).channel
        link = PlayedLink(receive=[hello(6)])
        await accepted(app, link)
        await wake(link)
        bad = (await app.event()).channel
        link.answers[call] = [ZeroDivisionError("a defect")]
        with caplog.at_level(logging.ERROR, "pytofu"):
            if call == "send":
                app.post(OpCode.HELLO_RESPONSE, bad, 6)
                await trio.testing.wait_all_tasks_blocked()
            else:
                await wake(link)
        assert "closed by a defect in pytofu" in caplog.text
        events = await app.events_until_closed(bad)
        assert events[-1] == closed(bad, 6, AmpeStatus.PROCESSING_FAILED)
        assert link.closed == [True]
        app.post(OpCode.HELLO_RESPONSE, number, 5)
        assert await app.rest() == []


async def test_a_defect_while_closing_ends_the_channel_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_app(Options(close_timeout=0)) as app:
        link = PlayedLink(receive=[hello(5)], close=[ZeroDivisionError("a defect")])
        await accepted(app, link)
        await wake(link)
        number = (await app.event()).channel
        with caplog.at_level(logging.ERROR, "pytofu"):
            app.post(OpCode.BYE_SIGNAL, number)
        assert "while it was closed" in caplog.text
        events = await app.events_until_closed(number)
        assert events[-1] == closed(number, 5, AmpeStatus.CHANNEL_CLOSED)


async def test_an_end_that_has_to_wait_is_said_again() -> None:
    link = PlayedLink(
        receive=[hello(5)], end=[Wait.WRITABLE, LinkError(AmpeError.COMMUNICATION_FAILED, "cut")]
    )
    async with open_app(Options(close_timeout=0)) as app:
        await accepted(app, link)
        await wake(link)
        number = (await app.event()).channel
        app.post(OpCode.HELLO_RESPONSE, number, 5)
        channel = app.ampe._engine.numbers.open[number]
        assert isinstance(channel, IoChannel)
        channel.close()
        await wake(link)
        event = await app.event()
        assert event == closed(number, 5, AmpeStatus.SUCCESS)


async def test_a_connection_that_is_made_when_the_channel_has_been_aborted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = PlayedLink()

    async def find(address: object, **settings: object) -> Link:
        app.post(OpCode.BYE_SIGNAL, end.number, 9)
        return link

    monkeypatch.setattr(opening, "begin_connect", lambda address, **settings: None)
    monkeypatch.setattr(opening, "connect", find)
    async with open_app() as app:
        end = app.connect(TCPClientAddress("played", 1), 5)
        events = await app.events_until_closed(end.number)
        assert events[-1] == end.closed(AmpeStatus.CHANNEL_CLOSED)
        assert link.closed == [True]


async def test_what_is_posted_while_the_group_is_destroyed() -> None:
    async with open_app(Options(close_timeout=0.1)) as app, trio.open_nursery() as nursery:
        link = PlayedLink(receive=[hello(5)])
        await accepted(app, link)
        await wake(link)
        number = (await app.event()).channel
        app.post(OpCode.HELLO_RESPONSE, number, 5)
        nursery.start_soon(app.ampe.destroy, app.chnls)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ShutdownException):
            app.post(OpCode.SIGNAL, number)


async def test_a_receiver_that_leads_hears_of_a_channel_that_ran_short() -> None:
    """Another task may have served the channel meanwhile."""
    async with open_app(Options(close_timeout=0)) as app, trio.open_nursery() as nursery:
        link = PlayedLink(receive=[hello(5)])
        await accepted(app, link)
        await wake(link)
        number = (await app.event()).channel
        channel = app.ampe._engine.numbers.open[number]
        assert isinstance(channel, IoChannel)

        async def receive() -> None:
            assert await app.event() == pool_empty(number)

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        channel._short = True
        app.chnls._group.ran_short(channel)


async def test_a_listener_gives_nothing_back() -> None:
    async with open_app(Options(close_timeout=0)) as app:
        assert Listener(app.chnls._group, MemoryServerAddress("x")).go_on_returning()
