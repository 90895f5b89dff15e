"""Reconnecting (peers/reconnect.py): what waits, what is repeated, what is in doubt."""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from pytofu import (
    AllocationFailedException,
    AmpeError,
    AmpeException,
    AmpeStatus,
    Backoff,
    ConnectError,
    Incoming,
    NotSent,
    OpCode,
    Peer,
    RemoteError,
    Topics,
    Unanswered,
    connect,
)
from pytofu.peers.subscriptions import Subscription
from tests.peers.faults import restartable
from tests.peers.pairs import TCP, Script, echo, serving
from tests.support import RawListener

QUICK = Backoff(first=0.001, longest=0.01)


# ---------------------------------------------------------------------- calls


@pytest.mark.parametrize("abruptly", [False, True])
async def test_calls_wait_while_the_server_is_away(abruptly: bool) -> None:
    async with restartable(echo) as server, connect(server.where, reconnect=QUICK) as peer:
        for number in range(3):
            assert (await peer.call(b"%d" % number)).body == b"%d" % number
            assert peer.connected
            await server.down(abruptly=abruptly)
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    assert (await peer.call(b"waited")).body == b"waited"

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                assert not peer.connected
                await server.up()
        assert not peer.closed.is_set()
    assert peer.closed.is_set()


async def test_entering_waits_for_the_server() -> None:
    with RawListener(TCP) as listener:
        where = listener.client_address
    with trio.move_on_after(0.05) as scope:
        async with connect(where, reconnect=QUICK):
            raise AssertionError
    assert scope.cancelled_caught
    with pytest.raises(ConnectError):
        async with connect(where):
            raise AssertionError


async def test_what_is_in_doubt_is_repeated_only_if_it_may_be() -> None:
    started = trio.Event()
    counts: Counter[bytes] = Counter()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        counts[request.body] += 1
        if counts[request.body] == 1:
            if len(counts) == 2:
                started.set()
            await trio.sleep_forever()
        return b"done"

    async with restartable(handler) as server, connect(server.where, reconnect=QUICK) as peer:
        async with trio.open_nursery() as nursery:

            async def once() -> None:
                with pytest.raises(Unanswered):
                    await peer.call(b"once")

            async def repeated() -> None:
                assert (await peer.call(b"repeated", idempotent=True)).body == b"done"

            nursery.start_soon(once)
            nursery.start_soon(repeated)
            await started.wait()
            await server.down(abruptly=True)
            await server.up()
        assert counts == {b"once": 1, b"repeated": 2}


async def test_a_server_that_drains_is_left_at_once_for_the_next() -> None:
    """What it refuses is repeated, while what it still works on is answered."""
    gate, started = trio.Event(), trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if request.body == b"slow":
            started.set()
            await gate.wait()
        return request.body

    async with (
        restartable(handler) as server,
        connect(server.where, reconnect=QUICK) as peer,
        trio.open_nursery() as nursery,
    ):

        async def slow() -> None:
            assert (await peer.call(b"slow")).body == b"slow"

        nursery.start_soon(slow)
        await started.wait()
        server.peers[0]._link.answering.refusing = True
        assert (await peer.call(b"quick")).body == b"quick"
        assert len(server.peers) == 2
        gate.set()


async def test_the_hook_is_run_on_each_connection_before_anything_else() -> None:
    seen: list[bytes] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(request.body)
        return b""

    async def log_in(peer: Peer) -> None:
        await peer.call(b"log in")

    async with (
        restartable(handler) as server,
        connect(server.where, reconnect=QUICK, on_peer=log_in) as peer,
    ):
        await peer.call(b"1")
        await server.down()
        await server.up()
        await peer.call(b"2")
    assert seen == [b"log in", b"1", b"log in", b"2"]


async def test_a_hook_without_reconnect() -> None:
    seen: list[Peer] = []

    async def hook(peer: Peer) -> None:
        seen.append(peer)
        await peer.call(b"x")

    async with restartable(echo) as server, connect(server.where, on_peer=hook) as peer:
        assert seen == [peer]


async def test_a_hook_whose_connection_ends_is_run_on_the_next() -> None:
    attempts = 0

    async def hook(peer: Peer) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            peer._link.abort()
        await peer.call(b"x")

    async with (
        restartable(echo) as server,
        connect(server.where, reconnect=QUICK, on_peer=hook),
    ):
        assert attempts == 2


