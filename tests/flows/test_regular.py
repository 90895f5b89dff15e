"""Regular messages between applications, and what becomes of their bytes (PROTOCOL 4 and 5)."""

import random
from typing import Final

import pytest
import trio
import trio.testing

from pytofu import AmpeStatus, Holder, Message, OpCode, TCPServerAddress
from tests.support import (
    End,
    Event,
    Headers,
    RawPeer,
    ServerAddress,
    Side,
    address_headers,
    connect_apps,
    frame,
    from_app,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
)

REGULAR: Final = (OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL)


@pytest.mark.parametrize("opcode", REGULAR)
@pytest.mark.parametrize("more", [False, True])
async def test_a_message_arrives_as_it_was_posted(
    address: ServerAddress, side: Side, opcode: OpCode, more: bool
) -> None:
    headers: Headers = (("name", "value"), ("name", " again "), ("größe", "9 µm"))
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        near.app.post(opcode, near.number, 5, headers=headers, body=b"\x00\xffbody", more=more)
        assert await far.app.event() == from_app(
            opcode,
            far.number,
            5,
            headers=(("name", "value"), ("name", "again"), ("größe", "9 µm")),
            body=b"\x00\xffbody",
            more=more,
        )
        assert await near.app.rest() == await far.app.rest() == []


