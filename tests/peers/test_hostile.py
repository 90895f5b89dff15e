"""Peers that send anything that the protocol allows: nobody else notices, nothing is left."""

import random
from contextlib import suppress

import pytest
import trio
import trio.testing

from pytofu import Incoming, OpCode, Peer, Reply, Topics, connect
from pytofu.peers import wire
from pytofu.values.address_text import client_address
from tests.peers.pairs import AWARE, Script, counted, scripted_client, scripted_server, serving
from tests.support import RESET, RawPeer, frame

NAMES = [
    *(value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)),
    "name",
]
VALUES = [
    *("", "1", "0", "-1", "999999999", "200m", "1n", "part", "whole", "end", "ask", "here"),
    *("a.*", ">", "a", "a.b", "OK", "INTERNAL", "%ff%", "client calls=1 heartbeat=1n", "x" * 500),
]


def random_frame(rng: random.Random) -> bytes:
    """A frame of a regular message, with headers of these conventions, used in any way."""
    lines = [
        f"{rng.choice(NAMES)}:{rng.choice(VALUES)}\r\n" for _ in range(rng.choice([0, 1, 1, 2, 4]))
    ]
    return frame(
        rng.choice([OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL]),
        rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 2**64 - 1]),
        text="".join(lines).encode(),
        body=bytes(rng.choice([0, 0, 1, 100, 60_000])),
        more=rng.random() < 0.4,
    )


async def any_handler(peer: Peer, request: Incoming) -> Reply:
    """Does what it is asked, one way or another."""
    if request.stream is not None:
        async for item in request.stream:
            await request.stream.send(item)
    if request.headers.get("name") == "a":
        await trio.sleep_forever()
    return Reply(request.body, {"content-type": "x"})


async def write_all(script: Script, rng: random.Random) -> None:
    """Send frames, while somebody else takes what comes back."""

    async def read() -> None:
        with suppress(AssertionError, OSError):
            while True:
                await script.raw.receive_frame()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with suppress(OSError):
            for _ in range(200):
                await script.raw.send(random_frame(rng))
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(30))
async def test_a_server_and_its_other_peers(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)
    topics = Topics(keep=2, policy=rng.choice(["drop-oldest", "latest", "disconnect"]))
    async with (
        counted() as ampe,
        serving(any_handler, ampe=ampe, topics=topics, calls_per_peer=rng.randint(1, 20)) as where,
        connect(where) as other,
    ):
        async with scripted_client(where, rng.choice([b"", AWARE])) as script:
            await write_all(script, rng)
            topics.publish("a.b", bytes(100_000))
            assert (await other.call(b"still here")).body == b"still here"
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert (await other.call(b"and now")).body == b"and now"
        assert topics.publish("a.b", b"") == 0
    assert caplog.records == []


@pytest.mark.parametrize("features", [b"", AWARE])
async def test_a_hello_that_nobody_can_answer(
    features: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Its id is 0: the peer is sent away, and the server goes on."""
    came: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        came.append(peer)

    async with counted() as ampe, serving(ampe=ampe, on_peer=on_peer) as where:
        with await RawPeer.connect(client_address(where)) as raw:
            lines = b"~connect_to:uds|x\r\n" + features
            await raw.send(frame(OpCode.HELLO_REQUEST, 0, text=lines))
            assert await raw.ending() == (b"", RESET)
        async with connect(where) as other:
            assert (await other.call(b"still here")).body == b"still here"
    assert len(came) == 1
    assert caplog.records == []


@pytest.mark.parametrize("seed", range(30))
async def test_a_client(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)
    async with scripted_server(handler=any_handler) as (peer, script):

        async def ask() -> None:
            with suppress(Exception):
                await peer.call(b"x")

        async def open_stream() -> None:
            with suppress(Exception):
                async with peer.stream() as stream:
                    await stream.finish()

        async def subscribe() -> None:
            with suppress(Exception):
                async with peer.subscribe("a") as messages:
                    async for _ in messages:
                        pass

        async with trio.open_nursery() as nursery:
            for task in (ask, open_stream, subscribe):
                nursery.start_soon(task)
            await trio.testing.wait_all_tasks_blocked(0.001)
            await write_all(script, rng)
            nursery.cancel_scope.cancel()
        assert peer._link.asking.busy == 0
        assert not peer._link.asking._open
    assert peer._link._budget.left == 4 * wire.MAX_BODY
    assert caplog.records == []
