"""What a peer asks (peers/answering.py): limits, the queue in front of them, hostile requests."""

from collections import Counter

import pytest
import trio
import trio.testing

from pytofu import (
    AmpeError,
    AmpeStatus,
    Incoming,
    NotSent,
    OpCode,
    Options,
    Peer,
    RemoteError,
    Topics,
    Unanswered,
    connect,
    open_ampe,
)
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import Stream
from tests.peers.pairs import counted, echo, scripted_client, serving
from tests.support import frame


class Gate:
    """A handler that waits until it is let go, and notes what goes on."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.running: list[bytes] = []
        self.cancelled: list[bytes] = []

    async def __call__(self, peer: Peer, request: Incoming) -> bytes:
        self.running.append(request.body[:10])
        try:
            await self.open.wait()
        except trio.Cancelled:
            self.cancelled.append(request.body[:10])
            raise
        return request.body


async def test_more_requests_than_are_carried_out_wait_and_other_peers_do_not() -> None:
    gate = Gate()
    async with (
        counted() as ampe,
        serving(gate, calls_per_peer=2, ampe=ampe) as where,
        scripted_client(where) as script,
    ):
        for number in range(9):
            await script.send(OpCode.REQUEST, number + 1, body=b"%d" % number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sorted(gate.running) == [b"0", b"1"]
        assert ampe.statistics().pool_free == 256 - 7
        async with connect(where) as other, trio.open_nursery() as nursery:
            nursery.start_soon(other.call, b"other")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert sorted(gate.running) == [b"0", b"1", b"other"]
            gate.open.set()
        bodies = {(await script.expect(OpCode.RESPONSE)).body for _ in range(9)}
        assert bodies == {b"%d" % number for number in range(9)}


async def test_giving_up_one_that_waits() -> None:
    gate = Gate()
    async with (
        counted() as ampe,
        serving(gate, calls_per_peer=1, ampe=ampe) as where,
        scripted_client(where) as script,
    ):
        for number in (1, 2, 3):
            await script.send(OpCode.REQUEST, number, body=b"%d" % number)
        await script.send(OpCode.SIGNAL, 2, b"tofu-cancel:1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert ampe.statistics().pool_free == 256 - 1
        await script.send(OpCode.SIGNAL, 1, b"tofu-cancel:1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert gate.running == [b"1", b"3"]
        assert gate.cancelled == [b"1"]
        gate.open.set()
        assert (await script.expect(OpCode.RESPONSE)).body == b"3"


async def test_whoever_goes_takes_along_what_waits() -> None:
    gate = Gate()
    async with counted() as ampe, serving(gate, calls_per_peer=1, ampe=ampe) as where:
        async with scripted_client(where) as script:
            for number in (1, 2, 2, 3):
                await script.send(OpCode.REQUEST, number, body=b"%d" % number)
            await script.send(OpCode.REQUEST, 9, b"tofu-stream:1\r\n", more=True)
            await script.send(OpCode.REQUEST, 4, body=b"part", more=True)
            await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert gate.cancelled == [b"1"]


async def test_the_time_runs_while_a_request_waits(autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate()
    async with serving(gate, calls_per_peer=1) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-timeout:2S\r\n", body=b"1")
        await script.send(OpCode.REQUEST, 2, b"tofu-timeout:1S\r\n", body=b"2")
        for ident in (1, 2):
            answer = await script.expect(OpCode.RESPONSE)
            assert answer.message_id == ident
            assert b"DEADLINE_EXCEEDED" in answer.text
    assert gate.running == [b"1"]


@pytest.mark.parametrize("late", [False, True])
async def test_the_deadline_of_one_is_not_that_of_the_next(
    late: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """One task carries out both, since the first ends without waiting, unless it ends too late."""
    tasks: set[trio.lowlevel.Task] = set()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        tasks.add(trio.lowlevel.current_task())
        if request.body == b"1" and late:
            autojump_clock.jump(2)
        elif request.body == b"2":
            await trio.sleep(2)
        return request.body

    async with serving(handler) as where, scripted_client(where) as script:
        first = frame(OpCode.REQUEST, 1, text=b"tofu-timeout:1S\r\n", body=b"1")
        await script.raw.send(first + frame(OpCode.REQUEST, 2, body=b"2"))
        answer = await script.expect(OpCode.RESPONSE)
        assert (b"DEADLINE_EXCEEDED" in answer.text, answer.body) == (late, b"" if late else b"1")
        assert (await script.expect(OpCode.RESPONSE)).body == b"2"
    assert len(tasks) == (2 if late else 1)


class Steps(trio.abc.Instrument):
    """Counts what Trio does without a turn for anybody else."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


async def test_a_long_row_of_handlers_leaves_others_their_turns() -> None:
    steps = Steps()
    seen: list[int] = []
    opened = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if not seen:
            await opened.wait()
        seen.append(steps.count)
        return b""

    async with (
        open_ampe(Options(initial_pool_msgs=4096, max_pool_msgs=4096)) as ampe,
        serving(handler, calls_per_peer=1, ampe=ampe) as where,
        scripted_client(where) as script,
    ):
        for number in range(400):
            await script.send(OpCode.REQUEST, number + 1)
        await trio.testing.wait_all_tasks_blocked(0.01)
        trio.lowlevel.add_instrument(steps)
        opened.set()
        for _ in range(400):
            await script.expect(OpCode.RESPONSE)
        trio.lowlevel.remove_instrument(steps)
    assert max(Counter(seen).values()) == 64


