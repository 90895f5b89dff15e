"""Peers of the command line: who cannot be reached, who refuses, who goes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from pytofu import Incoming, OpCode, Peer, RemoteError, Topics, serve
from pytofu.cli.call import call
from pytofu.cli.endpoints import Target
from pytofu.cli.listen import listen
from pytofu.cli.output import Output
from pytofu.cli.peering import reach
from pytofu.cli.subscribe import subscribe
from pytofu.peers.peer import Handler
from pytofu.values.address_text import client_address, server_address
from tests.cli.peers import POLITE, Printed, fails, peer, say, until_ctrl_c
from tests.cli.terminal import Paper


@asynccontextmanager
async def serving(
    handler: Handler | None = None, *, topics: Topics | None = None
) -> AsyncGenerator[Target]:
    """A server; where to reach it."""
    async with trio.open_nursery() as nursery:
        work = partial(serve, handler, "tcp://127.0.0.1:0", topics=topics, grace=0)
        (bound,) = await nursery.start(work)
        yield Target(client_address(bound))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def listening(reply: bytes | None, output: Output) -> AsyncGenerator[Target]:
    """`listen`, until Ctrl-C; where to reach it."""
    addresses = [server_address("tcp://127.0.0.1:0")]

    async def command(task_status: trio.TaskStatus[object]) -> None:
        await listen(addresses, reply, output, task_status=task_status)

    async with until_ctrl_c(command) as (bound,):
        yield Target(client_address(bound))


# ---------------------------------------------------------------------- call


async def test_a_call_for_people_and_for_machines() -> None:
    seen: list[Incoming] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(request)
        return b'{"odd": "\\u001b[2J"}' if request.method == "value" else b"\x1b[2J"

    file, printed = Paper(), Printed()
    async with serving(handler) as target:
        await call(target, "value", b"[1]", 5, Output(file=file))
        await call(target, "bytes", b"{}", 5, Output(file=file))
        await call(target, "value", b"[1]", 5, printed.output)
    assert [(one.method, one.body) for one in seen[:2]] == [("value", b"[1]"), ("bytes", b"{}")]
    assert seen[0].headers == {"content-type": "application/json"}
    *value, dump = file.getvalue().splitlines()
    assert value == ["{", '  "odd": "\\u001b[2J"', "}"]
    assert dump.startswith("0000  1b 5b 32 4a")
    (record,) = printed.records
    assert record["value"] == {"odd": "\x1b[2J"}
    assert record["method"] == "value"


async def test_what_a_handler_refuses_is_the_reason() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise RemoteError("NOT_FOUND", "no\x1b[2J such thing")

    async with serving(handler) as target:
        with fails(r"^tcp://127.0.0.1:\d+: NOT_FOUND: no\\x1b\[2J such thing$"):
            await call(target, "x", b"", 5, Printed().output)


@pytest.mark.parametrize("code", ["", "DEADLINE_EXCEEDED"])
async def test_no_answer_in_time(code: str) -> None:
    """Whoever of the two sees it first."""

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if code:
            raise RemoteError(code)
        await trio.sleep_forever()
        raise AssertionError

    async with serving(handler) as target:
        with fails(r"^no answer from tcp://.* within 0\.05 s$"):
            await call(target, "x", b"", 0.05, Printed().output)


async def test_a_server_that_goes() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_SIGNAL)}
    async with peer(habits) as address:
        with fails(r"^tcp://.* closed the channel: "):
            await call(Target(address), "x", b"", 5, Printed().output)


async def test_a_channel_that_is_closed_takes_nothing() -> None:
    async with serving() as target:
        with fails(r"^tcp://.* took nothing: "):
            async with reach(target) as server:
                await server.bye()
                await server.call()


async def test_a_server_that_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    target = Target(client_address("mem://nobody-there"), wait=30)
    started = trio.current_time()
    with fails("cannot connect to mem://nobody-there"):
        await call(target, "x", b"", 5, Printed().output)
    assert trio.current_time() - started == 30


# ---------------------------------------------------------------------- listen


async def test_what_comes_is_printed_harmlessly() -> None:
    file, log = Paper(), Printed()
    for output in (Output(file=file), log.output):
        async with listening(b"\x00yes", output) as target, reach(target) as server:
            answer = await server.call(b"1\n2\x1b[2J", {"a": "\x9b"}, method="add\x9b")
            assert answer.body == b"\x00yes"
            assert (await server.call()).body == b"\x00yes"
            for _ in range(3):
                await server.signal(b"\xff", {"b": "c"})
    listening_, *lines, summary = file.getvalue().splitlines()
    assert listening_.startswith("listening on tcp://127.0.0.1:")
    assert lines == [
        "call add\\x9b a=\\x9b: 1\\n2\\x1b[2J",
        "call",
        *["message b=c: (1 byte) ff"] * 3,
    ]
    assert summary == "2 calls, 3 other messages"
    records = log.records
    assert [record["event"] for record in records] == [
        *("listening", "call", "call", "message", "message", "message", "summary"),
    ]
    assert (records[1]["method"], records[1]["headers"]) == ("add\x9b", {"a": "\x9b"})


async def test_without_a_reply_nobody_is_to_believe_that_anything_was_done() -> None:
    async with listening(None, Printed().output) as target:
        with fails("UNIMPLEMENTED: it was printed, and nothing else"):
            await call(target, "x", b"", 5, Printed().output)


async def test_a_stream_is_refused() -> None:
    async with listening(b"yes", Printed().output) as target:
        with fails("UNIMPLEMENTED"):
            async with reach(target) as server, server.stream() as stream:
                await anext(stream)


# ---------------------------------------------------------------------- subscribe


async def test_what_is_published_and_what_was_missed() -> None:
    topics = Topics(keep=1)
    file, printed = Paper(), Printed()
    async with serving(topics=topics) as target:
        for output, paper in ((Output(file=file), file), (printed.output, printed.file)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe, target, "news.>", 2, 5.0, output)
                await paper.until("subscribed")
                # More than the window, so that it waits for the subscriber to read.
                for _ in range(3):
                    topics.publish("news.big", bytes(40_000))
                topics.publish("news.a", b"\x1b[2J")
    head, big, missed, last, summary = file.getvalue().splitlines()
    assert head == "subscribed to news.>"
    assert big.startswith("news.big: ")
    assert missed == "missed 2 messages"
    assert last == "news.a: \\x1b[2J"
    assert summary == "2 messages, 2 missed"
    assert [record.get("missed") for record in printed.records] == [None, 0, 2, 2]
    assert printed.records[2]["topic"] == "news.a"


async def test_ctrl_c_ends_it_with_a_summary() -> None:
    printed = Printed()

    async def command(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await subscribe(target, "a", None, 5, printed.output)

    async with serving(topics=Topics()) as target, until_ctrl_c(command):
        await printed.file.until("subscribed")
    assert printed.records[-1] == {"event": "summary", "messages": 0, "missed": 0}


async def test_a_publisher_that_is_quiet() -> None:
    async with serving(topics=Topics()) as target:
        with fails(r"^nothing from tcp://.* within 0\.05 s$"):
            await subscribe(target, "a", None, 0.05, Printed().output)


async def test_a_server_that_publishes_nothing() -> None:
    async with serving() as target:
        with fails(r"^tcp://.*: UNIMPLEMENTED"):
            await subscribe(target, "a", None, 5, Printed().output)
