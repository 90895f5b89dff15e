"""A listener: its answer, accepting within limits, and what it survives (PROTOCOL 2, 4 and 6)."""

import logging
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import AmpeError, AmpeStatus, Holder, OpCode, Options, TCPServerAddress
from pytofu.engine import listener as module
from pytofu.links.base import LinkError
from tests.engine.scripted import (
    HERE,
    ScriptedLink,
    ScriptedListening,
    listens_at,
    open_listener,
)
from tests.support import (
    App,
    Event,
    address_headers,
    closed,
    from_app,
    from_engine,
    hello,
    open_app,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
FAILED: Final = AmpeStatus.PROCESSING_FAILED
NO_ROOM: Final = LinkError(AmpeError.ALLOCATION_FAILED, "EMFILE, Too many open files")
BROKEN: Final = LinkError(AmpeError.ACCEPT_FAILED, "EBADF, Bad file descriptor")
QUICK: Final = Options(close_timeout=0.05)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> ScriptedListening:
    """What the listener of the test listens at."""
    door = ScriptedListening()
    listens_at(monkeypatch, door)
    return door


def greeting(message_id: int) -> ScriptedLink:
    """A connection over which a HelloRequest comes at once."""
    return ScriptedLink(hello(message_id))


async def ids(app: App) -> list[int]:
    """The message_ids of the HelloRequests that have come by now."""
    events = await app.rest()
    assert all(event.opcode is OpCode.HELLO_REQUEST for event in events)
    return [event.message_id for event in events]


# ---------------------------------------------------------------------- the answer


async def test_the_answer_has_the_requests_headers_and_the_address_really_bound() -> None:
    async with open_app() as app:
        message = app.ampe.get()
        message.message_id = 9
        message.opcode = OpCode.WELCOME_REQUEST
        message.text_headers.append("before", "1")
        TCPServerAddress("127.0.0.1", 0).format(message)
        message.text_headers.append("~listen_on", "tcp|127.0.0.1|1")
        message.text_headers.append("x~listen_on", "tcp|127.0.0.1|0")
        message.set_payload(b"kept")
        number = app.chnls.post(Holder(message)).channel_number
        event = await app.event()
        assert event.headers[1][0] == "~listen_on"
        scheme, host, port = event.headers[1][1].split("|")
        assert (scheme, host) == ("tcp", "127.0.0.1")
        assert int(port) > 0
        headers = (
            ("before", "1"),
            ("~listen_on", f"tcp|127.0.0.1|{port}"),
            ("~listen_on", "tcp|127.0.0.1|1"),
            ("x~listen_on", "tcp|127.0.0.1|0"),
        )
        assert event == from_app(OpCode.WELCOME_RESPONSE, number, 9, headers=headers, body=b"kept")


async def test_where_it_cannot_listen_the_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    why = LinkError(AmpeError.LISTEN_FAILED, "EADDRINUSE, Address already in use")
    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: why)
    async with open_app() as app:
        headers = address_headers(HERE)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        answer, last = await app.receive(), await app.receive()
        failed = AmpeStatus.LISTEN_FAILED
        assert Event.of(answer) == from_engine(
            OpCode.WELCOME_RESPONSE, failed, number, 9, headers=headers
        )
        assert Event.of(last) == closed(number, 9, failed)
        for message in (answer, last):
            assert message.text_headers.get("~detail") == why.detail


async def test_closing_before_it_listens_gives_the_request_back(door: ScriptedListening) -> None:
    async with open_app() as app:
        headers = address_headers(HERE)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        app.post(OpCode.BYE_SIGNAL, number, 10)
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, number, 10),
            from_engine(OpCode.WELCOME_RESPONSE, CLOSED, number, 9, headers=headers),
            closed(number, 9, CLOSED),
        ]
        await wait_all_tasks_blocked()
    assert not door.accepts


