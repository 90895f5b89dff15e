"""Deadlines that travel, calls that are cancelled, callers that go (peers/asking.py)."""

import pytest
import trio
import trio.testing

from pytofu import (
    Incoming,
    OpCode,
    Peer,
    RemoteError,
)
from tests.peers.pairs import (
    connected,
    scripted_client,
    scripted_server,
    serving,
)


async def test_the_deadline_travels_and_shrinks_over_two_hops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    left: list[float] = []
    ended: list[str] = []

    async def last(peer: Peer, request: Incoming) -> bytes:
        left.append(trio.current_effective_deadline() - trio.current_time())
        try:
            await trio.sleep_forever()
        finally:
            ended.append("last")

    async with connected(last) as inner:

        async def first(peer: Peer, request: Incoming) -> bytes:
            left.append(trio.current_effective_deadline() - trio.current_time())
            await trio.sleep(0.05)
            try:
                return (await inner.client.call()).body
            finally:
                ended.append("first")

        async with connected(first) as outer:
            with trio.move_on_after(0.2) as scope:
                await outer.client.call()
            assert scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
    assert 0.14 < left[1] < 0.151
    assert 0.19 < left[0] < 0.201
    assert sorted(ended) == ["first", "last"]


async def test_a_handler_that_is_late_answers_so(autojump_clock: trio.testing.MockClock) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-timeout:200m\r\n")
        before = trio.current_time()
        answer = await script.expect(OpCode.RESPONSE)
    assert b"tofu-status:DEADLINE_EXCEEDED\r\n" in answer.text
    assert trio.current_time() - before == pytest.approx(0.2)


async def test_cancelling_a_call_cancels_the_handler_and_returns_at_once() -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with connected(handler) as both:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both.client.call)
            await started.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await cancelled.wait()


async def test_nothing_is_asked_for_a_caller_that_is_cancelled_already() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            scope.cancel()
            await peer.call(b"no")
        assert scope.cancelled_caught
        nursery.start_soon(peer.call, b"yes")
        assert (await script.expect(OpCode.SIGNAL)).text == b"tofu-cancel:1\r\n"
        assert (await script.expect(OpCode.REQUEST)).body == b"yes"
        nursery.cancel_scope.cancel()


async def test_a_call_that_timed_out_at_the_peer_first_is_cut_short_here(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            request = await script.expect(OpCode.REQUEST)
            assert request.text == b"tofu-timeout:50000000n\r\n"
            await script.send(
                OpCode.RESPONSE, request.message_id, b"tofu-status:DEADLINE_EXCEEDED\r\n"
            )

        nursery.start_soon(answer)
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
            await peer.call()


async def test_a_caller_that_was_given_more_time_hears_that_it_was_too_little(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scripted_server() as (peer, script):
        with trio.CancelScope(deadline=trio.current_time() + 0.05) as scope:
            async with trio.open_nursery() as nursery:

                async def answer() -> None:
                    request = await script.expect(OpCode.REQUEST)
                    scope.deadline += 100
                    await script.send(
                        OpCode.RESPONSE, request.message_id, b"tofu-status:DEADLINE_EXCEEDED\r\n"
                    )

                nursery.start_soon(answer)
                with pytest.raises(RemoteError, match="DEADLINE_EXCEEDED"):
                    await peer.call()


async def test_handlers_end_with_their_caller() -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(handler) as where:
        async with scripted_client(where) as script:
            await script.send(OpCode.REQUEST, 1)
            await started.wait()
        with trio.fail_after(5):
            await cancelled.wait()
