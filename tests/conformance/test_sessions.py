"""What two Zig programs said to each other, replayed against pytofu, byte for byte.

Each session was captured between a Zig client and a Zig server over TCP. Here pytofu takes the
place of one of them, and a bare socket says what the other one said. Only the channel numbers,
the first two bytes of each frame, may differ: they are random and belong to each sender.

As the server pytofu gets the captured bytes as they are. As the client it has to be told where
the bare socket really listens, so that the line with the address, which both sides' Hello carry,
is another one than in the capture, and with it that frame's length.
"""

import re
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio

from pytofu import AmpeStatus, OpCode
from tests.conformance.loading import load
from tests.support import (
    FIN,
    PATIENCE,
    App,
    End,
    Event,
    Headers,
    RawListener,
    RawPeer,
    ServerAddress,
    abort_ending,
    abort_reason,
    address_headers,
    closed,
    from_app,
    from_engine,
    open_app,
)

ADDRESS_LINE: Final = re.compile(rb"~connect_to:tcp\|127\.0\.0\.1\|\d+\r\n")


# ---------------------------------------------------------------------- captures


def frames_of(data: bytes) -> list[bytes]:
    """The bytes cut into frames, without pytofu."""
    frames = []
    while data:
        text_len, body_len = struct.unpack_from(">HH", data, 12)
        length = 16 + text_len + body_len
        assert len(data) >= length
        frames.append(data[:length])
        data = data[length:]
    return frames


def without_channel(data: bytes) -> list[bytes]:
    """The frames less their channel numbers; these must all be one number, and a real one."""
    frames = frames_of(data)
    numbers = {int.from_bytes(frame[:2]) for frame in frames}
    assert len(numbers) <= 1
    assert numbers.isdisjoint({0, 65535})
    return [frame[2:] for frame in frames]


def with_address(data: bytes, line: bytes) -> bytes:
    """The same frames with another address line where there is one."""
    changed = b""
    for frame in frames_of(data):
        text_len, _ = struct.unpack_from(">HH", frame, 12)
        text, count = ADDRESS_LINE.subn(lambda _: line, frame[16 : 16 + text_len])
        assert count <= 1
        changed += frame[:12] + struct.pack(">H", len(text)) + frame[14:16] + text
        changed += frame[16 + text_len :]
    return changed


def headers_of(text: bytes) -> Headers:
    lines = (line.split(":", 1) for line in text.decode().split("\r\n") if line)
    return tuple((name, value) for name, value in lines)


def event_of(frame: bytes, channel: int) -> Event:
    """What an application on this channel sees of a captured frame."""
    proto, message_id, text_len = frame[2], int.from_bytes(frame[4:12]), frame[12] << 8 | frame[13]
    return from_app(
        OpCode(proto & 15),
        channel,
        message_id,
        headers=headers_of(frame[16 : 16 + text_len]),
        body=frame[16 + text_len :],
        more=bool(proto & 32),
    )


@attrs.frozen
class Session:
    """One captured session."""

    client: bytes
    server: bytes

    @classmethod
    def captured(cls, name: str) -> "Session":
        data = load(name)
        assert f"session_{data['name']}" == name
        return cls(
            bytes.fromhex(data["client_to_server_hex"]), bytes.fromhex(data["server_to_client_hex"])
        )

    def at(self, listener: RawListener) -> "Session":
        """The session as it would have been with the server listening there."""
        ((name, value),) = address_headers(listener.client_address)
        line = f"{name}:{value}\r\n".encode()
        return Session(with_address(self.client, line), with_address(self.server, line))


ECHO5: Final = Session.captured("session_echo5_bye_request")
PLAIN_BYE_SIGNAL: Final = Session.captured("session_bye_signal_plain_opcode")
REJECT_BYE_RESPONSE: Final = Session.captured("session_reject_bye_response")
REJECT_BYE_SIGNAL: Final = Session.captured("session_reject_bye_signal")


@pytest.mark.parametrize(
    "session", [ECHO5, PLAIN_BYE_SIGNAL, REJECT_BYE_RESPONSE, REJECT_BYE_SIGNAL]
)
def test_the_tools_of_this_module_change_nothing_of_themselves(session: Session) -> None:
    for data in (session.client, session.server):
        assert b"".join(frames_of(data)) == data
        found = ADDRESS_LINE.search(data)
        assert found is None or with_address(data, found[0]) == data


# ---------------------------------------------------------------------- pytofu as the server

type Answer = Callable[[OpCode], OpCode | None]
"""What the server's application does to a message's opcode before it posts it back."""


def echo(opcode: OpCode) -> OpCode | None:
    return opcode.echo().unwrap_or(OpCode.BYE_SIGNAL) if opcode is not OpCode.BYE_SIGNAL else None


