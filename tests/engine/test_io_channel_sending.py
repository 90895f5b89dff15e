"""What an IO channel sends, over a link that does what the test says (PROTOCOL 3 and 4).

What applications and peers see of it is in tests/flows.
"""

from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import AmpeStatus, OpCode, Options
from pytofu.engine.io_channel import IoChannel
from pytofu.links.base import PEER_CLOSED, LinkError, Wait
from tests.engine.scripted import (
    BROKEN,
    ScriptedLink,
    connect,
    open_end,
    open_server,
    signals,
)
from tests.support import (
    End,
    Side,
    frame,
    from_app,
    from_engine,
    open_app,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
BROKE: Final = AmpeStatus.COMMUNICATION_FAILED
SMALL: Final = Options(max_received_bytes=8 * 4000, max_queued_bytes=10_000)
"""A share of 4,000 bytes; so an accepted channel is held back above 6,000 bytes queued."""


def channel_of(end: End) -> IoChannel:
    channel = end.app.ampe._engine.numbers.open[end.number]
    assert isinstance(channel, IoChannel)
    return channel


# ---------------------------------------------------------------------- writing


@pytest.mark.parametrize("at_once", [1, 7, 16, 100])
async def test_a_link_may_take_little_at_a_time(
    at_once: int, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.at_once = at_once
        for number in range(1, 11):
            end.post(OpCode.SIGNAL, number, body=b"body")
        await wait_all_tasks_blocked()
        assert link.sent == signals(end, 1, 10, body=b"body")


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_link_may_have_to_read_before_it_takes_more(
    arrives: bool, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TLS may; readiness for writing says nothing then, and is not waited for."""
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity, link.full = 0, Wait.READABLE
        end.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked()
        assert link.sent == b""
        link.capacity = 1000
        if arrives:
            link.arrived.append(frame(OpCode.SIGNAL, 5))
        channel_of(end).on_readable(trio.current_time())
        assert link.sent == signals(end, 1, 1)
        if arrives:
            assert await app.event() == from_app(OpCode.SIGNAL, end.number, 5)


async def test_what_does_not_fit_waits_until_the_link_takes_it(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        sent = app.chnls.statistics().messages_sent
        link.capacity = 40
        for number in range(1, 6):
            end.post(OpCode.SIGNAL, number)
        await wait_all_tasks_blocked()
        assert link.sent == signals(end, 1, 5)[:40]
        assert app.chnls.statistics().messages_sent == sent + 2
        assert app.ampe.statistics().bytes_queued == 40
        await link.take(8)
        assert app.chnls.statistics().messages_sent == sent + 3
        end.post(OpCode.SIGNAL, 6)
        sends = link.sends
        await wait_all_tasks_blocked()
        assert link.sends == sends  # a link that is full is not asked again and again
        await link.take()
        assert link.sent == signals(end, 1, 6)
        assert app.chnls.statistics().messages_sent == sent + 6
        assert app.ampe.statistics().bytes_queued == 0
        end.post(OpCode.SIGNAL, 7)
        await wait_all_tasks_blocked()
        assert link.sent == signals(end, 1, 7)


@pytest.mark.parametrize(
    ("refusal", "reason"), [(BROKEN, BROKE), (PEER_CLOSED, AmpeStatus.PEER_DISCONNECTED)]
)
async def test_when_nothing_can_be_sent_what_had_come_is_read_first(
    refusal: LinkError, reason: AmpeStatus, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.refuses = refusal
        link.arrived.extend([frame(OpCode.SIGNAL, 8), frame(OpCode.SIGNAL, 9)])
        for number in (1, 2):
            end.post(OpCode.SIGNAL, number)
        events = await end.events_until_closed()
        unsent = BROKE if refusal is BROKEN else CLOSED
        assert events == [
            *(from_app(OpCode.SIGNAL, end.number, number) for number in (8, 9)),
            *(from_engine(OpCode.SIGNAL, unsent, end.number, number) for number in (1, 2)),
            end.closed(reason),
        ]
    assert link.closed == ("reset" if refusal is BROKEN else "orderly")


@pytest.mark.parametrize("count", [126, 127, 128, 255])
async def test_what_comes_back_may_be_as_much_as_fits_into_whole_pieces(count: int) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_server(app, link)
        link.refuses = PEER_CLOSED
        for number in range(1, count + 1):
            end.post(OpCode.SIGNAL, number)
        assert await end.events_until_closed() == [
            *(from_engine(OpCode.SIGNAL, CLOSED, end.number, 1 + i) for i in range(count)),
            end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        assert app.ampe.statistics().channels == 0
        assert await app.rest() == []


async def test_a_peer_that_asks_and_does_not_read_is_not_read_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink()
    async with open_app(SMALL) as app:
        end = await open_server(app, link)
        link.capacity = 0
        for number in range(1, 8):
            end.post(OpCode.SIGNAL, number, body=bytes(984))
        asked = len(link.asked)
        await link.bring(frame(OpCode.SIGNAL, 8))
        assert await app.rest() == []
        await link.take(3000)
        assert await app.rest() == []
        assert len(link.asked) == asked
        await link.take(1000)
        assert [event.message_id for event in await app.rest()] == [8]
        await link.take()


async def test_a_connecting_channel_is_read_from_whatever_is_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink()
    async with open_app(SMALL) as app:
        end = await open_end(app, "client", link, monkeypatch)
        link.capacity = 0
        for number in range(1, 8):
            end.post(OpCode.SIGNAL, number, body=bytes(984))
        await link.bring(frame(OpCode.SIGNAL, 8))
        assert [event.message_id for event in await app.rest()] == [8]
        await link.take()


# ---------------------------------------------------------------------- waiting to send


async def test_senders_wait_in_turn_while_much_is_queued(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    order: list[int] = []
    async with open_app(Options(high_water=2000)) as app, trio.open_nursery() as nursery:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0

        async def send(number: int, scope: trio.CancelScope) -> None:
            message = app.message(OpCode.SIGNAL, end.number, number, body=bytes(984))
            with scope:
                await app.chnls.send(message)
                order.append(number)
            app.ampe.put(message)

        scopes = [trio.CancelScope() for _ in range(8)]
        for number, scope in enumerate(scopes, 1):
            nursery.start_soon(send, number, scope)
            await wait_all_tasks_blocked()
        assert order == [1, 2, 3]
        scopes[4].cancel()  # of number 5
        await link.take(1000)
        assert order == [1, 2, 3]
        await link.take(1000)  # half of it is left
        assert order == [1, 2, 3, 4, 6]
        await link.take()
        assert order == [1, 2, 3, 4, 6, 7, 8]
        assert channel_of(end)._senders is None


async def test_who_waits_to_send_is_told_that_the_channel_has_closed(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    errors: list[AmpeStatus] = []
    async with open_app(Options(high_water=0)) as app, trio.open_nursery() as nursery:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        end.post(OpCode.SIGNAL, 1)

        async def send(number: int) -> None:
            message = app.message(OpCode.SIGNAL, end.number, number)
            with pytest.raises(Exception, match="CHANNEL_CLOSED"):
                await app.chnls.send(message)
            errors.append(message.unwrap().status)
            app.ampe.put(message)

        for number in (2, 3):
            nursery.start_soon(send, number)
        await wait_all_tasks_blocked()
        end.post(OpCode.BYE_SIGNAL, 9)
        await wait_all_tasks_blocked()
        assert errors == [CLOSED, CLOSED]
        assert [e.message_id for e in await end.events_until_closed()] == [9, 1, 77]


async def test_who_waits_to_send_goes_on_when_the_hello_is_answered(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """Until then all that was sent is kept, and counts."""
    link = ScriptedLink()
    async with open_app(Options(high_water=2000)) as app:
        end = connect(app, link, monkeypatch)
        for number in (1, 2):
            end.post(OpCode.SIGNAL, number, body=bytes(984))
        await wait_all_tasks_blocked()
        message = app.message(OpCode.SIGNAL, end.number, 3)
        nursery.start_soon(app.chnls.send, message)
        await wait_all_tasks_blocked()
        assert not message.is_empty()
        await link.bring(frame(OpCode.HELLO_RESPONSE, 77))
        assert message.is_empty()
        assert link.sent.endswith(signals(end, 3, 3))


async def test_with_too_much_in_all_a_peer_that_takes_nothing_any_more_is_not_heard_out() -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_server(app, link)
        link.capacity = 0
        end.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked()
        queues = app.ampe._engine.queues
        queues.returning += 10**9  # of others
        queues.note(10**9)
        await link.bring(frame(OpCode.SIGNAL, 8))
        assert await app.rest() == []  # it is not read from
        link.refuses = BROKEN
        await link.go_on()
        events = await end.events_until_closed()
        assert [event.message_id for event in events] == [1, 77]
        assert events[-1] == end.closed(BROKE)


async def test_what_waits_takes_up_little_more_memory_than_it_has_bytes(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        for number in range(1, 2001):
            end.post(OpCode.SIGNAL, number)
            if not number % 50:
                await wait_all_tasks_blocked()
        assert len(channel_of(end).conversation.writer._open) < 200
        link.capacity = 10**6
        await link.go_on()
        assert link.sent == signals(end, 1, 2000)


@pytest.mark.parametrize("receiver", ["waits", "takes"])
async def test_closed_channels_give_back_some_at_a_time(receiver: str) -> None:
    async with open_app(Options(initial_pool_msgs=4096, max_pool_msgs=4096)) as app:
        ends: list[End] = []
        for _ in range(100):
            link = ScriptedLink()
            ends.append(await open_server(app, link))
            link.capacity = 0
            for number in range(1, 11):
                ends[-1].post(OpCode.SIGNAL, number)
        await wait_all_tasks_blocked()
        for end in ends:
            end.post(OpCode.BYE_SIGNAL, 11)
        await wait_all_tasks_blocked()
        received: list[int] = []
        while len(received) < 100 * 12:
            assert app.chnls.statistics().messages_waiting <= 2 * 256
            if receiver == "takes" and (message := app.chnls.receive_nowait()) is not None:
                received.append(message.message_id)
            else:
                received.append((await app.receive()).message_id)
        assert sorted(received) == sorted([*range(1, 12), 77] * 100)
        assert app.chnls.statistics().channels == 0


async def test_a_peer_that_was_not_read_from_and_takes_nothing_any_more_is_gone() -> None:
    link = ScriptedLink()
    async with open_app(SMALL) as app:
        end = await open_server(app, link)
        link.capacity = 0
        for number in range(1, 8):
            end.post(OpCode.SIGNAL, number, body=bytes(984))
        await link.bring(frame(OpCode.SIGNAL, 8))
        assert await app.rest() == []
        link.refuses = BROKEN
        await link.go_on()
        events = await end.events_until_closed()
        assert [event.message_id for event in events] == [8, 1, 2, 3, 4, 5, 6, 7, 77]
        assert events[-1] == end.closed(BROKE)
