"""`pytofu listen`."""

import trio

from pytofu import Incoming
from pytofu.cli.call import call
from pytofu.cli.listen import Listener
from pytofu.cli.output import Output
from pytofu.cli.peering import reach
from tests.cli.peers import Printed, fails, listening
from tests.cli.terminal import Paper


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


async def test_what_was_dropped_is_said() -> None:
    file = Paper()
    async with trio.open_nursery() as nursery:
        listener = Listener(None, Output(file=file), nursery)
        listener.show("message", Incoming(b"x", missed=1_000))
    assert file.getvalue() == "message (behind 1,000 that were dropped): x\n"