async def test_what_a_hook_raises_on_the_way_in_is_raised_as_itself() -> None:
    async def hook(peer: Peer) -> None:
        raise RemoteError("UNAUTHENTICATED")

    async with restartable(echo) as server:
        with pytest.raises(RemoteError, match="UNAUTHENTICATED"):
            async with connect(server.where, reconnect=QUICK, on_peer=hook):
                raise AssertionError


async def test_a_hook_that_fails_later_cancels_the_block() -> None:
    attempts = 0

    async def hook(peer: Peer) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            raise RemoteError("UNAUTHENTICATED")

    async with restartable(echo) as server:
        with pytest.RaisesGroup(RemoteError):
            async with connect(server.where, reconnect=QUICK, on_peer=hook) as peer:
                peer._link.abort()
                await trio.sleep_forever()


# ---------------------------------------------------------------------- the rest


async def test_subscriptions_come_back_by_themselves() -> None:
    topics = Topics()
    async with restartable(echo, topics=topics) as server:
        async with (
            connect(server.where, reconnect=QUICK) as peer,
            peer.subscribe("a") as messages,
            peer.subscribe("b") as others,
        ):
            for number in range(3):
                while topics.publish("a", b"%d" % number) == 0:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                topics.publish("b", b"x")
                assert (await anext(messages)).body == b"%d" % number
                assert (await anext(others)).body == b"x"
                assert messages.interruptions == number
                await server.down(abruptly=True)
                await server.up()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert topics.publish("a", b"") == 0


async def test_a_subscription_to_a_server_that_comes_back_without_topics() -> None:
    async with (
        restartable(echo, topics=Topics()) as server,
        connect(server.where, reconnect=QUICK) as peer,
        peer.subscribe("a") as messages,
    ):
        server._settings = {}
        await server.down()
        await server.up()
        with pytest.raises(RemoteError, match="UNIMPLEMENTED"):
            await anext(messages)


async def test_a_subscription_for_which_there_is_no_room_ends_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise AmpeException.from_error(AmpeError.ALLOCATION_FAILED)

    async with (
        restartable(echo, topics=Topics()) as server,
        connect(server.where, reconnect=QUICK) as peer,
        peer.subscribe("a") as messages,
    ):
        monkeypatch.setattr(Subscription, "begin", refuse)
        await server.down()
        await server.up()
        with pytest.raises(AllocationFailedException):
            await anext(messages)
        assert (await peer.call(b"x")).body == b"x"
        assert not peer._link.asking._open


