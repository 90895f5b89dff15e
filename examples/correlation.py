"""Many outstanding requests, answered out of order: `await caller.call(...)` from any task.

The message_id of a response is that of its request. A `Caller` has one task that receives, and
hands each response to the task that waits for this message_id.
"""

import random
import time

import trio
from common import compose, connect, is_closed, listen, respond, say_bye

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

CALLS = 200


class Caller:
    """Requests over one channel, each with its response as the return value."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._channel = channel
        self._waiting: dict[int, trio.MemorySendChannel[bytes]] = {}

    async def call(self, body: bytes) -> bytes:
        """Send a request and return the body of its response.

        Raises `ChannelClosedException` when the channel closes first. When cancelled, the response
        is dropped if it comes after all.
        """
        answer, response = trio.open_memory_channel[bytes](1)
        header = await self._chnls.send(compose(self._ampe, OpCode.REQUEST, self._channel, body))
        self._waiting[header.message_id] = answer
        try:
            return await response.receive()
        except trio.EndOfChannel:
            raise ChannelClosedException.from_error(...) from None
        finally:
            self._waiting.pop(header.message_id, None)

    async def run(self) -> None: ...