async def test_an_id_may_be_used_twice() -> None:
    gate = Gate()
    async with serving(gate) as where, scripted_client(where, b"") as script:
        for number in (1, 2):
            await script.send(OpCode.REQUEST, 5, body=b"%d" % number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        gate.open.set()
        bodies = {(await script.expect(OpCode.RESPONSE)).body for _ in range(2)}
        assert bodies == {b"1", b"2"}


async def test_an_id_of_zero_cannot_be_answered(caplog: pytest.LogCaptureFixture) -> None:
    topics = Topics()
    server = serving(topics=topics)
    async with server as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 0, body=b"0")
        await script.send(OpCode.REQUEST, 0, b"tofu-stream:1\r\n", more=True)
        await script.send(OpCode.REQUEST, 0, b"tofu-subscribe:a\r\ntofu-credit:9\r\n")
        await script.send(OpCode.REQUEST, 1, body=b"1")
        assert (await script.expect(OpCode.RESPONSE)).body == b"1"
        assert topics.publish("a", b"") == 0
    assert caplog.records == []


async def test_a_request_in_parts_that_is_given_up() -> None:
    async with serving() as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, body=b"1", more=True)
        await script.send(OpCode.SIGNAL, 1, b"tofu-cancel:1\r\n")
        await script.send(OpCode.REQUEST, 1, body=b"2")
        assert (await script.expect(OpCode.RESPONSE)).body == b"2"


@pytest.fixture
def small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies of 100,000 bytes at the most, unfinished ones of 200,000 in all."""
    monkeypatch.setattr("pytofu.peers.assembly.Budget.__init__.__defaults__", (200_000, 100_000))


@pytest.mark.usefixtures("small_bodies")
async def test_a_request_that_is_too_long() -> None:
    async with serving() as where, scripted_client(where) as script:
        for _ in range(5):
            await script.send(OpCode.REQUEST, 1, body=bytes(50_000), more=True)
        await script.send(OpCode.REQUEST, 1)
        assert b"RESOURCE_EXHAUSTED" in (await script.expect(OpCode.RESPONSE)).text
        await script.send(OpCode.REQUEST, 1, body=b"x")
        assert (await script.expect(OpCode.RESPONSE)).body == b"x"


@pytest.mark.usefixtures("small_bodies")
async def test_too_many_unfinished_requests_close_the_link() -> None:
    async with serving(echo) as where:
        async with scripted_client(where) as script:
            for ident in range(1, 5):
                await script.send(OpCode.REQUEST, ident, body=bytes(60_000), more=True)
            assert (await script.raw.ending())[0] == b""
        async with connect(where) as peer:
            await peer.call()
            assert peer.reason is AmpeStatus.SUCCESS


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("hears_of_it", ["before", "meanwhile"])
async def test_a_handler_whose_peer_goes_in_the_middle_of_its_stream_has_not_failed(
    hears_of_it: str, grouped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is its stream that tells it, or what ends it: whichever comes first."""
    go = trio.Event()
    raised: list[BaseException] = []

    async def send(stream: Stream) -> None:
        try:
            for _ in range(300):
                await stream.send(b"x")
        except BaseException as error:
            raised.append(error)
            raise

    async def handler(peer: Peer, request: Incoming) -> None:
        stream = request.stream
        assert stream is not None
        with trio.CancelScope(shield=hears_of_it == "before"):
            await go.wait()
        if grouped:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, stream)
        await send(stream)

    async with serving(handler) as where:
        for _ in range(8):  # who comes first is Trio's to choose
            go = trio.Event()
            async with scripted_client(where) as script:
                await script.send(OpCode.REQUEST, 1, b"tofu-stream:1\r\n", more=True)
                await trio.testing.wait_all_tasks_blocked(0.001)
                script.raw.reset()
                if hears_of_it == "before":
                    await trio.testing.wait_all_tasks_blocked(0.001)
                go.set()
                await trio.testing.wait_all_tasks_blocked(0.001)
    assert raised
    assert all(isinstance(error, trio.Cancelled | NotSent | Unanswered) for error in raised)
    assert caplog.records == []


async def test_a_handler_with_tasks_whose_peer_goes_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One hears of it by what it asks the peer, the other is cancelled at the same moment."""

    async def handler(peer: Peer, request: Incoming) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.call)
            nursery.start_soon(trio.sleep_forever)

    async with serving(handler) as where:
        async with scripted_client(where) as script:
            await script.send(OpCode.REQUEST, 1)
            await script.expect(OpCode.REQUEST)
        await trio.testing.wait_all_tasks_blocked(0.001)
    assert caplog.records == []


async def test_a_handler_that_cannot_reach_somebody_else_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(peer: Peer, request: Incoming) -> None:
        raise NotSent(AmpeError.CHANNEL_CLOSED, "another peer")

    async with serving(handler) as where, connect(where) as peer:
        with pytest.raises(RemoteError, match="INTERNAL"):
            await peer.call(b"")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_handler_that_cannot_reach_its_peer_has_not_failed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channel has ended, and nobody has received that yet."""
    asked = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> None:
        asked.set()
        raise NotSent(AmpeError.CHANNEL_CLOSED, "")

    monkeypatch.setattr(Outlet, "is_closed", True)
    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1)
        await asked.wait()
        await trio.testing.wait_all_tasks_blocked(0.001)
    assert caplog.records == []
