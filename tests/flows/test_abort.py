"""ByeSignal: closing at once, and what of the unsent comes back (PROTOCOL 4 and 6)."""

import pytest

from pytofu import (
    AmpeStatus,
    ChannelClosedException,
    Holder,
    Message,
    OpCode,
    ProtoFields,
    TCPServerAddress,
)
from tests.support import (
    ServerAddress,
    Side,
    abort_ending,
    abort_reason,
    clog,
    connect_apps,
    frame,
    from_app,
    from_engine,
    open_app,
    open_pair,
    open_raw_pair,
)

CLOSED = AmpeStatus.CHANNEL_CLOSED


@pytest.mark.parametrize("internal_a", [False, True])
async def test_bye_signal(address: ServerAddress, side: Side, internal_a: bool) -> None:
    """With or without internal A, which Zig tells the two kinds apart by."""
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        message = Message()
        message.header.proto = ProtoFields(OpCode.BYE_SIGNAL, internal_a=internal_a)
        message.channel_number = near.number
        message.message_id = 9
        message.text_headers.append("why", "enough")
        message.set_payload(b"so long")
        header = near.app.chnls.post(Holder(message))
        assert (header.channel_number, header.message_id) == (near.number, 9)
        assert await near.events_until_closed() == [
            from_engine(
                OpCode.BYE_SIGNAL,
                CLOSED,
                near.number,
                9,
                headers=(("why", "enough"),),
                body=b"so long",
            ),
            near.closed(CLOSED),
        ]
        assert await far.events_until_closed() == [far.closed(abort_reason(address))]
        assert await near.app.rest() == await far.app.rest() == []


async def test_nothing_goes_over_the_wire(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.BYE_SIGNAL, 9, body=b"so long")
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_unsent_messages_come_back_in_order(address: ServerAddress, side: Side) -> None:
    """They are posted, and the abort too, before the engine has a chance to send anything."""
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.SIGNAL, 9)  # as the answer to the last one received it goes at once
        assert (await pair.peer.receive_frame()).opcode is OpCode.SIGNAL
        pair.app.post(
            OpCode.REQUEST, pair.end.number, 10, headers=(("a", "b"),), body=b"first", more=True
        )
        pair.end.post(OpCode.RESPONSE, 11, body=bytes(60_000))
        pair.end.post(OpCode.BYE_SIGNAL, 12)
        with pytest.raises(ChannelClosedException):
            pair.end.post(OpCode.SIGNAL, 13, body=b"posted behind the abort")
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, pair.end.number, 12),
            from_engine(
                OpCode.REQUEST,
                CLOSED,
                pair.end.number,
                10,
                headers=(("a", "b"),),
                body=b"first",
                more=True,
            ),
            from_engine(OpCode.RESPONSE, CLOSED, pair.end.number, 11, body=bytes(60_000)),
            pair.end.closed(CLOSED),
        ]
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_a_message_partly_written_comes_back_whole(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_SIGNAL, 9)
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, pair.end.number, 9),
            *clogged.unsent(CLOSED),
            pair.end.closed(CLOSED),
        ]
        received, ending = await pair.peer.ending()
        assert ending == abort_ending(address)
        assert clogged.stream().startswith(received)


async def test_messages_that_came_back_can_be_posted_again(
    address: ServerAddress, side: Side
) -> None:
    """A message cut by the abort of one channel goes over the next one, whole."""
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_SIGNAL, 9)
        assert (await pair.app.event()).opcode is OpCode.BYE_SIGNAL
        message = await pair.app.receive()
        expected = clogged.unsent(CLOSED)[0]
        await pair.end.events_until_closed()
        listener = await pair.app.listen(TCPServerAddress("127.0.0.1", 0))
        client, server = await connect_apps(pair.app, listener)
        message.channel_number = client.number
        pair.app.chnls.post(Holder(message))
        assert await pair.app.event() == from_app(
            OpCode.SIGNAL, server.number, expected.message_id, body=expected.body
        )


async def test_what_was_received_before_the_abort_stays(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(OpCode.REQUEST, 8) + frame(OpCode.REQUEST, 9))
        assert await pair.app.event() == from_app(OpCode.REQUEST, pair.end.number, 8)
        pair.end.post(OpCode.BYE_SIGNAL, 10)
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 9),
            from_engine(OpCode.BYE_SIGNAL, CLOSED, pair.end.number, 10),
            pair.end.closed(CLOSED),
        ]


async def test_both_abort_at_once(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        for end in (pair.client, pair.server):
            end.post(OpCode.BYE_SIGNAL, 9)
        for end in (pair.client, pair.server):
            assert await end.events_until_closed() == [
                from_engine(OpCode.BYE_SIGNAL, CLOSED, end.number, 9),
                end.closed(CLOSED),
            ]


async def test_aborting_twice_is_once_too_often(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, _ = pair.ends(side)
        near.post(OpCode.BYE_SIGNAL, 9)
        with pytest.raises(ChannelClosedException):
            near.post(OpCode.BYE_SIGNAL, 10)
        assert await near.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, near.number, 9),
            near.closed(CLOSED),
        ]


async def test_other_channels_know_nothing_of_it(address: ServerAddress, side: Side) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        ends = [await connect_apps(client, listener) for _ in range(3)]
        near, far = ends[1] if side == "client" else reversed(ends[1])
        near.post(OpCode.BYE_SIGNAL, 9)
        await near.events_until_closed()
        await far.events_until_closed()
        for client_end, server_end in (ends[0], ends[2]):
            client_end.post(OpCode.REQUEST, 10)
            assert await server.event() == from_app(OpCode.REQUEST, server_end.number, 10)
            server_end.post(OpCode.RESPONSE, 10)
            assert await client.event() == from_app(OpCode.RESPONSE, client_end.number, 10)
        await connect_apps(client, listener)
