"""Saying good-bye, in every order that two applications can find (PROTOCOL 4 and 6)."""

import pytest

from pytofu import AmpeStatus, OpCode, Options
from tests.support import (
    FIN,
    Event,
    ServerAddress,
    Side,
    abort_ending,
    abort_reason,
    clog,
    cut_ending,
    frame,
    from_app,
    from_engine,
    open_app,
    open_pair,
    open_raw_pair,
)


async def test_bye_request_and_response(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.app.post(
            OpCode.BYE_REQUEST, near.number, 9, headers=(("why", "done"),), body=b"so long"
        )
        assert await far.app.event() == from_app(
            OpCode.BYE_REQUEST, far.number, 9, headers=(("why", "done"),), body=b"so long"
        )
        assert await near.app.rest() == await far.app.rest() == []
        far.post(OpCode.BYE_RESPONSE, 9, body=b"thanks")
        assert await near.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, near.number, 9, body=b"thanks"),
            near.closed(AmpeStatus.SUCCESS),
        ]
        assert await far.events_until_closed() == [far.closed(AmpeStatus.SUCCESS)]
        assert await near.app.rest() == await far.app.rest() == []


async def test_everything_posted_before_the_bye_request_arrives(
    address: ServerAddress, side: Side
) -> None:
    body = bytes(10_000)
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        for message_id in range(1000, 1500):
            near.post(OpCode.REQUEST, message_id, body=body)
        near.post(OpCode.BYE_REQUEST, 9)
        assert await far.app.events(501) == [
            *(
                from_app(OpCode.REQUEST, far.number, message_id, body=body)
                for message_id in range(1000, 1500)
            ),
            from_app(OpCode.BYE_REQUEST, far.number, 9),
        ]


async def test_the_peer_may_send_until_its_bye_response(address: ServerAddress, side: Side) -> None:
    body = bytes(10_000)
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.BYE_REQUEST, 9)
        assert await far.app.event() == from_app(OpCode.BYE_REQUEST, far.number, 9)
        for message_id in range(1000, 1500):
            far.post(OpCode.SIGNAL, message_id, body=body)
        far.post(OpCode.BYE_RESPONSE, 9)
        assert await near.events_until_closed() == [
            *(
                from_app(OpCode.SIGNAL, near.number, message_id, body=body)
                for message_id in range(1000, 1500)
            ),
            from_app(OpCode.BYE_RESPONSE, near.number, 9),
            near.closed(AmpeStatus.SUCCESS),
        ]
        assert await far.events_until_closed() == [far.closed(AmpeStatus.SUCCESS)]


async def test_posts_behind_a_bye_request_come_back(address: ServerAddress, side: Side) -> None:
    """At once, while the channel is still open for what the peer sends."""
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.REQUEST, 8)
        near.post(OpCode.BYE_REQUEST, 9)
        near.app.post(
            OpCode.REQUEST, near.number, 10, headers=(("a", "b"),), body=b"late", more=True
        )
        near.post(OpCode.RESPONSE, 11)
        assert await far.app.events(2) == [
            from_app(OpCode.REQUEST, far.number, 8),
            from_app(OpCode.BYE_REQUEST, far.number, 9),
        ]
        status = AmpeStatus.CHANNEL_CLOSED
        assert await near.app.rest() == [
            from_engine(
                OpCode.REQUEST,
                status,
                near.number,
                10,
                headers=(("a", "b"),),
                body=b"late",
                more=True,
            ),
            from_engine(OpCode.RESPONSE, status, near.number, 11),
        ]
        opcodes = [OpCode.SIGNAL, OpCode.BYE_REQUEST, OpCode.BYE_RESPONSE]
        if side == "server":
            opcodes.append(OpCode.HELLO_RESPONSE)  # which a client may never post
        for opcode in opcodes:
            near.post(opcode, 12)
            assert await near.app.event() == from_engine(opcode, status, near.number, 12)
        assert await near.app.rest() == await far.app.rest() == []
        far.post(OpCode.BYE_RESPONSE, 9)
        assert await near.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, near.number, 9),
            near.closed(AmpeStatus.SUCCESS),
        ]
        assert await far.events_until_closed() == [far.closed(AmpeStatus.SUCCESS)]


