"""Calls: answers, errors, deadlines, cancellation, limits (peers/calls.py)."""

import logging
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from pytofu import (
    Incoming,
    NotSent,
    OpCode,
    Peer,
    RemoteError,
    Reply,
    Unanswered,
    connect,
)
from pytofu.peers import wire
from tests.peers.pairs import (
    TCP,
    connected,
    echo,
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


async def answers_endless_header(peer: Peer, request: Incoming) -> Reply:
    return Reply(b"", {"a": "b" * 70_000})


async def fails_in_a_group(peer: Peer, request: Incoming) -> bytes:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, peer, request)
    raise AssertionError


@pytest.mark.parametrize(
    "handler",
    [
        fails,
        answers_text,
        answers_wrong_header,
        answers_impossible_header,
        answers_endless_header,
        fails_in_a_group,
    ],
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


async def test_a_second_answer_to_the_hello_changes_nothing() -> None:
    """Else whoever waits for a slot would not hear of those that it brings."""
    features = b"tofu-features:server calls=1\r\n"
    async with scripted_server(features) as (peer, script), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(peer.call)
        await trio.testing.wait_all_tasks_blocked()
        await script.send(OpCode.HELLO_RESPONSE, 1, features)
        for _ in range(3):
            asked = await script.expect(OpCode.REQUEST)
            await script.send(OpCode.RESPONSE, asked.message_id)


async def test_connecting_again_and_again_leaves_nothing() -> None:
    async with serving(echo, TCP) as where:
        for _ in range(3):
            async with connect(where) as peer:
                assert (await peer.call(b"x")).body == b"x"