async def test_status_and_origin_are_the_engines_to_set(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        message = Message()
        message.mark_from_engine(AmpeStatus.UNKNOWN_ERROR, OpCode.SIGNAL)
        message.channel_number = near.number
        message.message_id = 5
        near.app.chnls.post(Holder(message))
        assert await far.app.event() == from_app(OpCode.SIGNAL, far.number, 5)


@pytest.mark.parametrize(
    ("text_len", "body_len"), [(0, 0), (0, 1), (5, 0), (65535, 0), (0, 65535), (65535, 65535)]
)
async def test_lengths(address: ServerAddress, side: Side, text_len: int, body_len: int) -> None:
    body = random.Random(body_len).randbytes(body_len)
    headers = (("h", "v" * (text_len - len("h:\r\n"))),) if text_len else ()
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        header = near.app.post(OpCode.REQUEST, near.number, 5, headers=headers, body=body)
        assert (header.text_headers_len, header.body_len) == (text_len, body_len)
        near.post(OpCode.REQUEST, 6)
        assert await far.app.events(2) == [
            from_app(OpCode.REQUEST, far.number, 5, headers=headers, body=body),
            from_app(OpCode.REQUEST, far.number, 6),
        ]


async def test_order_is_kept_both_ways_at_once(address: ServerAddress) -> None:
    """Small and large ones mixed, far more than the sockets and the engine's blocks hold."""
    sizes = [random.Random(7).choice((0, 10, 1000, 65535)) for _ in range(300)]

    def expected(number: int) -> list[Event]:
        return [
            from_app(OpCode.SIGNAL, number, 1000 + i, body=i.to_bytes(2) * (size // 2))
            for i, size in enumerate(sizes)
        ]

    async def receive(end: End) -> None:
        assert await end.app.events(len(sizes)) == expected(end.number)

    async with open_pair(address) as pair, trio.open_nursery() as nursery:
        for end in (pair.client, pair.server):
            for event in expected(end.number):
                end.post(OpCode.SIGNAL, event.message_id, body=event.body)
        nursery.start_soon(receive, pair.client)
        nursery.start_soon(receive, pair.server)


async def test_channels_of_a_group_do_not_mix(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        ends = [await connect_apps(client, listener) for _ in range(5)]
        for message_id in range(100, 120):
            for client_end, server_end in ends:
                client_end.post(OpCode.REQUEST, message_id)
                server_end.post(OpCode.SIGNAL, message_id)
        at_server = await server.events(100)
        at_client = await client.events(100)
        for client_end, server_end in ends:
            assert [event for event in at_server if event.channel == server_end.number] == [
                from_app(OpCode.REQUEST, server_end.number, message_id)
                for message_id in range(100, 120)
            ]
            assert [event for event in at_client if event.channel == client_end.number] == [
                from_app(OpCode.SIGNAL, client_end.number, message_id)
                for message_id in range(100, 120)
            ]


async def test_what_is_posted_in_answer_arrives(address: ServerAddress) -> None:
    """Each answer is posted with nothing left to receive: the path that writes at once."""
    async with open_pair(address) as pair:
        client, server = pair.client, pair.server
        for message_id in range(1000, 1100):
            client.post(OpCode.REQUEST, message_id, body=b"ping")
            assert await server.app.event() == from_app(
                OpCode.REQUEST, server.number, message_id, body=b"ping"
            )
            server.post(OpCode.RESPONSE, message_id, body=b"pong")
            assert await client.app.event() == from_app(
                OpCode.RESPONSE, client.number, message_id, body=b"pong"
            )


async def test_send_arrives_like_post(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        holder = near.app.message(OpCode.REQUEST, near.number, 5, body=b"abc")
        header = await near.app.chnls.send(holder)
        assert holder.is_empty()
        assert header.message_id == 5
        assert await far.app.event() == from_app(OpCode.REQUEST, far.number, 5, body=b"abc")


# ---------------------------------------------------------------------- bytes


def conversation() -> tuple[bytes, list[tuple[OpCode, int, Headers, bytes, bool]]]:
    """Some frames as bytes, and what they say."""
    said: list[tuple[OpCode, int, Headers, bytes, bool]] = [
        (OpCode.REQUEST, 11, (), b"", False),
        (OpCode.SIGNAL, 12, (("a", "b"),), b"body", True),
        (OpCode.RESPONSE, 13, (), b"x", False),
    ]
    data = b"".join(
        frame(
            opcode,
            message_id,
            text=b"".join(f"{name}:{value}\r\n".encode() for name, value in headers),
            body=body,
            more=more,
        )
        for opcode, message_id, headers, body, more in said
    )
    return data, said


def seen(number: int) -> list[Event]:
    """The conversation as the application sees it."""
    return [
        from_app(opcode, number, message_id, headers=headers, body=body, more=more)
        for opcode, message_id, headers, body, more in conversation()[1]
    ]


async def test_one_byte_at_a_time(address: ServerAddress, side: Side) -> None:
    data, said = conversation()
    async with open_raw_pair(side, address) as pair:
        for byte in data:
            await pair.peer.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert await pair.app.events(len(said)) == seen(pair.end.number)
        assert await pair.app.rest() == []


async def test_cut_in_two_at_every_offset(address: ServerAddress, side: Side) -> None:
    data, said = conversation()
    async with open_raw_pair(side, address) as pair:
        for cut in range(1, len(data)):
            await pair.peer.send(data[:cut])
            await trio.testing.wait_all_tasks_blocked()
            await pair.peer.send(data[cut:])
            assert await pair.app.events(len(said)) == seen(pair.end.number)
        assert await pair.app.rest() == []


async def test_a_hello_one_byte_at_a_time(address: ServerAddress) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            data = hello(5, body=b"abc")
            for byte in data[:-1]:
                await peer.send(bytes([byte]))
                await trio.testing.wait_all_tasks_blocked()
            assert await app.rest() == []
            await peer.send(data[-1:])
            event = await app.event()
            assert (event.opcode, event.message_id, event.body) == (
                OpCode.HELLO_REQUEST,
                5,
                b"abc",
            )


async def test_all_at_once(address: ServerAddress) -> None:
    """A whole conversation in one write, from hello to bye."""
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5) + conversation()[0] + frame(OpCode.BYE_RESPONSE, 6))
            first = await app.event()
            assert first.opcode is OpCode.HELLO_REQUEST
            events = await app.events_until_closed(first.channel)
            assert events[:-2] == seen(first.channel)
            assert events[-2] == from_app(OpCode.BYE_RESPONSE, first.channel, 6)


async def test_what_is_tolerated_is_put_right(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        number = pair.end.number
        for status in (1, 22, 31, 32, 255):
            await pair.peer.send(frame(OpCode.REQUEST, 5, status=status))
        for internal in (1, 2, 3):
            await pair.peer.send(frame(OpCode.REQUEST, 5, internal=internal))
        for channel in (0, number ^ 1, 65535):
            await pair.peer.send(frame(OpCode.REQUEST, 5, channel=channel))
        assert await pair.app.events(11) == [from_app(OpCode.REQUEST, number, 5)] * 11
        for opcode in REGULAR:
            await pair.peer.send(frame(opcode, 0))
        await pair.peer.send(frame(OpCode.SIGNAL, 2**64 - 1))
        assert await pair.app.events(4) == [
            *(from_app(opcode, number, 0) for opcode in REGULAR),
            from_app(OpCode.SIGNAL, number, 2**64 - 1),
        ]
        assert await pair.app.rest() == []


async def test_text_headers_that_are_no_text(address: ServerAddress, side: Side) -> None:
    text = b"\xff\xfe:\x00\x80\r\n~reason:SUCCESS\r\nno colon"
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(OpCode.REQUEST, 5, text=text))
        message = await pair.app.receive()
        assert message.text_headers.to_bytes() == b"\xff\xfe:\x00\x80\r\nno colon"
        assert message.text_headers.get("\N{REPLACEMENT CHARACTER}" * 2) is not None
        assert message.is_from_application()


async def test_local_headers_do_not_travel(address: ServerAddress, side: Side) -> None:
    """Nothing that looks like the end of a channel goes out, and nothing comes in."""
    reason, detail, ours = (("~reason", "SUCCESS"), ("~detail", "x"), ("~reasons", "3"))
    async with open_raw_pair(side, address) as pair:
        number = pair.end.number
        headers = (("a", "b"), reason, ours, detail)
        pair.app.post(OpCode.REQUEST, number, 5, headers=headers, body=b"body")
        assert (await pair.peer.receive_frame()).text == b"a:b\r\n~reasons:3\r\n"
        text = b"a:b\r\n~reason:SUCCESS\r\n~reasons:3\r\n~detail:x\r\n"
        await pair.peer.send(frame(OpCode.REQUEST, 6, text=text, body=b"body"))
        event = await pair.app.event()
        assert event == from_app(
            OpCode.REQUEST, number, 6, headers=(("a", "b"), ours), body=b"body"
        )
        assert event.detail is None


async def test_the_bytes_of_what_is_posted(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        number = pair.end.number
        pair.app.post(OpCode.SIGNAL, number, 12, headers=(("a", "b"),), body=b"body", more=True)
        pair.end.post(OpCode.RESPONSE, 13)
        expected = frame(
            OpCode.SIGNAL, 12, channel=number, text=b"a:b\r\n", body=b"body", more=1
        ) + frame(OpCode.RESPONSE, 13, channel=number)
        assert await pair.peer.receive_bytes(len(expected)) == expected


async def test_statistics_count_what_went_over(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        before = pair.app.chnls.statistics()
        sent, received = frame(0, body=b"abc"), frame(0, body=b"12345")
        for _ in range(3):
            pair.end.post(OpCode.REQUEST, 5, body=b"abc")
        await pair.peer.receive_bytes(3 * len(sent))
        await pair.peer.send(2 * received)
        await pair.app.events(2)
        after = pair.app.chnls.statistics()
        assert after.messages_sent - before.messages_sent == 3
        assert after.bytes_sent - before.bytes_sent == 3 * len(sent)
        assert after.messages_received - before.messages_received == 2
        assert after.bytes_received - before.bytes_received == 2 * len(received)
        assert after.messages_waiting == 0
        whole = pair.app.ampe.statistics()
        assert whole.messages_sent == after.messages_sent
        assert whole.bytes_received == after.bytes_received
        assert whole.channels == after.channels == (2 if side == "server" else 1)


async def test_the_address_header_travels(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        headers = address_headers(TCPServerAddress("127.0.0.1", 1))
        pair.client.app.post(OpCode.REQUEST, pair.client.number, 5, headers=headers)
        assert await pair.server.app.event() == from_app(
            OpCode.REQUEST, pair.server.number, 5, headers=headers
        )
