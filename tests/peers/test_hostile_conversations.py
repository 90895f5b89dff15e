"""Whatever a peer says, in whatever order, ends its own connection at most.

Hundreds of conversations (`conversations.py`) with one server, and with clients. After each, a
peer that is right is served, and nothing is left of the other one: no link, no message of the
pool, no task, no line in the log.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from random import Random

import pytest
import trio
import trio.testing

from pytofu import (
    Backoff,
    ConnectError,
    Incoming,
    MemoryServerAddress,
    NotSent,
    OpCode,
    Peer,
    RemoteError,
    Reply,
    Topics,
    Unanswered,
    connect,
)
from pytofu.peers.assembly import Budget
from pytofu.peers.link import Link
from pytofu.values.address_text import address_text, client_address
from tests.leaks import live_tasks
from tests.peers.conversations import Piece, answers, asked, changed, of_a_client
from tests.peers.pairs import counted, serving
from tests.support import RawListener, RawPeer

FAILURES = (NotSent, Unanswered, RemoteError, trio.BrokenResourceError, trio.ClosedResourceError)
GONE = (AssertionError, OSError, ValueError, trio.TooSlowError)
"""What raw peers raise where the connection has ended, or what came is no frame."""


async def any_handler(peer: Peer, request: Incoming) -> Reply:
    """Does what it is asked, one way or another."""
    match request.method:
        case "sleep":
            await trio.sleep_forever()
        case "wrong":
            raise RemoteError("NOT_FOUND", "%\n")
        case "back":
            with trio.move_on_after(0.05), suppress(*FAILURES):
                await peer.signal(bytes(60_000))
                await peer.call(bytes(70_000))
                async with peer.stream() as stream:
                    await stream.send(bytes(70_000))
                    await stream.finish()
        case "items" if request.stream is not None:
            for _ in range(5):
                await request.stream.send(bytes(70_000))
            await request.stream.send_eof()
    if request.stream is not None:
        async for item in request.stream:
            if request.method == "echo":
                await request.stream.send(item)
    return Reply(bytes(200_000) if request.method == "long" else request.body)


def defects(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, less that a peer has reached a limit."""
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if not line.startswith("limit ")]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it; the clock is one that jumps."""
    with trio.fail_after(60):
        while not is_so():  # noqa: ASYNC110  (there is no event for what is gone)
            await trio.sleep(0.05)


def is_nothing_left_of(link: Link) -> bool:
    """Whether it has closed, with all that was open on it."""
    asking, answering = link.asking, link.answering
    return (
        link.closed.is_set()
        and not (asking.busy or asking._open or link._companions)
        and not (answering.busy or answering._by_id or answering._ready or answering._subscribers)
        and link._budget.left == Budget().left
    )


async def speak(raw: RawPeer, rng: Random, frames: list[bytes]) -> None:
    """Say it all, in some rhythm, and go, in some way."""
    with raw, suppress(*GONE):
        async with trio.open_nursery() as nursery:
            if rng.random() < 0.8:
                nursery.start_soon(_take_all, raw)
            pieces = [b"".join(frames)] if rng.random() < 0.25 else frames
            with suppress(*GONE):
                for piece in pieces:
                    await raw.send(piece)
                    if rng.random() < 0.5:
                        await trio.testing.wait_all_tasks_blocked()
                if rng.random() < 0.2:
                    raw.fin()
            await trio.sleep(rng.choice([0, 0, 0.01, 3]))
            if rng.random() < 0.3:
                raw.reset()
            nursery.cancel_scope.cancel()


async def _take_all(raw: RawPeer) -> None:
    with suppress(*GONE):
        while await raw.sock.recv(1 << 16):
            pass


@pytest.mark.parametrize("seed", range(10))
async def test_a_server(
    seed: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    rng = Random(seed)
    topics = Topics(keep=2, policy=rng.choice(["drop-oldest", "latest", "disconnect"]))
    peers: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        peers.append(peer)
        async for _ in peer.messages:
            await trio.sleep(0.001)

    async with (
        counted() as ampe,
        serving(
            any_handler,
            MemoryServerAddress("hostile conversations"),
            ampe=ampe,
            topics=topics,
            calls_per_peer=rng.choice([1, 2, 20]),
            on_peer=on_peer,
        ) as where,
        connect(where) as other,
        other.subscribe("b") as messages,
    ):
        tasks, channels = live_tasks(), ampe.statistics().channels
        for _ in range(40):
            await speak(await RawPeer.connect(client_address(where)), rng, of_a_client(rng))
            topics.publish("a.b", bytes(100_000))
            topics.publish("b", b"news")
            with trio.fail_after(10):
                assert (await other.call(b"still here")).body == b"still here"
                assert (await anext(messages)).body == b"news"
            for peer in peers[1:]:
                await until(partial(is_nothing_left_of, peer._link))
            del peers[1:]
            await until(lambda: live_tasks() == tasks)
            statistics = ampe.statistics()
            assert (statistics.channels, statistics.bytes_held) == (channels, 0)
            assert topics.publish("a.b", b"") == 0
    assert defects(caplog) == []


# ---------------------------------------------------------------------- clients


async def serve_badly(raw: RawPeer, rng: Random) -> None:
    """Answer the Hello, then what comes, more or less, and ask as well."""
    to_say: list[Piece] = asked(rng, 4) if rng.random() < 0.5 else []
    rate = rng.choice([0, 0.1, 0.3, 0.8])

    async def read() -> None:
        with suppress(*GONE):
            while True:
                to_say.extend(answers(rng, await raw.receive_frame()))

    with raw, suppress(*GONE):
        greeting = await raw.receive_frame()
        features = (("tofu-features", rng.choice(["server calls=64", "server calls=1", "none"])),)
        answer = Piece(OpCode.HELLO_RESPONSE, greeting.message_id, features)
        await raw.send(answer.to_bytes())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            with suppress(*GONE):
                for _ in range(rng.randrange(30)):
                    await trio.testing.wait_all_tasks_blocked()
                    said = to_say[:2]
                    del to_say[:2]
                    said += [answer] if rng.random() < rate * 0.1 else []
                    for piece in changed(rng, said, rate):
                        await raw.send(piece.to_bytes())
            await trio.sleep(rng.choice([0, 0.1, 6]))
            nursery.cancel_scope.cancel()


async def serve_well(raw: RawPeer) -> None:
    """Answer everything, until the client leaves."""
    rng = Random(0)
    with raw, suppress(*GONE):
        greeting = await raw.receive_frame()
        features = (("tofu-features", "server calls=64"),)
        await raw.send(Piece(OpCode.HELLO_RESPONSE, greeting.message_id, features).to_bytes())
        while True:
            for piece in answers(rng, await raw.receive_frame()):
                await raw.send(piece.to_bytes())


@asynccontextmanager
async def bad_server(rng: Random, bad: int) -> AsyncIterator[str]:
    """One whose first connections are bad, and the others good; its address."""
    with RawListener(MemoryServerAddress("bad server")) as listener:

        async def accept() -> None:
            for _ in range(bad):
                nursery.start_soon(serve_badly, await _accepted(listener), rng)
            while True:
                nursery.start_soon(serve_well, await _accepted(listener))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            yield address_text(listener.client_address)
            nursery.cancel_scope.cancel()


async def _accepted(listener: RawListener) -> RawPeer:
    while True:
        with suppress(trio.TooSlowError):
            return await listener.accept()


async def ask_everything(peer: Peer, *, again: bool) -> None:
    """Call, stream and subscribe, at the same time; once, or for ever."""

    async def call() -> None:
        with trio.move_on_after(1):
            await peer.call(b"x")

    async def stream() -> None:
        with trio.move_on_after(1):
            async with peer.stream() as opened:
                await opened.send(bytes(200_000))
                await opened.finish()

    async def subscribe() -> None:
        async with peer.subscribe("a", window=1000) as messages:
            async for _ in messages:
                pass

    async def go_on(ask: Callable[[], Awaitable[None]]) -> None:
        while True:
            with suppress(*FAILURES):
                await ask()
            if not again:
                return
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for ask in (call, call, stream, subscribe):
            nursery.start_soon(go_on, ask)


@pytest.mark.parametrize("seed", range(30))
async def test_a_client(
    seed: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    rng = Random(seed)
    async with counted() as ampe, bad_server(rng, 1) as where:
        peer: Peer | None = None
        with suppress(ConnectError):
            async with connect(where, any_handler, ampe=ampe) as peer:
                with trio.move_on_after(20):
                    await ask_everything(peer, again=False)
        assert peer is None or is_nothing_left_of(peer._link)
    assert defects(caplog) == []


@pytest.mark.parametrize("seed", range(30))
async def test_a_client_that_reconnects(
    seed: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """In the end it comes to a server that is right."""
    rng = Random(seed)
    async with (
        counted() as ampe,
        bad_server(rng, rng.choice([1, 2, 4])) as where,
        connect(where, any_handler, ampe=ampe, reconnect=Backoff(0.01, 0.1)) as peer,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def ask() -> None:
            await ask_everything(peer, again=True)

        await trio.sleep(60)
        with trio.fail_after(1):
            assert (await peer.call(b"at last", idempotent=True)).body == b"at last"
        assert ampe.statistics().channels == 1
        nursery.cancel_scope.cancel()
    assert defects(caplog) == []
