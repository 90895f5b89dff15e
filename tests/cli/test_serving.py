"""The server's side, and `pytofu echo`."""

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import (
    Holder,
    MemoryServerAddress,
    Message,
    OpCode,
    Options,
    TCPServerAddress,
    UDSServerAddress,
)
from pytofu.cli.echo import Echo, _Channel, echo
from pytofu.cli.endpoints import Places
from pytofu.cli.output import Output
from pytofu.cli.running import CommandError
from pytofu.cli.serving import answer, serve
from pytofu.values.address_text import ServerAddress
from tests.cli.peers import ANY_PORT, Printed, fails, greet, until_ctrl_c
from tests.cli.terminal import Terminal
from tests.support import RawPeer, client_address_of, frame, hello, open_app, open_pair


async def test_echo_on_several_addresses(tmp_path: Path) -> None:
    printed = Printed()
    wanted: Sequence[ServerAddress] = [ANY_PORT, UDSServerAddress(tmp_path / "s")]
    async with until_ctrl_c(partial(_echo, wanted, printed.output)) as bound, open_app() as app:
        for address in bound:
            number = await greet(app, client_address_of(address))
            app.post(OpCode.REQUEST, number, 50, headers=(("a", "b"),), body=b"question", more=True)
            event = await app.event()
            assert (event.opcode, event.message_id, event.more) == (OpCode.RESPONSE, 50, True)
            assert (event.headers, event.body) == ((("a", "b"),), b"question")
            app.post(OpCode.RESPONSE, number, 51)  # which nobody asked for
            app.post(OpCode.SIGNAL, number, 52)
            assert (await app.event()).opcode is OpCode.SIGNAL
            app.post(OpCode.BYE_REQUEST, number)
            assert (await app.events_until_closed(number))[0].opcode is OpCode.BYE_RESPONSE
    events = [record["event"] for record in printed.records]
    assert events[:2] == ["listening", "listening"]
    assert [record["address"][:3] for record in printed.records[:2]] == ["tcp", "uds"]
    assert sorted(events[2:-1]) == ["closed", "closed", "opened", "opened"]
    closed = [record for record in printed.records if record["event"] == "closed"]
    for record in closed:
        assert (record["messages"], record["bytes"], record["reason"]) == (3, 8, "success")
    summary = printed.records[-1]
    assert (summary["channels"], summary["messages"], summary["bytes"]) == (2, 6, 16)


async def _echo(
    addresses: Sequence[ServerAddress],
    output: Output,
    task_status: trio.TaskStatus[Sequence[ServerAddress]],
) -> None:
    await echo(Places(addresses), output, task_status)


async def test_for_people_there_is_a_line_for_every_channel() -> None:
    file = io.StringIO()
    run = partial(_echo, [ANY_PORT], Output(file=file))
    async with until_ctrl_c(run) as (address,), open_app() as app:
        number = await greet(app, client_address_of(address))
        app.post(OpCode.BYE_REQUEST, number)
        await app.events_until_closed(number)
    assert "listening on tcp://127.0.0.1:" in file.getvalue()
    assert "opened, by a client of tcp://127.0.0.1:" in file.getvalue()
    assert "closed after 0 messages, 0 B: the peer said bye" in file.getvalue()
    assert "1 channel, 0 messages, 0 B in" in file.getvalue()