async def test_a_name_is_listened_at_in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    door = ScriptedListening(greeting(6))

    async def resolve(address: object, **settings: object) -> list[ScriptedListening]:
        await trio.lowlevel.checkpoint()
        return [door]

    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: None)
    monkeypatch.setattr(module, "listen", resolve)
    async with open_app(QUICK) as app:
        await open_listener(app)
        assert await ids(app) == [6]
    assert door.closed


@pytest.mark.parametrize("resolved", [False, True])
async def test_closing_while_a_name_is_resolved(
    resolved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the task may bring all the same is closed."""
    door = ScriptedListening()

    async def resolve(address: object, **settings: object) -> list[ScriptedListening]:
        with trio.CancelScope(shield=resolved):
            await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
        if not resolved:
            await trio.sleep_forever()
        return [door]

    monkeypatch.setattr(module, "begin_listen", lambda address, **settings: None)
    monkeypatch.setattr(module, "listen", resolve)
    async with open_app() as app:
        headers = address_headers(HERE)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        app.post(OpCode.BYE_SIGNAL, number, 10)
        assert (await app.events_until_closed(number))[-1] == closed(number, 9, CLOSED)
        await wait_all_tasks_blocked()
    assert door.closed is resolved


async def test_a_listener_takes_a_bye_signal_and_nothing_else(door: ScriptedListening) -> None:
    async with open_app() as app:
        end = await open_listener(app)
        for opcode in (OpCode.SIGNAL, OpCode.REQUEST, OpCode.BYE_REQUEST, OpCode.HELLO_REQUEST):
            message = app.message(opcode, end.number, 3, headers=address_headers(HERE))
            assert app.chnls._group.poster.post(message.unwrap()).is_err()
            assert message.unwrap().status is AmpeStatus.NOT_ALLOWED
            app.ampe.put(message)
        end.post(OpCode.BYE_SIGNAL, 3)
        assert await end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, end.number, 3),
            end.closed(CLOSED),
        ]
    assert door.closed


# ---------------------------------------------------------------------- accepting


async def test_all_doors_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = [ScriptedListening(greeting(6)), ScriptedListening(greeting(7))]
    listens_at(monkeypatch, *doors)
    async with open_app(QUICK) as app:
        await open_listener(app)
        assert sorted(await ids(app)) == [6, 7]
    assert all(door.closed for door in doors)


async def test_so_many_are_accepted_in_one_go_and_the_others_thereafter(
    door: ScriptedListening,
) -> None:
    async with open_app(QUICK) as app:
        await open_listener(app)
        door.waiting.extend(ScriptedLink() for _ in range(5))
        door.wake()
        for accepts in (2, 4, 6):  # the last one finds nobody
            app.chnls._group.readiness.serve()
            assert door.accepts == accepts
        assert app.chnls.statistics().channels == 6


async def test_a_listener_that_ends_accepts_nothing_more(door: ScriptedListening) -> None:
    """Not even what waits in the same go."""

    class Ending(ScriptedLink):
        def open(self) -> None:
            end.post(OpCode.BYE_SIGNAL, 3)
            return super().open()  # type: ignore[return-value]

    async with open_app(QUICK) as app:
        end = await open_listener(app)
        await door.bring(Ending(), ScriptedLink())
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        assert door.accepts == 1


@pytest.mark.parametrize(
    ("waiting", "taken"), [(8, [2, 0, 2, 0]), (1, [1, 1, 1, 1])], ids=["a crowd", "one by one"]
)
async def test_while_messages_come_in_every_other_turn_is_without_the_rest_of_a_crowd(
    door: ScriptedListening, waiting: int, taken: list[int]
) -> None:
    async with open_app() as app:
        await open_listener(app)
        group = app.chnls._group
        accepted = []
        for turn in range(4):
            if turn == 0 or waiting == 1:
                door.waiting.extend(greeting(turn + number) for number in range(1, waiting + 1))
            door.wake()
            group.traffic.messages_received += 1  # of somebody who is there already
            before = len(door.waiting)
            group.readiness.serve()
            accepted.append(before - len(door.waiting))
        assert accepted == taken
        await wait_all_tasks_blocked()
        assert await ids(app) == list(range(1, max(waiting, 4) + 1))


# ---------------------------------------------------------------------- the system has no room


async def test_without_room_it_pauses_and_says_so_once(
    door: ScriptedListening, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_app(QUICK) as app:
        await open_listener(app)
        begun = trio.current_time()
        await door.bring(NO_ROOM, NO_ROOM, greeting(6))
        assert door.accepts == 1
        await trio.sleep(0.09)
        assert door.accepts == 1
        assert (await app.event()).message_id == 6
        assert trio.current_time() == pytest.approx(begun + 0.2)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "accepting again later: EMFILE" in record.getMessage()
        await door.bring(NO_ROOM, greeting(7))
        assert (await app.event()).message_id == 7
        assert len(caplog.records) == 2  # for there was room in between


async def test_closing_during_the_pause(door: ScriptedListening) -> None:
    async with open_app() as app:
        end = await open_listener(app)
        await door.bring(NO_ROOM)
        end.post(OpCode.BYE_SIGNAL, 3)
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        assert app.chnls._group.deadlines.earliest == float("inf")


async def test_a_pause_that_is_prolonged_ends_later(
    door: ScriptedListening, autojump_clock: MockClock
) -> None:
    """As where one name stands for two addresses, and both have no room."""
    async with open_app(QUICK) as app:
        await open_listener(app)
        await door.bring(NO_ROOM, NO_ROOM, greeting(6))
        begun = trio.current_time()
        await trio.sleep(0.05)
        door.wake()
        assert (await app.event()).message_id == 6
        assert door.accepts == 4  # at last for nobody
        assert trio.current_time() == pytest.approx(begun + 0.15)


async def test_where_accepting_is_broken_it_ends_and_its_connections_live_on(
    door: ScriptedListening, caplog: pytest.LogCaptureFixture
) -> None:
    link = greeting(6)
    async with open_app(QUICK) as app:
        end = await open_listener(app)
        await door.bring(link, BROKEN)
        events = await app.events(2)
        assert end.closed(AmpeStatus.ACCEPT_FAILED) in events
        assert door.closed
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert f"cannot accept: {BROKEN.detail}" in record.getMessage()
        assert link.closed is None
        assert app.chnls.statistics().channels == 1


# ---------------------------------------------------------------------- too many channels


async def test_with_too_many_channels_it_waits_and_says_so_once_a_spell(
    door: ScriptedListening, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    async with open_app(Options(max_channels=3, close_timeout=0.05)) as app:
        end = await open_listener(app)
        await door.bring(*(greeting(number) for number in range(6, 12)))
        news, *greetings = sorted(await app.rest(), key=lambda event: event.message_id)
        assert news == from_engine(OpCode.SIGNAL, AmpeStatus.ALLOCATION_FAILED, end.number, 0)
        assert [event.message_id for event in greetings] == [6, 7]
        for number in (8, 9):  # room for one, and then again
            app.post(OpCode.BYE_SIGNAL, greetings.pop(0).channel)
            events = await app.rest()
            (anew,) = (event for event in events if event.opcode is OpCode.HELLO_REQUEST)
            assert anew.message_id == number
            greetings.append(anew)
        counts = app.ampe.statistics().limits_reached
        assert counts["max_channels"] >= 3
        assert len([r for r in caplog.records if "max_channels" in r.getMessage()]) == 1
        await trio.sleep(10)
        app.post(OpCode.BYE_SIGNAL, greetings.pop(0).channel)
        assert AmpeStatus.ALLOCATION_FAILED in [event.status for event in await app.rest()]


async def test_several_addresses_wait_for_one_channel_to_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each that closed made them ask twice as often as the one before."""
    doors = [ScriptedListening(*map(greeting, ids)) for ids in (range(6, 16), range(16, 26))]
    listens_at(monkeypatch, *doors)
    async with open_app(Options(max_channels=2, close_timeout=0.05)) as app:
        await open_listener(app)
        for closed in range(10):
            events = await app.rest()
            (greeted,) = (event for event in events if event.opcode is OpCode.HELLO_REQUEST)
            assert app.ampe.statistics().limits_reached["max_channels"] <= 2 * (closed + 1)
            app.post(OpCode.BYE_SIGNAL, greeted.channel)


async def test_the_news_names_the_limit(door: ScriptedListening) -> None:
    async with open_app(Options(max_channels=1, close_timeout=0.05)) as app:
        await open_listener(app)
        await door.bring(greeting(6))
        message = await app.receive()
        assert message.status is AmpeStatus.ALLOCATION_FAILED
        assert message.text_headers.get("~detail") == "max_channels"


async def test_a_listener_that_ends_while_there_are_too_many_stays_closed(
    door: ScriptedListening,
) -> None:
    async with open_app(Options(max_channels=2, close_timeout=0.05)) as app:
        end = await open_listener(app)
        await door.bring(greeting(6), greeting(7))
        events = await app.rest()
        end.post(OpCode.BYE_SIGNAL, 3)
        (channel,) = (event.channel for event in events if event.message_id == 6)
        app.post(OpCode.BYE_SIGNAL, channel)
        await app.events_until_closed(end.number, channel)
        assert door.accepts == 1


async def test_while_the_application_is_behind_nothing_is_accepted(
    door: ScriptedListening, autojump_clock: MockClock
) -> None:
    """Each that comes and goes leaves its last event: somebody has to receive them."""
    reset = LinkError(AmpeError.COMMUNICATION_FAILED)
    async with open_app(Options(max_channels=3, close_timeout=0.05)) as app:
        await open_listener(app)
        await door.bring(*(ScriptedLink(reset) for _ in range(20)))
        await trio.sleep(1)
        assert 6 <= app.chnls.statistics().messages_waiting <= 8
        assert app.ampe.statistics().limits_reached["max_channels"] >= 1
        received = 0
        with trio.move_on_after(5):
            while True:
                await app.chnls.wait_receive()
                received += 1
        assert received >= 20


async def test_while_too_much_waits_to_be_sent_nothing_is_accepted(
    door: ScriptedListening, autojump_clock: MockClock
) -> None:
    async with open_app() as app:
        await open_listener(app)
        queues = app.ampe._engine.queues
        queues.returning += 10**9
        queues.note(10**9)
        await door.bring(greeting(6))
        await trio.sleep(1)
        assert await app.rest() == []
        assert app.ampe.statistics().limits_reached["max_total_queued_bytes"] >= 1
        queues.returning -= 10**9
        queues.note(-(10**9))
        assert (await app.event()).message_id == 6


# ---------------------------------------------------------------------- who may come in


async def test_so_many_from_a_host(door: ScriptedListening) -> None:
    links = [greeting(number) for number in range(6, 10)]
    for link, host in zip(links, "aaab", strict=True):
        link.host = host
    async with open_app(Options(max_channels_per_host=2, close_timeout=0.05)) as app:
        await open_listener(app)
        await door.bring(*links)
        events = await app.rest()
        assert [event.message_id for event in events] == [6, 7, 9]
        assert [link.closed for link in links] == [None, None, "reset", None]
        assert app.ampe.statistics().limits_reached == {"max_channels_per_host": 1}
        app.post(OpCode.BYE_SIGNAL, events[0].channel)
        await app.events_until_closed(events[0].channel)
        again = greeting(10)
        again.host = "a"
        await door.bring(again)
        assert await ids(app) == [10]


@pytest.mark.parametrize("raises", [False, True])
async def test_who_is_not_wanted_is_reset(
    door: ScriptedListening, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def is_wanted(peer: object) -> bool:
        if raises:
            raise RuntimeError("cannot tell")
        return False

    link = greeting(6)
    async with open_app(Options(accept_filter=is_wanted)) as app:
        await open_listener(app)
        await door.bring(link)
        assert await app.rest() == []
        assert app.chnls.statistics().channels == 1
    assert link.closed == "reset"
    assert ("accept_filter failed" in caplog.text) is raises
