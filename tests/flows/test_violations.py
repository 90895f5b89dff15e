"""What a peer may not do, and what it costs: its own channel and nothing else (PROTOCOL 5)."""

import random
from typing import Final

import attrs
import pytest

from pytofu import AmpeStatus, OpCode
from tests.support import (
    HELLO_HEADERS,
    App,
    Event,
    ListenerEnd,
    RawListener,
    RawPeer,
    ServerAddress,
    Side,
    abort_ending,
    clog,
    closed,
    connect_apps,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_raw_pair,
)

BEFORE: Final = frame(OpCode.REQUEST, 8, body=b"before")
BEHIND: Final = frame(OpCode.REQUEST, 9, body=b"behind")


@attrs.frozen
class Offence:
    """Bytes that no peer may send once both have said hello."""

    data: bytes
    reason: AmpeStatus


REGULAR: Final = (OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL)
NOT_REGULAR: Final = (
    OpCode.HELLO_RESPONSE,
    OpCode.BYE_REQUEST,
    OpCode.BYE_RESPONSE,
    OpCode.BYE_SIGNAL,
)

OFFENCES: Final = {
    **{
        f"opcode {opcode}": Offence(frame(opcode, 5, body=b"x"), AmpeStatus.INVALID_OP_CODE)
        for opcode in range(OpCode.WELCOME_REQUEST, 16)
    },
    **{
        f"{opcode.name} from an engine": Offence(
            frame(opcode, 5, origin=1), AmpeStatus.INVALID_MESSAGE
        )
        for opcode in (*REGULAR, OpCode.HELLO_REQUEST, *NOT_REGULAR)
    },
    "forged channel_closed": Offence(
        frame(OpCode.SIGNAL, 77, status=22, origin=1, text=b"~reason:SUCCESS\r\n"),
        AmpeStatus.INVALID_MESSAGE,
    ),
    "forged pool_empty": Offence(
        frame(OpCode.SIGNAL, 0, status=19, origin=1), AmpeStatus.INVALID_MESSAGE
    ),
    **{
        f"{opcode.name} with more": Offence(frame(opcode, 5, more=1), AmpeStatus.INVALID_MORE_USAGE)
        for opcode in (OpCode.HELLO_REQUEST, *NOT_REGULAR)
    },
    "second HelloRequest": Offence(hello(5), AmpeStatus.NOT_ALLOWED),
}

HEAD_ONLY: Final = {
    "opcode 10, body announced": Offence(
        frame(10, 5, body=bytes(65535))[:16], AmpeStatus.INVALID_OP_CODE
    ),
    "from an engine, body announced": Offence(
        frame(OpCode.SIGNAL, 5, origin=1, body=bytes(65535))[:16], AmpeStatus.INVALID_MESSAGE
    ),
}


@pytest.mark.parametrize("name", [*OFFENCES, *HEAD_ONLY])
async def test_an_offence_closes_the_channel(address: ServerAddress, side: Side, name: str) -> None:
    """What came before is delivered, nothing of the offence, nothing behind it."""
    offence = {**OFFENCES, **HEAD_ONLY}[name]
    behind = b"" if name in HEAD_ONLY else BEHIND
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(BEFORE + offence.data + behind)
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 8, body=b"before"),
            pair.end.closed(offence.reason),
        ]
        assert await pair.app.rest() == []
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_hello_response_on_an_accepted_channel(address: ServerAddress) -> None:
    async with open_raw_pair("server", address) as pair:
        await pair.peer.send(BEFORE + frame(OpCode.HELLO_RESPONSE, 5) + BEHIND)
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 8, body=b"before"),
            pair.end.closed(AmpeStatus.NOT_ALLOWED),
        ]


async def test_hello_response_behind_a_bye_request(address: ServerAddress) -> None:
    async with open_raw_pair("server", address) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 5) + frame(OpCode.HELLO_RESPONSE, 6))
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.BYE_REQUEST, pair.end.number, 5),
            pair.end.closed(AmpeStatus.NOT_ALLOWED),
        ]


# ---------------------------------------------------------------------- every proto byte