def reject_by_bye_response(opcode: OpCode) -> OpCode | None:
    return OpCode.BYE_RESPONSE


def reject_by_bye_signal(opcode: OpCode) -> OpCode | None:
    return OpCode.BYE_SIGNAL


async def serve(app: App, answer: Answer) -> list[Event]:
    """Answer every message of a peer until its channel closes; what was received."""
    events: list[Event] = []
    async for holder in app.chnls:
        message = holder.value
        assert message is not None
        events.append(Event.of(message))
        if message.is_from_engine():
            if message.status is AmpeStatus.CHANNEL_CLOSED and message.opcode is OpCode.SIGNAL:
                return events
            continue
        opcode = answer(message.opcode)
        if opcode is not None:
            message.opcode = opcode
            app.chnls.post(holder)
    raise AssertionError("the engine was shut down")


def whole(data: bytes) -> list[bytes]:
    return [data]


def in_frames(data: bytes) -> list[bytes]:
    return frames_of(data)


def in_pieces(data: bytes) -> list[bytes]:
    length = 7 if len(data) < 1000 else 997
    return [data[start : start + length] for start in range(0, len(data), length)]


every_split = pytest.mark.parametrize("split", [whole, in_frames, in_pieces])

type Split = Callable[[bytes], list[bytes]]


async def replay_client(
    app: App, address: ServerAddress, session: Session, split: Split, answer: Answer
) -> tuple[list[Event], bytes, str]:
    """Say to pytofu what the Zig client said.

    What the application received, what pytofu sent, and how it ended the connection. As the Zig
    client did, the socket keeps a ByeSignal back until it has got everything that the Zig server
    had sent. After an answer that calls for it, it closes its own direction.
    """
    listener = await app.listen(address)
    frames = frames_of(session.client)
    farewell = frames.pop() if frames[-1][2] & 15 == OpCode.BYE_SIGNAL else b""
    events: list[Event] = []
    with await RawPeer.connect(listener.client_address) as peer:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:

                async def serving() -> None:
                    events.extend(await serve(app, answer))

                async def saying() -> None:
                    for piece in split(b"".join(frames)):
                        await peer.send(piece)

                nursery.start_soon(serving)
                nursery.start_soon(saying)
                sent = await peer.receive_bytes(len(session.server))
                for piece in split(farewell):
                    await peer.send(piece)
                if sent and not farewell:
                    peer.fin()
        more, ending = await peer.ending()
    return events, sent + more, ending


class TestAsServer:
    @every_split
    async def test_echo(self, address: ServerAddress, split: Split) -> None:
        async with open_app() as app:
            events, sent, ending = await replay_client(app, address, ECHO5, split, echo)
        number = events[0].channel
        assert number != 0
        assert events == [
            *(event_of(frame, number) for frame in frames_of(ECHO5.client)),
            closed(number, 1000, AmpeStatus.SUCCESS),
        ]
        assert without_channel(sent) == without_channel(ECHO5.server)
        assert {frame[:2] for frame in frames_of(sent)} == {number.to_bytes(2)}
        assert ending == FIN

    @every_split
    async def test_plain_bye_signal(self, address: ServerAddress, split: Split) -> None:
        # In the capture no side closes by itself; pytofu does on a ByeSignal from the wire.
        async with open_app() as app:
            session = PLAIN_BYE_SIGNAL
            events, sent, ending = await replay_client(app, address, session, split, echo)
        number = events[0].channel
        assert events == [
            *(event_of(frame, number) for frame in frames_of(session.client)),
            closed(number, 1000, AmpeStatus.PEER_DISCONNECTED),
        ]
        assert without_channel(sent) == without_channel(session.server)
        assert ending == FIN

    @every_split
    async def test_reject_by_bye_response(self, address: ServerAddress, split: Split) -> None:
        async with open_app() as app:
            session = REJECT_BYE_RESPONSE
            events, sent, ending = await replay_client(
                app, address, session, split, reject_by_bye_response
            )
        number = events[0].channel
        assert events == [
            *(event_of(frame, number) for frame in frames_of(session.client)),
            closed(number, 1000, AmpeStatus.SUCCESS),
        ]
        assert without_channel(sent) == without_channel(session.server)
        assert ending == FIN

    @every_split
    async def test_reject_by_bye_signal(self, address: ServerAddress, split: Split) -> None:
        async with open_app() as app:
            session = REJECT_BYE_SIGNAL
            events, sent, ending = await replay_client(
                app, address, session, split, reject_by_bye_signal
            )
        number = events[0].channel
        (hello,) = frames_of(session.client)
        returned = event_of(hello, number)
        assert events == [
            returned,
            from_engine(
                OpCode.BYE_SIGNAL,
                AmpeStatus.CHANNEL_CLOSED,
                number,
                1000,
                headers=returned.headers,
            ),
            closed(number, 1000, AmpeStatus.CHANNEL_CLOSED),
        ]
        assert sent == session.server == b""
        assert ending == abort_ending(address)