async def test_posts_behind_a_bye_response_come_back(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.BYE_REQUEST, 9)
        assert await far.app.event() == from_app(OpCode.BYE_REQUEST, far.number, 9)
        far.post(OpCode.BYE_RESPONSE, 9)
        far.post(OpCode.SIGNAL, 10, body=b"late")
        far.post(OpCode.BYE_REQUEST, 11)
        status = AmpeStatus.CHANNEL_CLOSED
        assert await far.events_until_closed() == [
            from_engine(OpCode.SIGNAL, status, far.number, 10, body=b"late"),
            from_engine(OpCode.BYE_REQUEST, status, far.number, 11),
            far.closed(AmpeStatus.SUCCESS),
        ]
        assert await near.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, near.number, 9),
            near.closed(AmpeStatus.SUCCESS),
        ]


async def test_bye_response_that_nobody_asked_for(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.REQUEST, 8)
        near.post(OpCode.BYE_RESPONSE, 9)
        assert await far.events_until_closed() == [
            from_app(OpCode.REQUEST, far.number, 8),
            from_app(OpCode.BYE_RESPONSE, far.number, 9),
            far.closed(AmpeStatus.SUCCESS),
        ]
        assert await near.events_until_closed() == [near.closed(AmpeStatus.SUCCESS)]


# ---------------------------------------------------------------------- crossing


async def test_crossing_byes_both_answered(address: ServerAddress) -> None:
    """Both ask at once and both answer: neither need wait for the other's answer."""
    async with open_pair(address) as pair:
        client, server = pair.client, pair.server
        client.post(OpCode.BYE_REQUEST, 8)
        server.post(OpCode.BYE_REQUEST, 9)
        assert await client.app.event() == from_app(OpCode.BYE_REQUEST, client.number, 9)
        assert await server.app.event() == from_app(OpCode.BYE_REQUEST, server.number, 8)
        client.post(OpCode.BYE_RESPONSE, 9)
        server.post(OpCode.BYE_RESPONSE, 8)
        for end, message_id in ((client, 8), (server, 9)):
            *answers, last = await end.events_until_closed()
            assert answers in ([], [from_app(OpCode.BYE_RESPONSE, end.number, message_id)])
            assert last == end.closed(AmpeStatus.SUCCESS)
        assert await client.app.rest() == await server.app.rest() == []


async def test_crossing_byes_one_answered(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.BYE_REQUEST, 8)
        far.post(OpCode.BYE_REQUEST, 9)
        assert await near.app.event() == from_app(OpCode.BYE_REQUEST, near.number, 9)
        assert await far.app.event() == from_app(OpCode.BYE_REQUEST, far.number, 8)
        near.post(OpCode.BYE_RESPONSE, 9)
        assert await far.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, far.number, 9),
            far.closed(AmpeStatus.SUCCESS),
        ]
        assert await near.events_until_closed() == [near.closed(AmpeStatus.SUCCESS)]
        assert await near.app.rest() == await far.app.rest() == []


async def test_crossing_byes_with_messages_between(address: ServerAddress, side: Side) -> None:
    """What is sent behind the peer's ByeRequest arrives; behind one's own it comes back."""
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.BYE_REQUEST, 8)
        assert await far.app.event() == from_app(OpCode.BYE_REQUEST, far.number, 8)
        far.post(OpCode.SIGNAL, 9, body=b"still here")
        far.post(OpCode.BYE_REQUEST, 10)
        far.post(OpCode.SIGNAL, 11, body=b"too late")
        status = AmpeStatus.CHANNEL_CLOSED
        assert await far.app.event() == from_engine(
            OpCode.SIGNAL, status, far.number, 11, body=b"too late"
        )
        assert await near.app.events(2) == [
            from_app(OpCode.SIGNAL, near.number, 9, body=b"still here"),
            from_app(OpCode.BYE_REQUEST, near.number, 10),
        ]
        near.post(OpCode.BYE_RESPONSE, 10)
        near.post(OpCode.SIGNAL, 12, body=b"later still")
        assert await far.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, far.number, 10),
            far.closed(AmpeStatus.SUCCESS),
        ]
        assert await near.events_until_closed() == [
            from_engine(OpCode.SIGNAL, status, near.number, 12, body=b"later still"),
            near.closed(AmpeStatus.SUCCESS),
        ]