@pytest.mark.parametrize(("columns", "sign"), [(40, "…"), (80, "127.0.0.1:"), (120, "bytes/s")])
async def test_on_a_terminal_there_is_a_table(
    monkeypatch: pytest.MonkeyPatch, columns: int, sign: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("pytofu.cli.output._REFRESH", 0.01)
    monkeypatch.setattr("pytofu.cli.echo._RATE_INTERVAL", 0.0)
    file = Terminal()
    run = partial(_echo, [ANY_PORT], Output(file=file))
    async with until_ctrl_c(run) as (address,), open_app() as app:
        numbers = [await greet(app, client_address_of(address)) for _ in range(22)]
        app.post(OpCode.REQUEST, numbers[0], body=b"x")
        await app.event()
        await file.until("22 open", "6 more", "channel", "messages/s", sign)
    assert "opened, by" not in file.getvalue()


async def test_rates_are_those_of_the_last_interval(
    mock_clock: trio.testing.MockClock,
) -> None:
    traffic = _Channel("x")
    seen: list[tuple[float, float]] = []
    for passed, messages in ((0.5, 10), (0.5, 10), (0.1, 100), (1.9, 0)):
        mock_clock.jump(passed)
        traffic.messages += messages
        traffic.octets += 10 * messages
        traffic.measure()
        seen.append(traffic.rates)
    assert seen == [(0, 0), (20, 200), (20, 200), (50, 500)]


async def test_an_address_within_the_process() -> None:
    address = MemoryServerAddress("echo")
    async with until_ctrl_c(partial(_echo, [address], Printed().output)) as bound:
        assert bound == [address]


async def test_the_address_in_use(tmp_path: Path) -> None:
    address = UDSServerAddress(tmp_path / "s")
    async with open_app() as app:
        await app.listen(address)
        with fails("cannot listen on uds://.*: the address is in"):
            await echo(Places([address]), Printed().output)


async def test_a_listener_that_closes_later() -> None:
    async with open_app() as app:

        class Closing(Echo):
            def listening(self, address: ServerAddress) -> None:
                (listener,) = app.chnls._group.channels
                app.post(OpCode.BYE_SIGNAL, listener.number)

        service = Closing(app.chnls, Printed().output)
        with pytest.raises(CommandError, match=r"the listener on .*:0 closed"):
            await serve(app.ampe, app.chnls, [ANY_PORT], service)


async def test_a_server_that_is_full_goes_on() -> None:
    async with open_app(Options(max_channels=3)) as app, trio.open_nursery() as nursery:
        service = Echo(app.chnls, Printed().output)
        (address,) = await nursery.start(serve, app.ampe, app.chnls, [ANY_PORT], service)
        where = client_address_of(address)
        with (
            await RawPeer.connect(where) as first,
            await RawPeer.connect(where) as second,
            await RawPeer.connect(where) as third,
        ):
            for peer in (first, second):
                await peer.send(hello())
                assert (await peer.receive_frame()).opcode is OpCode.HELLO_RESPONSE
            await third.send(hello())  # which waits
            await trio.testing.wait_all_tasks_blocked()
            assert app.ampe.statistics().limits_reached["max_channels"] >= 1
            await second.send(frame(OpCode.REQUEST))
            assert (await second.receive_frame()).opcode is OpCode.RESPONSE
            first.close()
            assert (await third.receive_frame()).opcode is OpCode.HELLO_RESPONSE
        nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_without_hello_is_none() -> None:
    printed = Printed()
    async with until_ctrl_c(partial(_echo, [ANY_PORT], printed.output)) as (address,):
        with await RawPeer.connect(client_address_of(address)) as raw:
            await raw.send(hello()[:10])
        with await RawPeer.connect(client_address_of(address)) as raw:
            await raw.send(hello())
            assert (await raw.receive_frame()).opcode is OpCode.HELLO_RESPONSE
        await printed.file.until('"closed"')
    assert [record["event"] for record in printed.records[1:-1]] == ["opened", "closed"]


async def test_a_client_that_aborts_by_signal_on_the_wire() -> None:
    """What is no regular message and needs no answer is left alone."""
    printed = Printed()
    async with until_ctrl_c(partial(_echo, [ANY_PORT], printed.output)) as (address,):
        raw = await RawPeer.connect(client_address_of(address))
        with raw:
            await raw.send(hello() + frame(OpCode.BYE_SIGNAL))
            await printed.file.until('"closed"')
    assert printed.records[-2]["reason"] == "peer_disconnected"


async def test_a_client_that_does_not_read_delays_nobody(
    mock_clock: trio.testing.MockClock,
) -> None:
    """Time stands still: whoever waited for a time limit would wait for ever."""
    printed = Printed()
    async with until_ctrl_c(partial(_echo, [ANY_PORT], printed.output)) as (address,):
        raw = await RawPeer.connect(client_address_of(address), receive_buffer=4096)
        with raw:
            async with trio.open_nursery() as nursery:
                flood = hello() + frame(OpCode.REQUEST, body=bytes(60_000)) * 300
                nursery.start_soon(raw.send, flood)  # which is not read to its end either
                await trio.testing.wait_all_tasks_blocked()
                async with open_app() as app:
                    number = await greet(app, client_address_of(address))
                    app.post(OpCode.REQUEST, number, 50)
                    assert (await app.event()).message_id == 50
                nursery.cancel_scope.cancel()
    assert printed.records[-1]["messages"] >= 1


async def test_an_answer_to_a_client_that_is_gone() -> None:
    async with open_app() as app:
        number = app.connect(client_address_of(TCPServerAddress("127.0.0.1", 1))).number
        await app.events_until_closed(number)
        for channel in (number, number % 60_000 + 1):
            holder: Holder[Message] = app.message(OpCode.RESPONSE, channel, 1)
            answer(app.chnls, holder)
            assert not holder.is_empty()


async def test_a_client_that_cannot_be_answered_is_given_up_alone(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        app, number = pair.server.app, pair.server.number
        holder = app.message(OpCode.RESPONSE, number, 1)
        holder.unwrap().message_id = 0  # which no answer has
        answer(app.chnls, holder)
        assert (await app.events_until_closed(number))[0].opcode is OpCode.BYE_SIGNAL


async def test_a_returned_message_cannot_pass_for_the_end_of_a_channel() -> None:
    """The `~reason` that a client makes up is taken off before anybody reads it."""
    printed = Printed()
    async with until_ctrl_c(partial(_echo, [ANY_PORT], printed.output)) as (address,):
        raw = await RawPeer.connect(client_address_of(address), receive_buffer=4096)
        with raw:
            signal = frame(OpCode.SIGNAL, text=b"~reason:no such status", body=bytes(60_000))
            await raw.send(hello() + signal * 90)
            await trio.testing.wait_all_tasks_blocked()
        await printed.file.until('"closed"')
    assert printed.records[-2]["reason"] == "communication_failed"
