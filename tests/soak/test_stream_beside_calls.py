"""A gigabyte through one stream, while a thousand calls a second go beside it on its channel."""

import math
import time
from typing import Final

import pytest
import trio

from pytofu import Incoming, Peer
from tests.peers.pairs import connected
from tests.support import Kind, ServerAddress

GIGABYTE: Final = 10**9
ITEM: Final = bytes(range(250)) * 250
CALLS_PER_SECOND: Final = 1000
LATEST: Final = 1.0
"""Seconds in which a call is answered, even on a busy machine: an item that held the calls up would
hold them up until the end of the stream."""


async def handler(peer: Peer, request: Incoming) -> bytes:
    """Calls are echoed; of a stream's items those are counted that arrived as they were sent."""
    if request.stream is None:
        return request.body
    arrived = 0
    async for item in request.stream:
        arrived += len(item) if item == ITEM else 0
    return b"%d" % arrived


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_gigabyte_beside_a_thousand_calls_a_second(
    address: ServerAddress, kind: Kind
) -> None:
    sent = 0
    times: list[float] = []
    begun = 0

    async with connected(handler, address) as both, trio.open_nursery() as callers:

        async def call(number: int, due: float) -> None:
            assert (await both.client.call(b"%d" % number)).body == b"%d" % number
            times.append(time.perf_counter() - due)

        async def call_on_schedule(start: float) -> None:
            nonlocal begun
            while True:
                due = math.floor((time.perf_counter() - start) * CALLS_PER_SECOND)
                while begun < due:
                    callers.start_soon(call, begun, start + begun / CALLS_PER_SECOND)
                    begun += 1
                await trio.sleep(1 / CALLS_PER_SECOND)

        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_on_schedule, start)
            async with both.client.stream() as stream:
                while sent < GIGABYTE:
                    await stream.send(ITEM)
                    sent += len(ITEM)
                assert await stream.finish() == b"%d" % sent
            seconds = time.perf_counter() - start
            nursery.cancel_scope.cancel()
    assert len(times) == begun > 0.9 * CALLS_PER_SECOND * seconds
    times.sort()
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    print(
        f"{kind}: {sent:,} bytes in {seconds:.1f} s, {begun:,} calls:"
        f" p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, slowest {times[-1] * 1e3:.1f} ms"
    )
    assert times[-1] < LATEST