# ---------------------------------------------------------------------- pytofu as the client


@attrs.frozen
class Client:
    """pytofu on its way to a bare socket that listens."""

    app: App
    listener: RawListener
    session: Session
    """Of the capture, with the address line of this listener."""

    def post(self, frame: bytes, channel: int) -> End:
        """Post a captured message as the Zig client's application did."""
        event = event_of(frame, channel)
        header = self.app.post(
            event.opcode, channel, event.message_id, headers=event.headers, body=event.body
        )
        return End(self.app, header.channel_number, header.message_id)

    def connect(self) -> End:
        """Post the captured HelloRequest."""
        return self.post(frames_of(self.session.client)[0], 0)


@asynccontextmanager
async def open_client(address: ServerAddress, session: Session) -> AsyncIterator[Client]:
    with RawListener(address) as listener:
        async with open_app() as app:
            yield Client(app, listener, session.at(listener))


class TestAsClient:
    async def test_echo_one_by_one(self, address: ServerAddress) -> None:
        async with open_client(address, ECHO5) as client:
            end = client.connect()
            with await client.listener.accept() as peer:
                said = b""
                exchange = zip(
                    frames_of(client.session.client), frames_of(client.session.server), strict=True
                )
                for count, (frame, answer) in enumerate(exchange):
                    if count:
                        client.post(frame, end.number)
                    said += await peer.receive_bytes(len(frame))
                    await peer.send(answer)
                    assert await client.app.event() == event_of(answer, end.number)
                assert await end.events_until_closed() == [end.closed(AmpeStatus.SUCCESS)]
                assert without_channel(said) == without_channel(client.session.client)
                assert await peer.ending() == (b"", FIN)

    @every_split
    async def test_echo_all_posted_before_the_connection_is_made(
        self, address: ServerAddress, split: Split
    ) -> None:
        async with open_client(address, ECHO5) as client:
            end = client.connect()
            for frame in frames_of(client.session.client)[1:]:
                client.post(frame, end.number)
            with await client.listener.accept() as peer:
                said = await peer.receive_bytes(len(client.session.client))
                for piece in split(client.session.server):
                    await peer.send(piece)
                assert await end.events_until_closed() == [
                    *(event_of(frame, end.number) for frame in frames_of(client.session.server)),
                    end.closed(AmpeStatus.SUCCESS),
                ]
                assert without_channel(said) == without_channel(client.session.client)
                assert await peer.ending() == (b"", FIN)

    async def test_plain_bye_signal(self, address: ServerAddress) -> None:
        # In the capture the ByeSignal went over the wire and closed nothing. With pytofu it is
        # an abort, whether its internal bit is set or not, and its message comes back.
        async with open_client(address, PLAIN_BYE_SIGNAL) as client:
            hello, bye_signal = frames_of(client.session.client)
            (answer,) = frames_of(client.session.server)
            end = client.connect()
            with await client.listener.accept() as peer:
                said = await peer.receive_bytes(len(hello))
                await peer.send(answer)
                assert await client.app.event() == event_of(answer, end.number)
                client.post(bye_signal, end.number)
                assert await end.events_until_closed() == [
                    from_engine(OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED, end.number, 1006),
                    end.closed(AmpeStatus.CHANNEL_CLOSED),
                ]
                assert without_channel(said) == without_channel(hello)
                assert await peer.ending() == (b"", abort_ending(address))

    @every_split
    async def test_reject_by_bye_response(self, address: ServerAddress, split: Split) -> None:
        async with open_client(address, REJECT_BYE_RESPONSE) as client:
            end = client.connect()
            with await client.listener.accept() as peer:
                said = await peer.receive_bytes(len(client.session.client))
                for piece in split(client.session.server):
                    await peer.send(piece)
                assert await end.events_until_closed() == [
                    event_of(client.session.server, end.number),
                    end.closed(AmpeStatus.SUCCESS),
                ]
                assert without_channel(said) == without_channel(client.session.client)
                assert await peer.ending() == (b"", FIN)

    async def test_reject_by_bye_signal(self, address: ServerAddress) -> None:
        async with open_client(address, REJECT_BYE_SIGNAL) as client:
            end = client.connect()
            with await client.listener.accept() as peer:
                said = await peer.receive_bytes(len(client.session.client))
                peer.reset()
                assert await end.events_until_closed() == [end.closed(abort_reason(address))]
                assert without_channel(said) == without_channel(client.session.client)