def expected(proto: int, side: Side, number: int, message_id: int) -> list[Event]:
    """All that the application sees of a frame with this byte, up to what proves that it goes on.

    That is, `BEHIND`, or the end of the channel. Written from PROTOCOL 5 alone.
    """
    opcode, origin, more = proto & 15, proto >> 4 & 1, proto >> 5 & 1
    if opcode > OpCode.BYE_SIGNAL:
        return [closed(number, message_id, AmpeStatus.INVALID_OP_CODE)]
    if origin:
        return [closed(number, message_id, AmpeStatus.INVALID_MESSAGE)]
    if more and opcode > OpCode.SIGNAL:
        return [closed(number, message_id, AmpeStatus.INVALID_MORE_USAGE)]
    if opcode == OpCode.HELLO_REQUEST or (opcode == OpCode.HELLO_RESPONSE and side == "server"):
        return [closed(number, message_id, AmpeStatus.NOT_ALLOWED)]
    delivered = from_app(OpCode(opcode), number, 5, body=b"x", more=bool(more))
    if opcode == OpCode.BYE_RESPONSE:
        return [delivered, closed(number, message_id, AmpeStatus.SUCCESS)]
    if opcode == OpCode.BYE_SIGNAL:
        return [delivered, closed(number, message_id, AmpeStatus.PEER_DISCONNECTED)]
    return [delivered, from_app(OpCode.REQUEST, number, 9, body=b"behind")]


@pytest.mark.parametrize("internal", range(4))
async def test_every_proto_byte_to_a_server(address: ServerAddress, internal: int) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        for low in range(64):
            proto = internal << 6 | low
            with await RawPeer.connect(listener.client_address) as peer:
                data = bytearray(frame(0, 5, body=b"x"))
                data[2] = proto
                await peer.send(hello(4) + data + BEHIND)
                number = (await app.event()).channel
                events = expected(proto, "server", number, 4)
                assert await app.events(len(events)) == events
                if events[-1].reason is None:
                    peer.close()
                    await app.events_until_closed(number)
        assert await app.rest() == []


@pytest.mark.parametrize("internal", range(4))
async def test_every_proto_byte_to_a_client(address: ServerAddress, internal: int) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            for low in range(64):
                proto = internal << 6 | low
                end = app.connect(listener.client_address)
                with await listener.accept() as peer:
                    await peer.receive_frame()
                    data = bytearray(frame(0, 5, body=b"x"))
                    data[2] = proto
                    await peer.send(frame(OpCode.HELLO_RESPONSE, end.message_id) + data + BEHIND)
                    await app.event()
                    events = expected(proto, "client", end.number, end.message_id)
                    assert await app.events(len(events)) == events
                if events[-1].reason is None:
                    await end.events_until_closed()
            assert await app.rest() == []


# ---------------------------------------------------------------------- first messages


@pytest.mark.parametrize(
    "opcode", [opcode for opcode in OpCode if opcode is not OpCode.HELLO_REQUEST]
)
async def test_the_first_message_to_a_server_is_a_hello_request(
    address: ServerAddress, opcode: OpCode
) -> None:
    reason = AmpeStatus.NOT_ALLOWED
    if opcode in (OpCode.WELCOME_REQUEST, OpCode.WELCOME_RESPONSE):
        reason = AmpeStatus.INVALID_OP_CODE
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(frame(opcode, 5) + hello(6))
            event = await app.event()
            assert event == closed(event.channel, 0, reason)
            data, _ = await peer.ending()
            assert data == b""
        assert await app.rest() == []


@pytest.mark.parametrize("opcode", OpCode)
async def test_the_first_message_to_a_client_answers_its_hello(
    address: ServerAddress, opcode: OpCode
) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address, 4)
            with await listener.accept() as peer:
                await peer.receive_frame()
                await peer.send(frame(opcode, 5) + BEHIND)
                delivered = from_app(opcode, end.number, 5)
                match opcode:
                    case OpCode.HELLO_RESPONSE:
                        behind = from_app(OpCode.REQUEST, end.number, 9, body=b"behind")
                        assert await app.events(2) == [delivered, behind]
                        return
                    case OpCode.BYE_RESPONSE:
                        events = [delivered, end.closed(AmpeStatus.SUCCESS)]
                    case OpCode.BYE_SIGNAL:
                        events = [delivered, end.closed(AmpeStatus.PEER_DISCONNECTED)]
                    case OpCode.WELCOME_REQUEST | OpCode.WELCOME_RESPONSE:
                        events = [end.closed(AmpeStatus.INVALID_OP_CODE)]
                    case _:
                        events = [end.closed(AmpeStatus.NOT_ALLOWED)]
                assert await end.events_until_closed() == events
                assert await app.rest() == []


