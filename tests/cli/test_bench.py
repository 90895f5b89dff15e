"""`pytofu bench`."""

import sys

import pytest

from pytofu import Holder, Message, OpCode
from pytofu.cli.bench import Load, bench, measure
from pytofu.cli.conversation import dial
from pytofu.cli.output import Output
from tests.cli.peers import POLITE, Printed, fails, peer
from tests.cli.terminal import Paper, Terminal
from tests.support import App

pytestmark = pytest.mark.timeout(30)  # it starts processes

LOADS = (Load(64, 2), Load(60_000, 1))


async def test_figures_for_machines() -> None:
    printed = Printed()
    await bench(LOADS, 0.02, printed.output)
    assert [(r["transport"], r["size"], r["outstanding"]) for r in printed.records] == [
        *(("TCP", 64, 2), ("TCP", 60_000, 1)),
        *(("UDS", 64, 2), ("UDS", 60_000, 1)),
    ]
    for record in printed.records:
        assert record["round_trips"] > 0
        assert 0 < record["p50_us"] <= record["p99_us"] <= record["max_us"]


async def test_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for file in (Paper(), Terminal()):
        await bench(LOADS[:1], 0.01, Output(file=file))
        assert "round trips/s" in file.getvalue()
        assert "UDS" in file.getvalue()


async def test_a_wrong_answer() -> None:
    def lie(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        app.post(OpCode.RESPONSE, message.channel_number, message.message_id, body=b"wrong")

    async with peer({**POLITE, OpCode.REQUEST: lie}) as address:
        with fails("not an answer to what was asked"):
            async with dial(address) as server:
                await measure(server, "TCP", LOADS[0], 1)


async def test_no_echo_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with fails("the echo server does not start"):
        await bench(LOADS, 0.01, Printed().output)