async def test_crossing_byes_with_a_peer_that_only_asks(address: ServerAddress, side: Side) -> None:
    """As Zig's: it waits for ever. We flush, close with a FIN, and are done."""
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.BYE_REQUEST, 8)
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 9))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 9)
        pair.end.post(OpCode.BYE_RESPONSE, 9)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
        assert await pair.peer.ending() == (b"", FIN)
        pair.peer.fin()
        assert await pair.end.events_until_closed() == [pair.end.closed(AmpeStatus.SUCCESS)]


# ---------------------------------------------------------------------- endings


async def test_the_initiator_closes_with_a_fin(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.BYE_REQUEST, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        await pair.peer.send(frame(OpCode.BYE_RESPONSE, 8, body=b"bye"))
        assert await pair.peer.ending() == (b"", FIN)
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, pair.end.number, 8, body=b"bye"),
            pair.end.closed(AmpeStatus.SUCCESS),
        ]


@pytest.mark.parametrize("reset", [False, True])
async def test_the_answerer_waits_for_the_initiator_to_close(
    address: ServerAddress, side: Side, reset: bool
) -> None:
    """Only then has its answer arrived; how the other closes makes no difference."""
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 8)
        pair.end.post(OpCode.BYE_RESPONSE, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
        assert await pair.app.rest() == []
        if reset:
            pair.peer.reset()
        else:
            pair.peer.close()
        assert await pair.end.events_until_closed() == [pair.end.closed(AmpeStatus.SUCCESS)]


async def test_an_initiator_that_never_closes(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=Options(close_timeout=0.05)) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 8)
        pair.end.post(OpCode.BYE_RESPONSE, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
        assert await pair.end.events_until_closed() == [pair.end.closed(AmpeStatus.CHANNEL_CLOSED)]
        assert await pair.peer.ending() == (b"", FIN)


async def test_an_initiator_that_goes_on_sending(address: ServerAddress, side: Side) -> None:
    """It may not, but what it sends is delivered until the time is up."""
    async with open_raw_pair(side, address, options=Options(close_timeout=0.05)) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 8) + frame(OpCode.SIGNAL, 9))
        assert await pair.app.events(2) == [
            from_app(OpCode.BYE_REQUEST, pair.end.number, 8),
            from_app(OpCode.SIGNAL, pair.end.number, 9),
        ]
        pair.end.post(OpCode.BYE_RESPONSE, 8)
        await pair.peer.send(frame(OpCode.SIGNAL, 10))
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.SIGNAL, pair.end.number, 10),
            pair.end.closed(AmpeStatus.CHANNEL_CLOSED),
        ]


async def test_nobody_answers_the_bye_request(address: ServerAddress, side: Side) -> None:
    """The initiator may lose patience; until it does the channel stays open."""
    options = Options(close_timeout=0.05, bye_timeout=60)
    async with open_raw_pair(side, address, options=options) as pair:
        pair.end.post(OpCode.BYE_REQUEST, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        assert await pair.app.chnls.wait_receive(timeout_ns=100_000_000) is None
        pair.end.post(OpCode.SIGNAL, 9)
        pair.end.post(OpCode.BYE_SIGNAL, 10)
        status = AmpeStatus.CHANNEL_CLOSED
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.SIGNAL, status, pair.end.number, 9),
            from_engine(OpCode.BYE_SIGNAL, status, pair.end.number, 10),
            pair.end.closed(status),
        ]
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_the_peer_aborts_instead_of_answering(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.post(OpCode.BYE_REQUEST, 8)
        assert await far.app.event() == from_app(OpCode.BYE_REQUEST, far.number, 8)
        far.post(OpCode.BYE_SIGNAL, 10)
        assert await near.events_until_closed() == [near.closed(abort_reason(address))]


async def test_the_peer_closes_instead_of_answering(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.BYE_REQUEST, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        pair.peer.close()
        assert await pair.end.events_until_closed() == [
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED)
        ]


async def test_bye_signal_on_the_wire(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.REQUEST, 7)
        assert (await pair.peer.receive_frame()).opcode is OpCode.REQUEST
        await pair.peer.send(
            frame(OpCode.REQUEST, 8)
            + frame(OpCode.BYE_SIGNAL, 9, text=b"a:b\r\n", body=b"so long")
            + frame(OpCode.REQUEST, 10)
        )
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 8),
            from_app(OpCode.BYE_SIGNAL, pair.end.number, 9, headers=(("a", "b"),), body=b"so long"),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        assert await pair.app.rest() == []