async def test_a_violation_before_the_hello_is_answered_returns_what_was_posted(
    address: ServerAddress,
) -> None:
    """Nothing comes back of what was sent."""
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address, 4)
            end.post(OpCode.REQUEST, 5)
            with await listener.accept() as peer:
                await peer.receive_frame()
                await peer.receive_frame()
                end.post(OpCode.BYE_REQUEST, 6)
                await peer.receive_frame()
                end.post(OpCode.SIGNAL, 7, body=b"held back")
                await peer.send(BEFORE)
                assert await end.events_until_closed() == [
                    from_engine(
                        OpCode.SIGNAL,
                        AmpeStatus.CHANNEL_CLOSED,
                        end.number,
                        7,
                        body=b"held back",
                    ),
                    end.closed(AmpeStatus.NOT_ALLOWED),
                ]


# ---------------------------------------------------------------------- garbage

GARBAGE: Final = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", AmpeStatus.INVALID_MESSAGE),
    "tls": (bytes.fromhex("16030100c8010000c40303") + bytes(99), AmpeStatus.NOT_ALLOWED),
    "ssh": (b"SSH-2.0-OpenSSH_9.9\r\n", AmpeStatus.INVALID_OP_CODE),
    "zeros": (bytes(64), AmpeStatus.NOT_ALLOWED),
    "ones": (b"\xff" * 64, AmpeStatus.INVALID_OP_CODE),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_to_a_server(address: ServerAddress, name: str) -> None:
    data, reason = GARBAGE[name]
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(data)
            event = await app.event()
            assert event == closed(event.channel, 0, reason)


async def test_random_bytes_never_harm_the_engine(address: ServerAddress) -> None:
    """Some of them are whole frames by chance; every channel closes with a reason all the same."""
    rng = random.Random(20)
    async with open_app() as app:
        listener = await app.listen(address)
        for _ in range(100):
            with await RawPeer.connect(listener.client_address) as peer:
                await peer.send(rng.randbytes(rng.randrange(1, 300)))
            *_, last = await _until_any_closes(app)
            assert last.reason is not None
            assert last.reason is not AmpeStatus.PROCESSING_FAILED
        await _still_works(app, listener)


async def test_random_bytes_behind_the_hello(address: ServerAddress) -> None:
    rng = random.Random(21)
    async with open_app() as app:
        listener = await app.listen(address)
        for _ in range(100):
            with await RawPeer.connect(listener.client_address) as peer:
                await peer.send(hello(5) + rng.randbytes(rng.randrange(1, 300)))
            first, *_, last = await _until_any_closes(app)
            assert first == from_app(OpCode.HELLO_REQUEST, first.channel, 5, headers=HELLO_HEADERS)
            assert last.reason is not None
            assert last.reason is not AmpeStatus.PROCESSING_FAILED
        await _still_works(app, listener)


async def _until_any_closes(app: App) -> list[Event]:
    events = [await app.event()]
    while events[-1].reason is None:
        events.append(await app.event())
    return events


async def _still_works(app: App, listener: ListenerEnd) -> None:
    client, server = await connect_apps(app, listener)
    client.post(OpCode.REQUEST, 6)
    assert await app.event() == from_app(OpCode.REQUEST, server.number, 6)


# ---------------------------------------------------------------------- who else is affected


async def test_other_channels_know_nothing_of_it(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        good_client, good_server = await connect_apps(client, listener)
        for offence in OFFENCES.values():
            with await RawPeer.connect(listener.client_address) as peer:
                await peer.send(hello(5) + offence.data)
                first = await server.event()
                assert first.opcode is OpCode.HELLO_REQUEST
                assert await server.event() == closed(first.channel, 5, offence.reason)
            good_client.post(OpCode.REQUEST, 6)
            assert await server.event() == from_app(OpCode.REQUEST, good_server.number, 6)
            good_server.post(OpCode.RESPONSE, 6)
            assert await client.event() == from_app(OpCode.RESPONSE, good_client.number, 6)
        await connect_apps(client, listener)
        assert await server.rest() == await client.rest() == []


async def test_unsent_messages_come_back(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(15))
        assert await pair.end.events_until_closed() == [
            *clogged.unsent(AmpeStatus.CHANNEL_CLOSED),
            pair.end.closed(AmpeStatus.INVALID_OP_CODE),
        ]


async def test_an_offender_that_goes_on_sending(address: ServerAddress, side: Side) -> None:
    """Nothing of it is read any more."""
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(15) + BEHIND * 1000)
        assert await pair.end.events_until_closed() == [pair.end.closed(AmpeStatus.INVALID_OP_CODE)]
        assert await pair.app.rest() == []
