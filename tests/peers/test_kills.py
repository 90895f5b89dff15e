"""A server that is killed, and connections that stall: what callers are told is true."""

import random
from collections import Counter

import pytest
import trio
import trio.testing

from pytofu import (
    Backoff,
    ConnectError,
    Incoming,
    NotSent,
    Peer,
    Unanswered,
    connect,
)
from tests.peers.faults import Fault, Proxy, restartable
from tests.peers.pairs import counted

QUICK = Backoff(first=0.001, longest=0.01)


async def kills_and_stalls(seed: int, *, reconnect: bool) -> None:
    """Calls through a proxy that cuts and stalls connections: what the callers were told must be
    true of what the server has done."""
    rng = random.Random(seed)
    done: Counter[bytes] = Counter()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if rng.random() < 0.2:
            await trio.lowlevel.checkpoint()
        done[request.body[:8]] += 1
        return request.body

    def next_fault() -> Fault | None:
        if rng.random() < 0.3:
            return None
        return Fault(1 + int(rng.random() ** 3 * 600_000), "stall" if rng.random() < 0.3 else "cut")

    told: dict[bytes, str] = {}
    async with (
        counted() as ampe,
        counted() as server_ampe,
        restartable(handler, ampe=server_ampe, calls_per_peer=rng.randint(1, 8)) as server,
        trio.open_nursery() as nursery,
    ):
        proxy = Proxy(server.where, next_fault)
        where = await nursery.start(proxy.run)

        async def calls(number: int, peer: Peer) -> None:
            for turn in range(rng.randint(1, 6)):
                idempotent = number % 3 == 0
                name = b"%c%03d-%03d" % (b"i" if idempotent else b"n", number, turn)
                body = name + bytes(int(rng.random() ** 6 * 200_000))
                try:
                    answer = await peer.call(body, idempotent=idempotent)
                except NotSent:
                    told[name] = "not sent"
                except Unanswered:
                    told[name] = "in doubt"
                else:
                    assert answer.body == body
                    told[name] = "answered"

        for session in range(1 if reconnect else 5):
            try:
                async with (
                    connect(where, ampe=ampe, reconnect=QUICK if reconnect else None) as peer,
                    trio.open_nursery() as callers,
                ):
                    for number in range(rng.randint(1, 12)):
                        callers.start_soon(calls, 100 * session + number, peer)
            except ConnectError:
                pass
        nursery.cancel_scope.cancel()
    for name, outcome in told.items():
        if outcome == "answered":
            assert done[name] == 1 or (name[:1] == b"i" and done[name] > 1), name
        elif outcome == "not sent":
            assert not reconnect
            assert done[name] == 0, name
        else:
            assert done[name] <= 1, name
    assert set(done) <= set(told)


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize("seed", range(15))
async def test_what_callers_are_told_is_true(seed: int, reconnect: bool) -> None:
    await kills_and_stalls(seed, reconnect=reconnect)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_callers_are_told_is_true_a_thousand_times() -> None:
    for seed in range(1000):
        trio.run(lambda: kills_and_stalls(1000 + seed, reconnect=seed % 2 == 0))  # noqa: B023
