"""Streams that end, for one side or both, while an item of them is only partly there."""

from typing import Any

import pytest
import trio
import trio.testing

from pytofu import (
    AllocationFailedException,
    AmpeError,
    AmpeException,
    BinaryHeader,
    Incoming,
    OpCode,
    Peer,
    RemoteError,
)
from pytofu.peers.link import Link
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import Stream
from pytofu.peers.wire import MAX_BODY
from pytofu.values.header import MORE_BIT
from tests.peers.pairs import connected, scripted_client, serving


async def send_until_it_waits(stream: Stream, item: bytes) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send, item)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("result", [b"short", bytes(200_000)], ids=["short", "long"])
async def test_no_result_follows_a_part_of_an_item(result: bytes, goes_on: bool) -> None:
    """It would be taken for the rest of the item, and be wrong."""

    async def send(stream: Stream) -> None:
        with pytest.raises(RemoteError, match="CANCELLED: its handler has ended"):
            await stream.send(bytes(1_000_000))

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        if goes_on:
            others.start_soon(send, request.stream)
            await trio.testing.wait_all_tasks_blocked()
        else:
            await send_until_it_waits(request.stream, bytes(1_000_000))
        return result

    async with (
        trio.open_nursery() as others,
        serving(handler) as where,
        scripted_client(where) as script,
    ):
        await script.send(OpCode.REQUEST, 3, b"tofu-stream:1\r\n", more=True)
        answer = await script.expect(OpCode.RESPONSE)
        while answer.proto & MORE_BIT:
            assert answer.text == b"tofu-item:part\r\n"
            answer = await script.expect(OpCode.RESPONSE)
        assert answer.text.startswith(b"tofu-status:CANCELLED\r\n")
        assert answer.body == b""


async def test_the_handlers_own_error_follows() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        await send_until_it_waits(request.stream, bytes(1_000_000))
        raise RemoteError("NOT_FOUND", "after all")

    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 3, b"tofu-stream:1\r\n", more=True)
        answer = await script.expect(OpCode.RESPONSE)
        while answer.proto & MORE_BIT:
            answer = await script.expect(OpCode.RESPONSE)
        assert answer.text.startswith(b"tofu-status:NOT_FOUND\r\n")


async def test_an_item_that_the_engine_stops_to_take_fails_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with connected(handler) as both, both.client.stream() as stream:
        send, sent = Outlet.send, 0

        async def refuse_the_second(outlet: Outlet, *args: Any, **rest: Any) -> BinaryHeader:
            nonlocal sent
            sent += 1
            if sent == 2:
                raise AmpeException.from_error(AmpeError.ALLOCATION_FAILED)
            return await send(outlet, *args, **rest)

        with monkeypatch.context() as patch:
            patch.setattr(Outlet, "send", refuse_the_second)
            with pytest.raises(AllocationFailedException):
                await stream.send(bytes(200_000))
        with pytest.raises(RemoteError, match="CANCELLED: failed in the middle of an item"):
            await stream.send(bytes(200_000))


async def test_a_handler_that_ends_within_an_item_of_the_peer_gives_back_what_that_held() -> None:
    """Or so many such streams would end the connection."""
    links: list[Link] = []
    streams: list[Stream] = []
    go_on = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        links.append(peer._link)
        streams.append(request.stream)
        await go_on.wait()
        return b"early"

    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 3, b"tofu-stream:1\r\n", more=True)
        await script.send(OpCode.REQUEST, 3, b"tofu-item:part\r\n", body=bytes(9), more=True)
        await script.send(OpCode.SIGNAL, 2, b"tofu-heartbeat:ask\r\n")
        await script.expect(OpCode.SIGNAL)
        assert links[0]._budget.left < 4 * MAX_BODY
        go_on.set()
        assert (await script.expect(OpCode.RESPONSE)).body == b"early"
        assert links[0]._budget.left == 4 * MAX_BODY
        with pytest.raises(RemoteError, match="CANCELLED: its handler has ended"):
            await anext(streams[0])
        with pytest.raises(RemoteError, match="CANCELLED: its handler has ended"):
            await streams[0].send(b"")
