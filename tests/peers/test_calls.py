"""Calls: answers, errors, deadlines, cancellation, limits (peers/calls.py)."""

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pytofu import (
    BinaryHeader,
    Incoming,
    Message,
    NotSent,
    OpCode,
    Peer,
    RemoteError,
    Reply,
    Unanswered,
    connect,
)
from pytofu.peers import wire
from pytofu.peers.assembly import Budget
from pytofu.peers.calls import Call
from pytofu.values.header import MORE_BIT
from tests.peers.pairs import (
    TCP,
    connected,
    echo,
    scripted_client,
    scripted_server,
    serving,
)
from tests.support import ServerAddress


async def test_a_call_is_answered(address: ServerAddress) -> None:
    async def greet(peer: Peer, request: Incoming) -> Reply:
        assert request.method == "greet"
        assert request.headers == {"who": "me"}
        assert request.stream is None
        return Reply(b"hello " + request.body, {"mood": "good"})

    async with connected(greet, address) as both:
        answer = await both.client.call(b"you", {"who": "me"}, method="greet")
    assert answer == Incoming(b"hello you", {"mood": "good"})


@pytest.mark.parametrize("length", [0, 1, 65_535, 65_536, 131_070, 1_000_001])
async def test_bodies_of_any_length(length: int, address: ServerAddress) -> None:
    body = bytes(i % 251 for i in range(1000)) * (length // 1000 + 1)
    async with connected(address=address) as both:
        answer = await both.client.call(body[:length], {"a": "b"})
        assert answer.body == body[:length]


async def test_many_calls_at_once_are_answered_each_with_its_own() -> None:
    async with connected(calls_per_peer=7) as both, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            body = b"%d" % number * (20_000 if number % 10 == 0 else 1)
            assert (await both.client.call(body)).body == body

        for number in range(100):
            nursery.start_soon(ask, number)


async def test_the_server_calls_the_client() -> None:
    async def forward(peer: Peer, request: Incoming) -> bytes:
        return (await peer.call(request.body + b"!")).body

    async def client(peer: Peer, request: Incoming) -> bytes:
        return request.body.upper()

    async with connected(forward, client_handler=client) as both:
        assert (await both.client.call(b"a")).body == b"A!"


async def test_nothing_is_also_an_answer_and_so_is_what_can_be_bytes() -> None:
    answers = iter([None, bytearray(b"1"), memoryview(b"2")])

    async def handler(peer: Peer, request: Incoming) -> bytes:
        return next(answers)  # type: ignore[return-value]

    async with connected(handler) as both:
        assert [(await both.client.call()).body for _ in range(3)] == [b"", b"1", b"2"]


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("text", ["", "no\r\nsuch: thing%41", "ünïcödé ", "\ud800"])
async def test_a_declared_error_arrives_as_it_is(text: str) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise RemoteError("NOT_FOUND", text, b"body")

    async with connected(handler) as both:
        with pytest.raises(RemoteError) as caught:
            await both.client.call()
    assert (caught.value.code, caught.value.body) == ("NOT_FOUND", b"body")
    assert caught.value.text == text.replace("\ud800", "?")


async def test_a_code_that_does_not_exist_is_unknown() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise RemoteError("OH\r\nNO")

    async with connected(handler) as both:
        with pytest.raises(RemoteError, match=r"^UNKNOWN$"):
            await both.client.call()


async def fails(peer: Peer, request: Incoming) -> bytes:
    raise ValueError("the inside")


async def answers_text(peer: Peer, request: Incoming) -> bytes:
    return "text"  # type: ignore[return-value]


async def answers_wrong_header(peer: Peer, request: Incoming) -> Reply:
    return Reply(b"", {"tofu-status": "OK"})


async def answers_impossible_header(peer: Peer, request: Incoming) -> Reply:
    return Reply(b"", {"a": "b\r\nc: d"})


async def fails_in_a_group(peer: Peer, request: Incoming) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, peer, request)
    raise AssertionError


