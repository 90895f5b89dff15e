"""Answers: their parts, their errors, and what comes too late (peers/calls.py, `Call`)."""

from math import inf
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pytofu import (
    BinaryHeader,
    Message,
    OpCode,
    RemoteError,
)
from pytofu.peers import wire
from pytofu.peers.asking import Asking
from pytofu.peers.assembly import Budget
from pytofu.peers.calls import Call
from pytofu.values.header import MORE_BIT
from tests.peers.pairs import (
    scripted_server,
)


async def test_parts_of_an_answer_and_of_others_may_be_mixed() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            ids = [(await script.expect(OpCode.REQUEST)).message_id for _ in range(2)]
            for number in range(3):
                for ident in ids:
                    body = b"%d-%d " % (ident, number)
                    await script.send(OpCode.RESPONSE, ident, body=body, more=number < 2)

        nursery.start_soon(answer)
        bodies = set()

        async def ask() -> None:
            bodies.add((await peer.call()).body)

        async with trio.open_nursery() as callers:
            callers.start_soon(ask)
            callers.start_soon(ask)
    assert bodies == {b"3-0 3-1 3-2 ", b"5-0 5-1 5-2 "}


@given(
    st.lists(st.binary(max_size=50), min_size=1, max_size=6),
    st.sampled_from([{}, {"tofu-status": "ABORTED", "tofu-message": "a%20b"}, {"a": "b"}]),
    st.integers(0, 400),
)
def test_an_answer_in_any_parts_is_one_outcome(
    parts: list[bytes], headers: dict[str, str], longest: int
) -> None:
    budget = Budget(100_000, longest)
    call = Call(budget, 3, inf)
    for number, part in enumerate(parts):
        more = MORE_BIT if number < len(parts) - 1 else 0
        message = Message(BinaryHeader(1, OpCode.RESPONSE | more, 0, 3), b"", part)
        assert call.error is None or sum(map(len, parts[:number])) > longest
        call.arrived(message, headers if not more else {})
        assert call.answer is None or not more
    body = b"".join(parts)
    if len(parts) > 1 and len(body) > longest:
        assert isinstance(call.error, RemoteError)
        assert call.error.code == "RESOURCE_EXHAUSTED"
    elif "tofu-status" in headers:
        assert isinstance(call.error, RemoteError)
        assert (str(call.error), call.error.body) == ("ABORTED: a b", body)
    else:
        assert call.error is None
        assert call.answer is not None
        assert call.answer.body == body
        assert call.answer.headers == ({} if len(parts) > 1 else headers)
    outcome = call.answer, call.error
    assert outcome != (None, None)
    call.fail(RemoteError("INTERNAL"))
    assert (call.answer, call.error) == outcome
    call.drop()
    assert budget.left == 100_000


async def test_an_error_at_the_end_of_parts_is_the_answer() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            ident = (await script.expect(OpCode.REQUEST)).message_id
            await script.send(OpCode.RESPONSE, ident, body=b"half", more=True)
            await script.send(OpCode.RESPONSE, ident, b"tofu-status:DATA_LOSS\r\n")

        nursery.start_soon(answer)
        with pytest.raises(RemoteError, match="DATA_LOSS"):
            await peer.call()


async def test_what_is_not_known_as_a_status_is_unknown() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            ident = (await script.expect(OpCode.REQUEST)).message_id
            await script.send(OpCode.RESPONSE, ident, b"tofu-status:WHAT\r\n")
            ident = (await script.expect(OpCode.REQUEST)).message_id
            await script.send(OpCode.RESPONSE, ident, b"tofu-status:OK\r\n")

        nursery.start_soon(answer)
        with pytest.raises(RemoteError, match="UNKNOWN"):
            await peer.call()
        await peer.call()


async def test_an_answer_that_is_too_long_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        monkeypatch.setattr(peer._link._budget, "longest", 100_000)

        async def answer() -> None:
            ident = (await script.expect(OpCode.REQUEST)).message_id
            for _ in range(4):
                await script.send(OpCode.RESPONSE, ident, body=bytes(50_000), more=True)
            await script.send(OpCode.RESPONSE, ident)
            await script.send(OpCode.SIGNAL, 3, body=b"next")

        nursery.start_soon(answer)
        with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED: the answer is too long"):
            await peer.call()
        # What still came of it is nobody's.
        assert (await anext(peer.messages)).body == b"next"
        assert peer._link._budget.left == 4 * wire.MAX_BODY


async def test_answers_after_the_answer_are_dropped() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            ident = (await script.expect(OpCode.REQUEST)).message_id
            for body in b"12":
                await script.send(OpCode.RESPONSE, ident, body=bytes([body]))

        nursery.start_soon(answer)
        assert (await peer.call()).body == b"1"


async def test_an_outcome_that_is_there_before_anybody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long request may be answered while its last parts are still on their way out."""
    sent = Asking._ask
    scope = trio.CancelScope()

    async def answered_meanwhile(asking: Asking, *what: Any) -> Call:
        call = await sent(asking, *what)
        call.fail(RemoteError("ABORTED"))
        scope.cancel()
        return call

    async with scripted_server() as (peer, _):
        monkeypatch.setattr(Asking, "_ask", answered_meanwhile)
        with scope:
            await peer.call(bytes(70_000))
        assert scope.cancelled_caught
        with trio.testing.assert_checkpoints(), pytest.raises(RemoteError, match="ABORTED"):
            await peer.call(bytes(70_000))
        assert not peer._link.asking._open


async def test_a_long_request_to_who_knows_no_deadlines_says_none() -> None:
    async with scripted_server(b"") as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            first = await script.expect(OpCode.REQUEST)
            assert (len(first.body), first.text) == (65_535, b"")
            last = await script.expect(OpCode.REQUEST)
            assert len(last.body) == 70_000 - 65_535
            await script.send(OpCode.RESPONSE, first.message_id, body=b"answer")

        nursery.start_soon(answer)
        with trio.fail_after(5):
            assert (await peer.call(bytes(70_000))).body == b"answer"
