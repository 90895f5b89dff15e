"""Payloads larger than a message: streamed up, down, and both ways at once.

A stream is many messages with the same message_id; all but the last have the `more` flag. Whoever
streams uses `send`, which waits while the peer does not keep up, where `post` would queue it all;
and does so in a task of its own, so that receiving goes on meanwhile.
"""

import hashlib
import random
from collections.abc import Iterable

import trio
from common import compose, connect, expect, listen, respond, say_bye, send

from pytofu import (
    Ampe,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    TCPServerAddress,
    open_ampe,
)

PART_LEN = 60_000  # bytes; up to 65,535
DATA = random.Random(1).randbytes(5_000_000)
DIGEST = hashlib.sha256(DATA).digest()


def stream(
    ampe: Ampe, opcode: OpCode, channel: int, message_id: int, direction: str
) -> Iterable[Holder[Message]]:
    """DATA in messages, each made when it is its turn."""
    for start in range(0, len(DATA), PART_LEN):
        part = DATA[start : start + PART_LEN]
        holder = compose(ampe, opcode, channel, part, message_id=message_id, direction=direction)
        holder.unwrap().more = start + PART_LEN < len(DATA)
        yield holder


async def send_all(ampe: Ampe, chnls: ChannelGroup, messages: Iterable[Holder[Message]]) -> None:
    """Send messages as fast as the peer takes them."""
    try:
        for holder in messages:
            await send(ampe, chnls, holder)
    except ChannelClosedException:
        print("the peer has gone")


async def serve(ampe: Ampe, chnls: ChannelGroup) -> None:
    """Take streams, give streams, and send each part of a stream back, until destroyed."""
    digests: dict[tuple[int, int], hashlib._Hash] = {}  # of the streams that are coming up
    async with trio.open_nursery() as nursery:
        async for holder in chnls:
            message = holder.unwrap()
            key = message.channel_number, message.message_id
            match message.opcode, message.text_headers.get("direction"):
                case OpCode.REQUEST, "up":
                    digest = digests.setdefault(key, hashlib.sha256())
                    digest.update(message.payload)
                    if not message.has_more():
                        respond(chnls, holder, digests.pop(key).digest())
                case OpCode.REQUEST, "down":
                    messages = stream(ampe, OpCode.RESPONSE, *key, "down")
                    nursery.start_soon(send_all, ampe, chnls, messages)
                case OpCode.REQUEST | OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST, _:
                    respond(chnls, holder)
                case _:
                    pass  # a client has gone


class Client:
    """Three ways to use a channel."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._channel = channel

    async def up(self) -> None:
        await send_all(self._ampe, self._chnls, self._stream(message_id=1, direction="up"))
        response = await expect(self._ampe, self._chnls, OpCode.RESPONSE)
        assert (response.message_id, response.payload) == (1, DIGEST)

    async def down(self) -> None:
        holder = compose(self._ampe, OpCode.REQUEST, self._channel, direction="down")
        header = self._chnls.post(holder)
        await self._receive_data(header.message_id)

    async def both_ways(self) -> None:
        async with trio.open_nursery() as nursery:
            messages = self._stream(2, "both ways")
            nursery.start_soon(send_all, self._ampe, self._chnls, messages)
            await self._receive_data(message_id=2)

    def _stream(self, message_id: int, direction: str) -> Iterable[Holder[Message]]:
        return stream(self._ampe, OpCode.REQUEST, self._channel, message_id, direction)

    async def _receive_data(self, message_id: int) -> None:
        """Receive the response with this id in its parts, which must be DATA."""
        digest = hashlib.sha256()
        more = True
        while more:
            part = await expect(self._ampe, self._chnls, OpCode.RESPONSE)
            assert part.message_id == message_id
            digest.update(part.payload)
            more = part.has_more()
        assert digest.digest() == DIGEST


async def main() -> None:
    async with (
        open_ampe() as server,
        open_ampe() as ampe,
        server.open_channel_group() as serving,
        ampe.open_channel_group() as chnls,
        trio.open_nursery() as nursery,
    ):
        address = await listen(server, serving, TCPServerAddress("127.0.0.1", 0))
        nursery.start_soon(serve, server, serving)
        channel = await connect(ampe, chnls, address)
        client = Client(ampe, chnls, channel)
        for way in (client.up, client.down, client.both_ways):
            await way()
            print(f"{way.__name__}: {len(DATA):,} bytes, and the hash is right")
        await say_bye(ampe, chnls, channel)
        await server.destroy(serving)


if __name__ == "__main__":
    trio.run(main)
