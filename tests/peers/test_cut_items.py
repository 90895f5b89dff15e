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
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import Stream
from pytofu.values.header import MORE_BIT
from tests.peers.pairs import connected, scripted_client, serving


async def send_until_it_waits(stream: Stream, item: bytes) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send, item)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("result", [b"short", bytes(200_000)], ids=["short", "long"])
async def test_no_result_follows_a_part_of_an_item(result: bytes) -> None:
    """It would be taken for the rest of the item, and be wrong."""

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        await send_until_it_waits(request.stream, bytes(1_000_000))
        return result

    async with serving(handler) as where, scripted_client(where) as script:
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
