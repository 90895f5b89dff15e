"""An IO channel over a link that does what the test says (PROTOCOL 2 to 6).

What applications and peers see of it is in tests/flows.
"""

from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu import AmpeError, AmpeStatus, Holder, OpCode, Options
from pytofu.engine import opening
from pytofu.engine.io_channel import IoChannel
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from tests.engine.scripted import (
    BROKEN,
    NOWHERE,
    ScriptedLink,
    connect,
    open_end,
    open_server,
    signals,
)
from tests.support import (
    PATIENCE,
    Side,
    address_headers,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
BROKE: Final = AmpeStatus.COMMUNICATION_FAILED


# ---------------------------------------------------------------------- opening


async def test_connecting_goes_on_whichever_way_the_link_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink()
    link.opens.extend([Wait.WRITABLE, Wait.READABLE])
    async with open_app() as app:
        end = connect(app, link, monkeypatch)
        end.post(OpCode.SIGNAL, 8)
        await wait_all_tasks_blocked()
        assert (link.sends, link.asked) == (0, [])
        await link.go_on()
        assert not link.opens
        assert link.sent.endswith(signals(end, 8, 8))
        await link.bring(frame(OpCode.HELLO_RESPONSE, 77))
        assert (await app.event()).opcode is OpCode.HELLO_RESPONSE


@pytest.mark.parametrize("waits", [None, Wait.READABLE, Wait.WRITABLE])
async def test_connecting_that_fails_brings_the_hello_back(
    waits: Wait | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    error = LinkError(AmpeError.CONNECT_FAILED, "ECONNREFUSED, Connection refused")
    link.opens.extend([error] if waits is None else [waits, error])
    async with open_app() as app:
        end = connect(app, link, monkeypatch)
        await wait_all_tasks_blocked()
        await link.go_on()
        failed = AmpeStatus.CONNECT_FAILED
        assert await end.events_until_closed() == [
            from_engine(
                OpCode.HELLO_RESPONSE,  # the path leads nowhere
                failed,
                end.number,
                77,
                headers=address_headers(NOWHERE),
            ),
            end.closed(failed),
        ]
    assert (link.sends, link.closed) == (0, "orderly")


async def test_an_accepted_link_may_shake_hands_first() -> None:
    link = ScriptedLink(hello(5))
    link.opens.extend([Wait.READABLE, Wait.WRITABLE, Wait.READABLE])
    async with open_app() as app:
        app.chnls._group.accept(link)
        while link.opens:
            assert link.asked == []
            await link.go_on()
        await link.go_on()  # what the last answer waits for is there
        assert (await app.event()).message_id == 5


async def test_an_accepted_link_that_fails_to_shake_hands() -> None:
    link = ScriptedLink()
    link.opens.extend([Wait.READABLE, LinkError(AmpeError.COMMUNICATION_FAILED, "no handshake")])
    async with open_app() as app:
        app.chnls._group.accept(link)
        await link.go_on()
        message = await app.receive()
        assert message.text_headers.get("~reason") == BROKE.name
        assert message.text_headers.get("~detail") == "no handshake"
    assert link.closed == "orderly"


@pytest.mark.parametrize("fails", [False, True])
async def test_a_name_is_connected_to_in_a_task(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()

    async def resolve(address: object, **settings: object) -> Link | LinkError:
        await trio.lowlevel.checkpoint()
        return LinkError(AmpeError.INVALID_ADDRESS, "EAI_NONAME") if fails else link

    monkeypatch.setattr(opening, "connect", resolve)
    async with open_app() as app:
        end = connect(app, None, monkeypatch)
        await wait_all_tasks_blocked()
        if fails:
            assert (await end.events_until_closed())[-1] == end.closed(AmpeStatus.INVALID_ADDRESS)
        else:
            assert link.sent.endswith(b"\r\n")
            await link.bring(frame(OpCode.HELLO_RESPONSE, 77))
            assert (await app.event()).opcode is OpCode.HELLO_RESPONSE


@pytest.mark.parametrize("arrives", [False, True])
async def test_aborting_while_a_name_is_connected_to(
    arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is cancelled; a link that it brings all the same is reset."""
    link = ScriptedLink()
    begun = trio.Event()

    async def resolve(address: object, **settings: object) -> Link:
        begun.set()
        with trio.CancelScope(shield=arrives):
            await wait_all_tasks_blocked()
        if not arrives:
            await trio.sleep_forever()
        return link

    monkeypatch.setattr(opening, "connect", resolve)
    async with open_app() as app:
        end = connect(app, None, monkeypatch)
        await begun.wait()
        end.post(OpCode.BYE_SIGNAL, 5)
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        await wait_all_tasks_blocked()
    assert link.closed == ("reset" if arrives else None)


async def test_closing_in_the_turn_of_the_hello_connects_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = connect(app, link, monkeypatch)
        end.post(OpCode.BYE_SIGNAL, 5)
        assert (await end.events_until_closed())[-1] == end.closed(CLOSED)
        await wait_all_tasks_blocked()
        assert link.sends == 0


# ---------------------------------------------------------------------- reading


async def test_messages_are_put_together_from_any_pieces(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        data = frame(OpCode.SIGNAL, 8, body=b"body") + frame(OpCode.SIGNAL, 9)
        await link.bring(*(data[at : at + 1] for at in range(len(data))))
        assert await app.rest() == [
            from_app(OpCode.SIGNAL, end.number, 8, body=b"body"),
            from_app(OpCode.SIGNAL, end.number, 9),
        ]


async def test_nothing_is_read_when_nothing_is_there(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        await open_end(app, side, link, monkeypatch)
        asked = len(link.asked)
        await link.go_on()
        assert len(link.asked) == asked + 1
        assert await app.rest() == []


async def test_what_is_buffered_is_read_though_nothing_announces_it(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Buffered(ScriptedLink):
        @property
        def buffered(self) -> bool:
            return bool(self.arrived)

    link = Buffered()
    async with open_app() as app:
        await open_end(app, side, link, monkeypatch)
        link.arrived.extend(frame(OpCode.SIGNAL, number) for number in range(1, 6))
        await link.go_on()
        assert [event.message_id for event in await app.rest()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [15, 18, 5000])
async def test_only_a_small_part_of_a_frame_is_acknowledged_at_once(
    size: int, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that has not set TCP_NODELAY, as Zig tofu, sends no more before that."""
    link = ScriptedLink()
    async with open_app() as app:
        await open_end(app, side, link, monkeypatch)
        data = frame(OpCode.SIGNAL, 8, body=bytes(10_000))
        before = link.acknowledged
        await link.bring(data[:size])
        assert link.acknowledged - before == (1 if size < 4096 else 0)
        await link.bring(data[size:])
        assert (await app.event()).message_id == 8
        assert link.acknowledged - before == (1 if size < 4096 else 0)


async def test_with_a_tight_budget_no_more_is_asked_for_at_once_than_makes_sense(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app(Options(initial_pool_msgs=1, max_pool_msgs=1)) as app:
        await open_end(app, side, link, monkeypatch)
        link.asked.clear()
        await link.go_on()
        lent = app.ampe.get()
        await link.go_on()
        assert link.asked[0] > 16_384
        assert link.asked[1] == 4096
        app.ampe.put(Holder(lent))


@pytest.mark.parametrize(
    ("error", "reason"), [(BROKEN, BROKE), (PEER_CLOSED, AmpeStatus.PEER_DISCONNECTED)]
)
async def test_the_end_of_the_link_is_the_channels_behind_what_came_before(
    error: LinkError, reason: AmpeStatus, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        await open_end(app, side, link, monkeypatch)
        await link.bring(frame(OpCode.SIGNAL, 8), error)
        last = await app.receive(), await app.receive()
        assert [message.message_id for message in last] == [8, 77]
        assert last[1].text_headers.get("~reason") == reason.name
        assert last[1].text_headers.get("~detail") == (error.detail or None)


async def test_nothing_is_read_while_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever wakes it meanwhile."""
    link = ScriptedLink()
    async with open_app(Options(initial_pool_msgs=1, max_pool_msgs=1)) as app:
        end = await open_end(app, "server", link, monkeypatch)
        await link.bring(frame(OpCode.SIGNAL, 8) + frame(OpCode.SIGNAL, 9))
        held = await app.receive()
        assert (await app.event()).status is AmpeStatus.POOL_EMPTY
        asked = len(link.asked)
        await link.go_on()
        assert len(link.asked) == asked
        app.ampe.put(Holder(held))
        assert await app.event() == from_app(OpCode.SIGNAL, end.number, 9)


# ---------------------------------------------------------------------- closing


async def test_closing_sends_the_rest_says_that_it_was_all_and_waits_for_the_peer(
    side: Side, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 10
        link.polite = False
        end.post(OpCode.SIGNAL, 1)
        link.ends.extend([Wait.WRITABLE] * 3)
        nursery.start_soon(app.ampe.destroy, app.chnls)
        await wait_all_tasks_blocked()
        assert link.said_end == 0
        await link.take()
        assert link.sent == signals(end, 1, 1)
        assert link.said_end > 0
        for _ in range(3):
            await link.go_on()
        assert link.said_end == 4  # three times it had to wait
        assert link.closed is None
        await link.bring(frame(OpCode.SIGNAL, 8), PEER_CLOSED)
        assert link.closed == "orderly"


async def test_a_link_on_which_no_end_can_be_said_is_over(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        await open_end(app, side, link, monkeypatch)
        link.ends.append(BROKEN)
        with trio.fail_after(PATIENCE / 5):
            await app.ampe.destroy(app.chnls)
    assert link.closed == "orderly"  # for everything had been sent


async def test_what_arrives_in_time_is_taken_before_time_is_up(
    side: Side, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Though nothing has said so yet."""
    link = ScriptedLink()
    async with open_app(Options(frame_timeout=7)) as app:
        end = await open_end(app, side, link, monkeypatch)
        data = frame(OpCode.SIGNAL, 8, body=b"body")
        await link.bring(data[:18])
        link.arrived.append(data[18:])
        await trio.sleep(8)
        assert await app.rest() == [from_app(OpCode.SIGNAL, end.number, 8, body=b"body")]
        await link.bring(data[:18])
        await trio.sleep(8)
        assert (await app.rest())[-1] == end.closed(AmpeStatus.RECV_FAILED)


async def test_a_hello_that_comes_late_resets(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    link = ScriptedLink(hello(77)[:-1])
    async with open_app(Options(hello_timeout=7)) as app:
        app.chnls._group.accept(link)
        await trio.sleep(6.9)
        assert link.closed is None
        await trio.sleep(0.2)
        assert link.closed == "reset"
        message = await app.receive()
        assert message.text_headers.get("~detail") == "hello_timeout"
        assert app.ampe.statistics().limits_reached == {"hello_timeout": 1}


async def test_an_end_that_is_found_when_time_is_up_is_no_defect(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    link = ScriptedLink()
    async with open_app(Options(frame_timeout=5)) as app:
        await open_server(app, link)
        await link.bring(frame(OpCode.SIGNAL, 8, body=bytes(100))[:50])
        link.arrived.append(PEER_CLOSED)  # and nobody has been told of it
        await trio.sleep(6)
        assert [event.reason for event in await app.rest()] == [AmpeStatus.PEER_DISCONNECTED]
        assert link.closed is not None
    assert not caplog.records


async def test_one_that_brings_much_is_known_until_it_brings_little() -> None:
    """The reactor counts it as several."""
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_server(app, link)
        channel = app.chnls._group._numbers.open[end.number]
        assert isinstance(channel, IoChannel)
        for size, much in ((16 * 1024 - 16, False), (16 * 1024 - 15, True), (1, False)):
            await link.bring(frame(OpCode.SIGNAL, 1, body=bytes(size)))
            assert channel.brings_much is much
        assert len(await app.events(3)) == 3
