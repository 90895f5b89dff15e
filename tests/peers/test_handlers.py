"""Handlers share tasks and cancel scopes where none of them can notice (peers/answering.py)."""

from contextvars import ContextVar
from typing import Final

import pytest
import trio
import trio.testing

from pytofu import Incoming, OpCode, Peer, RemoteError
from tests.peers.pairs import connected, scripted_client, serving
from tests.support import ServerAddress, frame

SEEN: Final = ContextVar("SEEN", default=b"nothing")
CALLS: Final = 20


async def call_all(peer: Peer, bodies: list[bytes]) -> dict[bytes, bytes | str]:
    """Calls that are sent at once, and arrive at once; the answers, or the codes of errors."""
    answers: dict[bytes, bytes | str] = {}

    async def call(body: bytes) -> None:
        try:
            answers[body] = (await peer.call(body)).body
        except RemoteError as error:
            answers[body] = error.code

    async with trio.open_nursery() as nursery:
        for body in bodies:
            nursery.start_soon(call, body)
    return answers


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_handlers_that_do_not_wait_are_few_tasks(address: ServerAddress) -> None:
    tasks: set[trio.lowlevel.Task] = set()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        tasks.add(trio.lowlevel.current_task())
        return request.body

    async with connected(handler, address) as both:
        assert len(await call_all(both.client, numbers(CALLS))) == CALLS
    assert len(tasks) < CALLS


async def test_handlers_that_wait_hold_up_no_other(address: ServerAddress) -> None:
    running = 0
    all_there = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        nonlocal running
        running += 1
        if running == CALLS:
            all_there.set()
        await all_there.wait()
        return request.body

    async with connected(handler, address) as both:
        assert len(await call_all(both.client, numbers(CALLS))) == CALLS


async def test_what_a_handler_sets_in_its_context_no_other_sees() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(SEEN.get())
        SEEN.set(request.body)
        return request.body

    async with connected(handler) as both:
        answers = await call_all(both.client, numbers(CALLS))
    assert answers == {body: body for body in numbers(CALLS)}
    assert seen == [b"nothing"] * CALLS


async def test_a_handler_that_fails_takes_no_other_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        if request.body == b"3":
            raise RemoteError("ABORTED")
        if request.body == b"5":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise ValueError("a mistake")
        return request.body

    async with connected(handler) as both:
        answers = await call_all(both.client, numbers(CALLS))
    expected: dict[bytes, bytes | str] = {body: body for body in numbers(CALLS)}
    assert answers == expected | {b"3": "ABORTED", b"5": "INTERNAL"}
    assert "a mistake" in caplog.text


async def test_one_that_is_given_up_takes_no_other_along() -> None:
    """All arrive at once: those that are given up before they have begun, or while they wait."""
    began: list[bytes] = []
    cancelled: list[bytes] = []
    gate = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        began.append(request.body)
        try:
            if request.body in (b"0", b"1"):
                await gate.wait()
        except trio.Cancelled:
            cancelled.append(request.body)
            raise
        return request.body

    async with serving(handler) as where, scripted_client(where) as script:
        for number in range(4):
            await script.send(OpCode.REQUEST, 3 + 2 * number, body=b"%d" % number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await script.expect(OpCode.RESPONSE)).body == b"2"
        assert (await script.expect(OpCode.RESPONSE)).body == b"3"
        await script.send(OpCode.SIGNAL, 3, b"tofu-cancel:1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert cancelled == [b"0"]
        gate.set()
        assert (await script.expect(OpCode.RESPONSE)).body == b"1"
    assert began == [b"0", b"1", b"2", b"3"]
    assert cancelled == [b"0"]


async def test_given_up_before_it_has_begun() -> None:
    began: list[bytes] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        began.append(request.body)
        if request.body == b"first":
            link = peer._link
            assert [one.body for one in link.answering._ready] == [b"second", b"third"]
            link.answering.cancel(5)
        return request.body

    async with serving(handler) as where, scripted_client(where) as script:
        # In one write, so that they arrive in one turn.
        await script.raw.send(
            b"".join(
                frame(OpCode.REQUEST, 3 + 2 * number, body=body)
                for number, body in enumerate([b"first", b"second", b"third"])
            )
        )
        assert (await script.expect(OpCode.RESPONSE)).body == b"first"
        assert (await script.expect(OpCode.RESPONSE)).body == b"third"
    assert began == [b"first", b"third"]


async def test_a_deadline_is_for_one_handler_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        await trio.sleep(float(request.body))
        return b"%f" % trio.current_effective_deadline()

    async with connected(handler) as both, trio.open_nursery() as nursery:

        async def hasty() -> None:
            with trio.move_on_after(1) as scope:
                await both.client.call(b"5")
            assert scope.cancelled_caught

        async def patient() -> None:
            assert (await both.client.call(b"3")).body == b"inf"

        for _ in range(CALLS // 2):
            nursery.start_soon(hasty)
            nursery.start_soon(patient)


async def test_nor_does_one_that_waited_for_its_turn() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(SEEN.get())
        SEEN.set(request.body)
        await trio.lowlevel.checkpoint()
        return request.body

    async with connected(handler, calls_per_peer=1) as both:
        both.client._link.asking._slots = CALLS  # a caller that does not know the limit
        assert len(await call_all(both.client, numbers(CALLS))) == CALLS
    assert seen == [b"nothing"] * CALLS


class _Incomparable:
    def __eq__(self, other: object) -> bool:
        raise ValueError("it is not to be compared")

    __hash__ = None  # type: ignore[assignment]


async def test_values_in_a_context_need_not_be_comparable() -> None:
    variable = ContextVar[object]("variable")

    async def handler(peer: Peer, request: Incoming) -> bytes:
        variable.set(_Incomparable())
        return request.body

    variable.set(_Incomparable())
    async with connected(handler) as both:
        answers = await call_all(both.client, numbers(CALLS))
    assert answers == {body: body for body in numbers(CALLS)}


async def in_nurseries(*errors: Exception) -> None:
    """Raise them as Trio does: in groups, one of them in a group of its own."""
    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        inner.start_soon(trio.sleep_forever)

        async def fail(error: Exception) -> None:
            raise error

        for error in errors[1:]:
            outer.start_soon(fail, error)
        raise errors[0]


async def test_what_one_nursery_after_the_other_has_wrapped_is_what_was_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> None:
        await in_nurseries(RemoteError("NOT_FOUND", "what", b"body"))

    async with connected(handler) as both:
        with pytest.raises(RemoteError, match="NOT_FOUND: what") as caught:
            await both.client.call()
    assert caught.value.body == b"body"
    assert caplog.records == []


async def test_several_that_a_nursery_has_wrapped_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> None:
        await in_nurseries(RemoteError("NOT_FOUND", "this"), RemoteError("ABORTED", "that"))

    async with connected(handler) as both:
        with pytest.raises(RemoteError, match="INTERNAL: the handler failed"):
            await both.client.call()
    assert "NOT_FOUND: this" in caplog.text
    assert "ABORTED: that" in caplog.text


async def test_a_handler_that_is_given_up_in_a_nursery_is_cancelled_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its error, together with the cancellation, is nobody's business any more."""
    began = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if not request.body:
            return b"answered"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            await trio.sleep_forever()
        raise AssertionError

    async def fail_when_cancelled() -> None:
        try:
            began.set()
            await trio.sleep_forever()
        finally:
            raise RemoteError("ABORTED")

    async with connected(handler) as both:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both.client.call, b"long")
            await began.wait()
            nursery.cancel_scope.cancel()
        assert (await both.client.call()).body == b"answered"
    assert caplog.records == []
