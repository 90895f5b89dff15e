"""`pytofu ping`."""

import os
import signal

import pytest
import trio

from pytofu import Holder, Message, OpCode
from pytofu.cli.endpoints import Target
from pytofu.cli.output import Output
from pytofu.cli.ping import Settings, ping
from pytofu.cli.running import CommandError
from tests.cli.peers import POLITE, Habits, Printed, peer, respond, say
from tests.cli.terminal import Paper, Terminal
from tests.support import App

ECHO: Habits = {**POLITE, OpCode.REQUEST: respond}


async def test_every_round_trip_and_a_summary() -> None:
    printed = Printed()
    async with peer(ECHO) as address:
        await ping(Target(address), Settings(count=3, interval=0.001, size=100), printed.output)
    *lines, summary = printed.records
    assert [(line["seq"], line["bytes"]) for line in lines] == [(1, 100), (2, 100), (3, 100)]
    assert (summary["sent"], summary["answered"], summary["loss"]) == (3, 3, 0)
    assert summary["min_ms"] <= summary["p50_ms"] <= summary["p99_ms"] <= summary["max_ms"]


async def test_for_people() -> None:
    file = Paper()
    async with peer(ECHO) as address:
        await ping(Target(address), Settings(count=2, interval=0.001), Output(file=file))
    first, second, blank, where, counts, times = file.getvalue().splitlines()
    assert first.startswith("56 bytes from tcp://127.0.0.1:")
    assert "seq=2 time=" in second
    assert blank == ""
    assert where.endswith(", 56 B ---")
    assert counts.startswith("2 sent, 2 answered, 0 % lost, ")
    assert times.startswith("min/mean/p50/p99/max = ")


async def test_what_is_lost() -> None:
    """Every second request is answered, and every other answer comes too late."""
    late: list[Holder[Message]] = []

    def tardy(app: App, holder: Holder[Message]) -> None:
        late.append(Holder(holder.take()))
        if len(late) == 2:
            for kept in late:
                respond(app, kept)

    printed = Printed()
    async with peer({**POLITE, OpCode.REQUEST: tardy}) as address:
        with pytest.raises(CommandError, match="1 of 2 requests were not answered"):
            await ping(
                Target(address), Settings(count=2, interval=0.06, timeout=0.05), printed.output
            )
    lost, answered, summary = printed.records
    assert lost == {"seq": 1, "lost": True}
    assert answered["seq"] == 2
    assert (summary["sent"], summary["answered"], summary["loss"]) == (2, 1, 0.5)


async def test_a_late_answer_is_dropped() -> None:
    def twice(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        for message_id in (message.message_id + 1000, message.message_id):
            app.post(OpCode.RESPONSE, message.channel_number, message_id)
        app.post(OpCode.RESPONSE, message.channel_number, message.message_id)

    printed = Printed()
    async with peer({**POLITE, OpCode.REQUEST: twice}) as address:
        await ping(Target(address), Settings(count=2, interval=0.05), printed.output)
    assert printed.records[-1]["answered"] == 2


async def test_the_server_goes() -> None:
    printed = Printed()
    async with peer({**POLITE, OpCode.REQUEST: say(OpCode.BYE_SIGNAL)}) as address:
        with pytest.raises(CommandError, match="closed the channel: the connection broke"):
            await ping(Target(address), Settings(), printed.output)
    assert printed.records[-1]["answered"] == 0


async def test_ctrl_c_ends_it_with_a_summary() -> None:
    printed = Printed()
    async with peer(ECHO) as address, trio.open_nursery() as nursery:
        nursery.start_soon(ping, Target(address), Settings(), printed.output)
        await printed.file.until('"seq"')
        os.kill(os.getpid(), signal.SIGINT)
    assert printed.records[-1]["answered"] == 1


async def test_flood_prints_a_summary_only() -> None:
    printed = Printed()
    async with peer(ECHO) as address:
        await ping(Target(address), Settings(count=100, flood=True), printed.output)
    (summary,) = printed.records
    assert summary["answered"] == 100


async def test_flood_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("pytofu.cli.output._REFRESH", 0.001)
    file = Terminal()
    async with peer(ECHO) as address, trio.open_nursery() as nursery:
        nursery.start_soon(ping, Target(address), Settings(flood=True), Output(file=file))
        await file.until("round trips, ", "/s, p50")
        signal.raise_signal(signal.SIGINT)
    assert "0 % lost" in file.getvalue()
