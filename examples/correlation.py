"""Many outstanding requests, answered out of order: `await caller.call(...)` from any task.

A response has the message_id of its request. A `Caller` has one task that receives, and that hands
each response to the task that waits for it.
"""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
from common import ClientAddress, compose, connect, is_closed, listen, respond, send

from pytofu import (
    Ampe,
    AmpeError,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    TCPServerAddress,
    open_ampe,
)

CALLS = 200
HARD_QUESTION = b"why?"


class Caller:
    """Requests over one channel; the response to each is what its call returns."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._channel = channel
        self._waiting: dict[int, trio.MemorySendChannel[bytes]] = {}

    async def call(self, body: bytes) -> bytes:
        """Send a request and return the body of its response.

        Raises `ChannelClosedException` when the channel closes before it has come. When this is
        cancelled the response is ignored.
        """
        answer, response = trio.open_memory_channel[bytes](1)
        request = compose(self._ampe, OpCode.REQUEST, self._channel, body)
        header = await send(self._ampe, self._chnls, request)
        self._waiting[header.message_id] = answer
        try:
            return await response.receive()
        except trio.EndOfChannel:
            raise ChannelClosedException(AmpeError.CHANNEL_CLOSED, "no response") from None
        finally:
            self._waiting.pop(header.message_id, None)

    async def receive(self) -> None:
        """Hand out the responses until the channel is closed."""
        async for holder in self._chnls:
            message = holder.unwrap()
            if is_closed(message):
                break
            answer = self._waiting.get(message.message_id)
            if message.opcode is OpCode.RESPONSE and answer is not None:
                answer.send_nowait(message.payload)
        for answer in self._waiting.values():
            answer.close()

    def bye(self) -> None:
        """Close the channel in good order: `receive` ends with it."""
        self._chnls.post(compose(self._ampe, OpCode.BYE_REQUEST, self._channel))


@asynccontextmanager
async def open_caller(ampe: Ampe, address: ClientAddress) -> AsyncGenerator[Caller]:
    """Connect for the length of a block."""
    async with ampe.open_channel_group() as chnls, trio.open_nursery() as nursery:
        caller = Caller(ampe, chnls, await connect(ampe, chnls, address))
        nursery.start_soon(caller.receive)
        yield caller
        caller.bye()


async def serve(ampe: Ampe, chnls: ChannelGroup) -> None:
    """Answer every request after a while, in a task of its own, so in any order."""

    async def answer(request: Holder[Message]) -> None:
        question = request.unwrap().payload
        try:
            await trio.sleep(60 if question == HARD_QUESTION else random.uniform(0, 0.1))
            respond(chnls, request, question.upper())
        finally:
            ampe.put(request)  # if it is still there

    async with trio.open_nursery() as nursery:
        async for holder in chnls:
            match holder.unwrap().opcode:
                case OpCode.REQUEST:
                    nursery.start_soon(answer, Holder(holder.take()))
                case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                    respond(chnls, holder)
                case _:
                    pass  # a client has gone
        nursery.cancel_scope.cancel()  # nobody waits for the rest


async def main() -> None:
    finished: list[int] = []

    async def ask(caller: Caller, number: int) -> None:
        answer = await caller.call(f"question {number}".encode())
        assert answer == f"QUESTION {number}".encode()
        finished.append(number)

    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        trio.open_nursery() as nursery,
    ):
        address = await listen(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
        nursery.start_soon(serve, ampe, chnls)
        async with open_caller(ampe, address) as caller:
            async with trio.open_nursery() as callers:
                for number in range(CALLS):
                    callers.start_soon(ask, caller, number)
            print(len(finished), "calls, each with the right answer")
            print("answered in another order than asked:", finished != sorted(finished))
            with trio.move_on_after(0.01) as impatient:
                await caller.call(HARD_QUESTION)
            print("a call cancelled:", impatient.cancelled_caught)
            print("and the next one:", (await caller.call(b"still there?")).decode())
        await ampe.destroy(chnls)


if __name__ == "__main__":
    trio.run(main)
