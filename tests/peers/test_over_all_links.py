"""Calls, streams, topics, heartbeats and draining are the same over every link."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import Incoming, Peer, Topics, connect
from tests import tls_sockets
from tests.peers.pairs import Both, connected, counted, echo, serving

LONG: Final = bytes(range(256)) * 1000


@attrs.frozen
class Kind:
    """Where a test's server listens, and what its two sides need for that."""

    address: str
    server: dict[str, Any] = attrs.field(factory=dict[str, Any])
    client: dict[str, Any] = attrs.field(factory=dict[str, Any])


@pytest.fixture(params=["tcp", "tls", "uds", "mem"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Each link in turn."""
    match request.param:
        case "uds":
            return Kind(f"uds://{tmp_path / 'socket'}")
        case "mem":
            return Kind(f"mem://{tmp_path.name}")
        case "tls":
            server = {"tls": tls_sockets.server_context()}
            client = {"tls": tls_sockets.client_context()}
            return Kind("tls://127.0.0.1:0", server, client)
        case _:
            return Kind("tcp://127.0.0.1:0")


@asynccontextmanager
async def pair(kind: Kind, handler: Any = echo, **settings: Any) -> AsyncGenerator[Both]:
    """Two peers over the link, on two engines of which each has its whole pool at the end."""
    async with (
        counted() as ours,
        counted() as theirs,
        connected(
            handler,
            kind.address,
            client_handler=echo,
            client={"ampe": ours, **kind.client},
            ampe=theirs,
            **kind.server,
            **settings,
        ) as both,
    ):
        yield both


async def test_calls_of_any_length_in_both_directions(kind: Kind) -> None:
    async with pair(kind) as both:
        for peer in (both.client, both.server):
            for body in (b"", b"short", LONG):
                assert (await peer.call(body, {"a": "b"})).body == body


async def test_a_call_that_is_given_up_stops_its_handler(kind: Kind) -> None:
    began, stopped = trio.Event(), trio.Event()

    async def handler(peer: Peer, request: Incoming) -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            stopped.set()

    async with pair(kind, handler) as both:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both.client.call)
            await began.wait()
            nursery.cancel_scope.cancel()
        await stopped.wait()


async def test_a_stream_there_and_back(kind: Kind) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        async for item in request.stream:
            await request.stream.send(item)
        return b"all"

    async with pair(kind, handler) as both, both.client.stream() as stream:
        for item in (b"x", LONG, b""):
            await stream.send(item)
            assert await anext(stream) == item
        assert await stream.finish() == b"all"


async def test_what_is_published_is_heard(kind: Kind) -> None:
    topics = Topics()
    async with pair(kind, topics=topics) as both, both.client.subscribe("news.*") as messages:
        for body in (b"x", LONG):
            await topics.send("news.today", body)
            heard = await anext(messages)
            assert (heard.topic, heard.body) == ("news.today", body)


async def test_draining_lets_a_call_end(kind: Kind) -> None:
    began, go_on = trio.Event(), trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        began.set()
        await go_on.wait()
        return b"done"

    answers: list[bytes] = []

    async def call(peer: Peer) -> None:
        answers.append((await peer.call()).body)

    async with pair(kind, handler) as both, trio.open_nursery() as nursery:
        nursery.start_soon(call, both.client)
        await began.wait()
        nursery.start_soon(partial(both.server.drain, 5))
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        await both.client.closed.wait()
    assert answers == [b"done"]


async def test_a_heartbeat_keeps_a_peer_that_is_there(kind: Kind) -> None:
    async with (
        serving(echo, kind.address, **kind.server) as where,
        connect(where, heartbeat=60, **kind.client) as peer,
    ):
        assert (await peer.call(b"x")).body == b"x"
