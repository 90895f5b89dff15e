"""A server that is killed, and connections that stall: what callers are told is true."""

import random
from collections import Counter
from functools import partial
from pathlib import Path

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
from tests.support import Kind, ServerAddress, server_address_of

QUICK = Backoff(first=0.001, longest=0.01)


async def kills_and_stalls(seed: int, address: ServerAddress, *, reconnect: bool) -> Counter[str]:
    """Calls through a proxy that cuts and stalls connections: what the callers were told must be
    true of what the server has done. How often each was told, and how often one was done twice."""
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
        restartable(handler, address, ampe=server_ampe, calls_per_peer=rng.randint(1, 8)) as server,
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
    counts = Counter(told.values())
    counts["done again"] = sum(times - 1 for times in done.values())
    return counts


@pytest.mark.parametrize("reconnect", [False, True])
@pytest.mark.parametrize("seed", range(15))
async def test_what_callers_are_told_is_true(
    seed: int, reconnect: bool, socket_address: ServerAddress
) -> None:
    await kills_and_stalls(seed, socket_address, reconnect=reconnect)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_what_callers_are_told_is_true_a_thousand_times(socket_kind: Kind, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    for seed in range(1000):
        address = server_address_of(socket_kind, tmp_path)
        run = partial(kills_and_stalls, 1000 + seed, address, reconnect=seed % 2 == 0)
        counts += trio.run(run)
    print(dict(counts))
    assert min(counts[told] for told in ("answered", "not sent", "in doubt")) > 0
