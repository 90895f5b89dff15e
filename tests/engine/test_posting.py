"""From `post` to the channel's queue (PROTOCOL 3).

What it says of each mistake is in tests/flows.
"""

from collections.abc import Callable
from typing import Final

import pytest
from trio.testing import wait_all_tasks_blocked

from pytofu import (
    AllocationFailedException,
    AmpeStatus,
    ChannelClosedException,
    Holder,
    InvalidMessageChannelGroupException,
    Message,
    OpCode,
    Options,
    ShutdownException,
)
from pytofu.engine import channel_numbers
from pytofu.engine.io_channel import IoChannel
from pytofu.protocol.framing import FrameWriter
from tests.engine.scripted import (
    HERE,
    DefectError,
    ScriptedLink,
    ScriptedListening,
    connects_over,
    listens_at,
    open_end,
    open_listener,
    open_server,
)
from tests.support import App, Side, address_headers, frame, open_app

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED


def refused(app: App, message: Message, error: type[Exception]) -> AmpeStatus:
    """Posting it raises this, and it stays with its owner."""
    holder = Holder(message)
    with pytest.raises(error):
        app.chnls.post(holder)
    assert holder.value is message
    status = message.status
    app.ampe.put(holder)
    return status


def made(app: App, opcode: OpCode, channel: int = 0, headers: tuple[()] = ()) -> Message:
    return app.message(opcode, channel, 3, headers=headers).unwrap()