async def test_a_hundred_channels_one_after_the_other(address: ServerAddress) -> None:
    """Everything posted at once, without waiting for an answer; and nothing is left of any."""
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        for _ in range(100):
            end = client.connect(listener.client_address)
            end.post(OpCode.BYE_REQUEST, 9)
            accepted = await server.accept(listener.client_address, end.message_id)
            accepted.post(OpCode.HELLO_RESPONSE, end.message_id)
            accepted.post(OpCode.BYE_RESPONSE, 9)
            expected: list[Event] = [
                from_app(OpCode.HELLO_RESPONSE, end.number, end.message_id),
                from_app(OpCode.BYE_RESPONSE, end.number, 9),
                end.closed(AmpeStatus.SUCCESS),
            ]
            assert await end.events_until_closed() == expected
            assert await accepted.events_until_closed() == [
                from_app(OpCode.BYE_REQUEST, accepted.number, 9),
                accepted.closed(AmpeStatus.SUCCESS),
            ]
        assert await server.rest() == await client.rest() == []
        assert client.ampe.statistics().channels == 0
        assert server.ampe.statistics().channels == 1


@pytest.mark.parametrize("opcode", [OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL])
async def test_the_peer_ends_the_channel_while_much_is_unsent(
    address: ServerAddress, side: Side, opcode: OpCode
) -> None:
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(opcode, 9))
        agreed = opcode is OpCode.BYE_RESPONSE
        assert await pair.end.events_until_closed() == [
            from_app(opcode, pair.end.number, 9),
            *clogged.unsent(AmpeStatus.CHANNEL_CLOSED),
            pair.end.closed(AmpeStatus.SUCCESS if agreed else AmpeStatus.PEER_DISCONNECTED),
        ]
        assert await pair.peer.ending() == (
            clogged.stream()[: clogged.bytes_written],
            cut_ending(address),
        )


async def test_aborting_behind_a_bye_response(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 8)
        pair.end.post(OpCode.BYE_RESPONSE, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
        pair.end.post(OpCode.BYE_SIGNAL, 9)
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED, pair.end.number, 9),
            pair.end.closed(AmpeStatus.CHANNEL_CLOSED),
        ]
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_aborting_in_the_middle_of_crossing_byes(address: ServerAddress, side: Side) -> None:
    """Both byes and our answer are posted, what was to be flushed is given up."""
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_REQUEST, 8)
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 9))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 9)
        pair.end.post(OpCode.BYE_RESPONSE, 9)
        assert await pair.app.rest() == []
        pair.end.post(OpCode.BYE_SIGNAL, 10)
        status = AmpeStatus.CHANNEL_CLOSED
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, status, pair.end.number, 10),
            *clogged.unsent(status),
            from_engine(OpCode.BYE_REQUEST, status, pair.end.number, 8),
            from_engine(OpCode.BYE_RESPONSE, status, pair.end.number, 9),
            pair.end.closed(status),
        ]


async def test_crossing_byes_with_a_peer_that_does_not_read(
    address: ServerAddress, side: Side
) -> None:
    """What cannot be flushed in time comes back, and nobody says that this was agreed upon."""
    options = Options(close_timeout=0.05)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_REQUEST, 8)
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 9))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 9)
        pair.end.post(OpCode.BYE_RESPONSE, 9)
        status = AmpeStatus.CHANNEL_CLOSED
        assert await pair.end.events_until_closed() == [
            *clogged.unsent(status),
            from_engine(OpCode.BYE_REQUEST, status, pair.end.number, 8),
            from_engine(OpCode.BYE_RESPONSE, status, pair.end.number, 9),
            pair.end.closed(status),
        ]