async def test_a_peer_that_knows_no_topics_ends_a_subscription() -> None:
    with RawListener(TCP) as listener:

        async def answer() -> None:
            with await listener.accept() as raw:
                script = Script(raw)
                await script.expect(OpCode.HELLO_REQUEST)
                await script.send(OpCode.HELLO_RESPONSE, 1)
                await script.expect(OpCode.BYE_REQUEST)
                await script.send(OpCode.BYE_RESPONSE, 1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            async with connect(listener.client_address, reconnect=QUICK) as peer:
                with pytest.raises(RemoteError, match="UNIMPLEMENTED"):
                    async with peer.subscribe("a"):
                        raise AssertionError


async def test_signals_and_messages_of_one_connection_after_the_other() -> None:
    async with restartable(echo) as server, connect(server.where, reconnect=QUICK) as peer:
        for number in range(3):
            await peer.signal(b"%d" % number)
            there = server.peers[-1]
            assert (await anext(there.messages)).body == b"%d" % number
            await there.signal(b"back %d" % number)
            assert (await anext(peer.messages)).body == b"back %d" % number
            await server.down()
            await server.up()
        await peer.bye()
        with pytest.raises(StopAsyncIteration):
            await anext(peer.messages)


async def test_what_could_not_be_sent_is_repeated_on_the_next_connection() -> None:
    """The channel has ended, and the link has not heard of it yet."""
    topics = Topics()
    async with (
        restartable(echo, topics=topics) as server,
        connect(server.where, reconnect=QUICK) as peer,
        trio.open_nursery() as nursery,
    ):
        heard = trio.Event()

        async def subscribe() -> None:
            async with peer.subscribe("a") as messages:
                topics.publish("a", b"y")
                async for message in messages:
                    assert message.body == b"y"
                    break
            heard.set()

        link = peer._link
        number, link.outlet.number = link.outlet.number, 65_534
        nursery.start_soon(subscribe)
        nursery.start_soon(peer.signal, b"x")
        await trio.testing.wait_all_tasks_blocked()
        link.outlet.number = number
        link.abort()
        await heard.wait()
        async for message in server.peers[-1].messages:
            assert message.body == b"x"
            break
        await peer.bye()
        async for _ in peer.messages:
            raise AssertionError


async def test_streams_wait_for_a_connection_and_end_with_it() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        return b"".join([item async for item in request.stream])

    async with restartable(handler) as server, connect(server.where, reconnect=QUICK) as peer:
        await server.down(abruptly=True)
        await server.up()
        async with peer.stream() as stream:
            await stream.send(b"x")
            assert await stream.finish() == b"x"


@pytest.mark.parametrize("how", ["bye", "drain"])
async def test_a_peer_that_was_closed(how: str) -> None:
    async with (
        restartable(echo, topics=Topics()) as server,
        connect(server.where, reconnect=QUICK) as peer,
    ):
        assert peer.info == {}
        async with peer.subscribe("a") as messages:
            await getattr(peer, how)()
            with pytest.raises(NotSent):
                await anext(messages)
        assert peer.closed.is_set()
        assert peer.reason is AmpeStatus.SUCCESS
        for use in (peer.call, peer.signal):
            with pytest.raises(NotSent):
                await use()
        with pytest.raises(NotSent):
            async with peer.stream():
                raise AssertionError


async def test_connections_that_last_begin_the_pauses_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rows: list[int] = []

    class Counting(Backoff):
        def pauses(self) -> Iterator[float]:
            rows.append(0)  # when the first pause of the row is asked for
            for pause in super().pauses():
                rows[-1] += 1
                yield pause

    async with (
        restartable(echo) as server,
        connect(server.where, reconnect=Counting(0.1, 5)) as peer,
    ):
        for lasted in (6, 1, 1, 6):
            await trio.sleep(lasted)
            await server.down()
            await server.up()
            await peer.call()
    assert len(rows) == 2
    assert sum(rows) >= 4


async def test_a_subscription_that_leaves_a_server_that_drains_was_interrupted() -> None:
    topics, began, go_on = Topics(), trio.Event(), trio.Event()
    peers: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        peers.append(peer)

    async def handler(peer: Peer, request: Incoming) -> None:
        if request.method == "slow":
            began.set()
            await go_on.wait()

    async with (
        serving(handler, on_peer=on_peer, topics=topics) as where,
        connect(where, reconnect=QUICK) as peer,
        peer.subscribe("news") as messages,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(peer.call, method="slow"))
        await began.wait()
        nursery.start_soon(peers[0].drain)
        await trio.testing.wait_all_tasks_blocked()
        await peer.call()  # refused there, so it is made on another connection
        assert messages.interruptions == 1
        go_on.set()


# ---------------------------------------------------------------------- the log


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What `pytofu.peers` has logged for all to see."""
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "pytofu.peers" and record.levelno >= logging.INFO
    ]


async def test_that_the_peer_is_away_for_long_is_told_once_and_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = 0
    told_all = trio.Event()

    class Watching(Backoff):
        def pauses(self) -> Iterator[float]:
            for pause in super().pauses():
                if len(told(caplog)) == lines:
                    told_all.set()
                yield pause

    async with (
        restartable(echo) as server,
        connect(server.where, reconnect=Watching(0.001, 0.001)) as peer,
    ):
        for row in (1, 2):
            lines, told_all = 2 * row - 1, trio.Event()
            await server.down()
            await told_all.wait()
            await server.up()
            await peer.call()
            assert len(told(caplog)) == 2 * row
            (level, text), news = told(caplog)[-2:]
            assert level == "WARNING"
            assert text.startswith(f"cannot connect to {server.where}: CONNECT_FAILED")
            assert text.endswith("; trying again until it is there")
            assert news == ("INFO", "connected again")


async def test_a_peer_that_is_away_for_a_moment_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        restartable(echo) as server,
        connect(server.where, reconnect=Backoff(0.001, 60)) as peer,
    ):
        await server.down()
        await server.up()
        await peer.call()
    assert told(caplog) == []


async def test_what_will_never_work_is_told_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.move_on_after(100):
        async with connect("mem://nobody", reconnect=Backoff()):
            raise AssertionError
    ((level, text),) = told(caplog)
    assert level == "WARNING"
    assert text.startswith("cannot connect to mem://nobody: CONNECT_FAILED")


async def test_a_hook_whose_connection_ends_in_a_nursery_is_run_again() -> None:
    attempts = 0

    async def hook(peer: Peer) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            peer._link.abort()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.call, b"x")

    async with (
        restartable(echo) as server,
        connect(server.where, reconnect=QUICK, on_peer=hook),
    ):
        assert attempts == 3