async def test_what_a_message_is_when_it_is_posted_is_what_is_sent(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        message = made(app, OpCode.SIGNAL, end.number)
        body, headers = message.body, message.text_headers
        body.append(b"before")
        headers.append("when", "before")
        header = app.chnls.post(Holder(message))
        body.append(b"after")
        headers.append("when", "after")
        await wait_all_tasks_blocked()
        assert link.sent == frame(
            OpCode.SIGNAL, 3, channel=end.number, text=b"when:before\r\n", body=b"before"
        )
        assert (header.channel_number, header.message_id, header.body_len) == (end.number, 3, 6)


@pytest.mark.parametrize("headers", [(), (("who", "me"),)], ids=["ordinary", "with text headers"])
@pytest.mark.parametrize(
    ("field", "what"),
    [("message_id", str), ("message_id", float), ("channel_number", float), ("proto_byte", str)],
)
async def test_a_field_that_is_no_number_stops_the_post_before_anything_is_queued(
    field: str,
    what: Callable[[int], object],
    headers: tuple[tuple[str, str], ...],
    side: Side,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        message = app.message(OpCode.SIGNAL, end.number, 3, headers=headers).unwrap()
        right = getattr(message._header, field)
        setattr(message._header, field, wrong := what(right))
        holder = Holder(message)
        with pytest.raises(TypeError, match=rf"BinaryHeader\.{field} .*{wrong!r}"):
            app.chnls.post(holder)
        assert holder.value is message
        setattr(message._header, field, right)
        app.chnls.post(holder)
        await wait_all_tasks_blocked()
        text = "".join(f"{name}:{value}\r\n" for name, value in headers).encode()
        assert link.sent == frame(OpCode.SIGNAL, 3, channel=end.number, text=text)


async def test_a_defect_is_not_blamed_on_the_fields(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app() as app:
        end = await open_end(app, side, ScriptedLink(), monkeypatch)
        message = made(app, OpCode.SIGNAL, end.number)
        message.body.append(b"text")  # which makes it no ordinary one

        def defect(*_: object) -> None:
            raise TypeError("a defect")

        with monkeypatch.context() as patch:
            patch.setattr(FrameWriter, "push", defect)
            with pytest.raises(TypeError, match="a defect"):
                app.chnls.post(Holder(message))
        app.ampe.put(Holder(message))


# ---------------------------------------------------------------------- when it is written


async def test_a_burst_is_written_before_the_end_of_the_turn(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        app.chnls._group.poster.answered = app.chnls._group.mailbox.taken
        end.post(OpCode.SIGNAL, 1, body=bytes(60_000))
        assert link.sent == b""
        end.post(OpCode.SIGNAL, 2, body=bytes(60_000))
        assert len(link.sent) == 2 * 60_016


async def test_the_answer_is_written_at_once_when_nothing_else_waits(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        await link.bring(frame(OpCode.REQUEST, 1))
        await app.event()
        end.post(OpCode.RESPONSE, 1)
        assert len(link.sent) == 16
        end.post(OpCode.SIGNAL, 2)
        assert len(link.sent) == 16
        await link.bring(frame(OpCode.REQUEST, 3) + frame(OpCode.REQUEST, 4))
        assert len(link.sent) == 32
        await app.event()
        end.post(OpCode.RESPONSE, 3)
        assert len(link.sent) == 32
        await app.event()


# ---------------------------------------------------------------------- too much is queued


async def test_so_much_may_be_queued_on_a_channel(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app(Options(max_queued_bytes=5000)) as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        for number in range(1, 7):
            end.post(OpCode.SIGNAL, number, body=bytes(984))
        message = made(app, OpCode.SIGNAL, end.number)
        assert refused(app, message, AllocationFailedException) is AmpeStatus.ALLOCATION_FAILED
        assert app.ampe.statistics().limits_reached == {"max_queued_bytes": 1}
        end.post(OpCode.BYE_REQUEST, 8)  # who is to leave must be able to say so
        await link.take()
        end.post(OpCode.SIGNAL, 9)
        assert (await app.event()).status is CLOSED


# ---------------------------------------------------------------------- whose number it is


@pytest.fixture
def _few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are used again at once, and there are two."""
    monkeypatch.setattr(channel_numbers, "RECENT", 0)
    monkeypatch.setattr(channel_numbers, "LAST", 2)


@pytest.mark.usefixtures("_few_numbers")
async def test_an_answer_never_reaches_who_has_the_number_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_app() as app, open_app() as elsewhere:
        listens_at(monkeypatch, ScriptedListening())
        listener = await open_listener(app)
        first, second, foreign = ScriptedLink(), ScriptedLink(), ScriptedLink()
        end = await open_server(app, first)
        await first.bring(frame(OpCode.REQUEST, 5))
        request = await app.receive()
        end.post(OpCode.BYE_SIGNAL)
        await end.events_until_closed()
        again = await open_server(app, second)
        assert again.number == end.number != listener.number
        assert refused(app, request, ChannelClosedException) is CLOSED
        assert second.sent == b""
        await second.bring(frame(OpCode.REQUEST, 6))
        app.chnls.post(Holder(await app.receive()))  # its own are sent
        await open_server(elsewhere, foreign)
        await foreign.bring(frame(OpCode.REQUEST, 7))
        message = await elsewhere.receive()
        message.channel_number = again.number
        app.chnls.post(Holder(message))  # and what another engine has received
        await wait_all_tasks_blocked()
        assert len(second.sent) == 32


@pytest.mark.usefixtures("_few_numbers")
@pytest.mark.parametrize("opcode", [OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST])
async def test_without_a_free_number_nothing_can_be_opened(
    opcode: OpCode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = ScriptedLink()
    door = ScriptedListening()
    listens_at(monkeypatch, door)
    connects_over(monkeypatch, link)
    async with open_app() as app:
        await open_listener(app)
        listens_at(monkeypatch, ScriptedListening())
        listener = await open_listener(app)
        message = app.message(opcode, 0, 3, headers=address_headers(HERE)).unwrap()
        assert refused(app, message, AllocationFailedException) is AmpeStatus.ALLOCATION_FAILED
        await door.bring(link)
        assert link.closed == "reset"
        assert "no channel number is free" in caplog.text
        assert app.chnls.statistics().channels == 2
        listener.post(OpCode.BYE_SIGNAL)
        await listener.events_until_closed()
        await open_listener(app)


# ---------------------------------------------------------------------- in awkward moments


async def test_a_channel_of_another_group(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app() as app, app.ampe.open_channel_group() as other:
        end = await open_end(app, side, ScriptedLink(), monkeypatch)
        stranger = App(app.ampe, other)
        message = made(app, OpCode.SIGNAL, end.number)
        refused(stranger, message, InvalidMessageChannelGroupException)


async def test_an_answer_to_a_channel_that_closed_long_ago_is_for_nobody(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.arrived.append(frame(OpCode.REQUEST, 5))
        channel = app.ampe._engine.numbers.open[end.number]
        assert isinstance(channel, IoChannel)
        channel.on_readable(0)
        request = await app.receive()
        end.post(OpCode.BYE_SIGNAL)
        await end.events_until_closed()
        app.ampe._engine.numbers._recent.clear()  # others have closed since
        request.opcode = OpCode.RESPONSE
        assert refused(app, request, ChannelClosedException) is CLOSED


async def test_while_what_was_not_sent_is_given_back_the_channel_is_closed(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is its own until the application has received the last of it."""
    link = ScriptedLink()
    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        link.capacity = 0
        for number in range(1, 301):
            end.post(OpCode.SIGNAL, number)
        end.post(OpCode.BYE_SIGNAL, 999)
        assert app.chnls.statistics().messages_waiting < 301
        assert app.chnls.statistics().channels == 1
        for opcode in (OpCode.SIGNAL, OpCode.BYE_SIGNAL):
            message = made(app, opcode, end.number)
            assert refused(app, message, ChannelClosedException) is CLOSED
        with pytest.raises(ChannelClosedException):
            app.chnls.peer(end.number)
        events = await end.events_until_closed()
        assert [event.message_id for event in events] == [999, *range(1, 301), 77]
        assert app.chnls.statistics().channels == 0


async def test_a_group_that_closes(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    link = ScriptedLink()
    link.polite = False
    async with open_app(Options(close_timeout=0.05)) as app:
        end = await open_end(app, side, link, monkeypatch)
        group = app.chnls._group
        group.close(abort=False)
        for number in (end.number, 0):
            opcode = OpCode.SIGNAL if number else OpCode.HELLO_REQUEST
            message = app.message(opcode, number, 3, headers=address_headers(HERE)).unwrap()
            refused(app, message, ShutdownException)
        assert len(group.channels) == 1
        await group.closed.wait()
        refused(app, made(app, OpCode.SIGNAL, end.number), ShutdownException)


async def test_a_defect_behind_the_post_is_no_error_of_the_post(
    side: Side, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = ScriptedLink()

    def fail(self: object) -> None:
        monkeypatch.undo()
        raise DefectError

    async with open_app() as app:
        end = await open_end(app, side, link, monkeypatch)
        channel = app.ampe._engine.numbers.open[end.number]
        monkeypatch.setattr(type(channel), "_settle", fail)
        end.post(OpCode.BYE_REQUEST, 3)
        events = await end.events_until_closed()
        assert [event.message_id for event in events] == [3, 77]
        assert events[-1] == end.closed(AmpeStatus.PROCESSING_FAILED)
        assert "closed by a defect in pytofu" in caplog.text