@pytest.mark.parametrize(
    "handler",
    [fails, answers_text, answers_wrong_header, answers_impossible_header, fails_in_a_group],
)
async def test_any_other_error_is_internal_and_logged(
    handler: Callable[[Peer, Incoming], Awaitable[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(handler) as both:
        with pytest.raises(RemoteError) as caught:
            await both.client.call(b"", method="do")
        assert (caught.value.code, caught.value.text) == ("INTERNAL", "the handler failed")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("pytofu.peers", logging.ERROR)
    assert "'do'" in record.getMessage()
    assert record.exc_info is not None


async def test_an_answer_that_is_too_long_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        return bytes(11)

    async with connected(handler) as both:
        both.server._link._budget.longest = 10
        with pytest.raises(RemoteError, match="INTERNAL"):
            await both.client.call()
        assert "an answer of 11 bytes: 10 are the most" in caplog.text


async def test_without_a_handler_a_call_is_unimplemented() -> None:
    async with connected(None) as both:
        with pytest.raises(RemoteError, match="UNIMPLEMENTED"):
            await both.client.call()
        with pytest.raises(RemoteError, match="UNIMPLEMENTED"):
            await both.server.call()


@pytest.mark.parametrize("name", ["tofu-timeout", "~connect_to"])
async def test_headers_of_the_conventions_are_refused(name: str) -> None:
    async with connected() as both:
        with pytest.raises(ValueError, match=name):
            await both.client.call(b"", {name: "1"})
        assert (await both.client.call(b"1")).body == b"1"


async def test_a_body_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as both:
        with pytest.raises(ValueError, match="67108865"):
            await both.client.call(bytes(wire.MAX_BODY + 1))


# ---------------------------------------------------------------------- deadlines, cancellation


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


# ---------------------------------------------------------------------- not sent, or in doubt


async def test_no_answer_before_the_end_is_in_doubt() -> None:
    async with scripted_server() as (peer, script):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(Unanswered) as caught:
                    await peer.call()
                assert isinstance(caught.value, ConnectionError)

            nursery.start_soon(ask)
            await script.expect(OpCode.REQUEST)
            script.raw.close()
        assert peer.closed.is_set()
        with pytest.raises(NotSent):
            await peer.call()
        with pytest.raises(NotSent):
            await peer.signal()


async def test_what_comes_back_was_not_sent(address: ServerAddress) -> None:
    """More than the sockets take, to a peer that does not read."""
    outcomes: list[type[Exception]] = []
    async with scripted_server(address=address, receive_buffer=4096) as (peer, script):

        async def ask() -> None:
            try:
                await peer.call(bytes(60_000))
            except (NotSent, Unanswered) as error:
                outcomes.append(type(error))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.01)
            whole = await script.expect(OpCode.REQUEST)
            assert len(whole.body) == 60_000
            script.raw.close()
    assert set(outcomes) == {NotSent, Unanswered}
    assert len(outcomes) == 100


async def test_a_request_of_which_the_last_part_is_unsent_was_not_sent() -> None:
    server = scripted_server(receive_buffer=4096)
    async with server as (peer, script), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(NotSent):
                await peer.call(bytes(20_000_000))

        nursery.start_soon(ask)
        await script.expect(OpCode.REQUEST)
        script.raw.close()


# ---------------------------------------------------------------------- peers made by hand


async def test_a_peer_that_echoes_and_knows_nothing_of_this_answers_calls() -> None:
    async with scripted_server(b"tofu-features:client calls=0\r\n") as (peer, script):
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                for _ in range(2):
                    request = await script.expect(OpCode.REQUEST)
                    await script.send(
                        OpCode.RESPONSE, request.message_id, request.text, body=request.body
                    )

            nursery.start_soon(answer)
            with trio.move_on_after(60):
                assert await peer.call(b"x") == Incoming(b"x")
                answer_2 = await peer.call(b"y", {"a": "b"}, method="m")
        assert answer_2 == Incoming(b"y", {"a": "b"})


async def test_a_call_to_such_a_peer_that_is_cancelled_sends_nothing_more() -> None:
    async with scripted_server(b"") as (peer, script):
        with trio.move_on_after(0.01):
            await peer.call(b"x")
        await peer.signal(b"s")
        await script.expect(OpCode.REQUEST)
        assert (await script.expect(OpCode.SIGNAL)).body == b"s"


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
    call = Call(budget)
    for number, part in enumerate(parts):
        more = MORE_BIT if number < len(parts) - 1 else 0
        message = Message(BinaryHeader(1, OpCode.RESPONSE | more, 0, 3), b"", part)
        assert not call.done.is_set() or sum(map(len, parts[:number])) > longest
        call.arrived(message, headers if not more else {})
    assert call.done.is_set()
    body = b"".join(parts)
    if len(parts) > 1 and len(body) > longest:
        with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED"):
            call.outcome()
    elif "tofu-status" in headers:
        with pytest.raises(RemoteError, match=r"^ABORTED: a b$") as caught:
            call.outcome()
        assert caught.value.body == body
    else:
        assert call.outcome().body == body
    call.fail(RemoteError("INTERNAL"))
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


async def test_connecting_again_and_again_leaves_nothing() -> None:
    async with serving(echo, TCP) as where:
        for _ in range(3):
            async with connect(where) as peer:
                assert (await peer.call(b"x")).body == b"x"
