"""Heartbeat: a peer that has stopped is noticed, one that is idle is not (peers/heartbeat.py)."""

import math

import pytest
import trio
import trio.testing

from pytofu import AmpeStatus, OpCode, Peer, Unanswered, connect
from tests.peers.pairs import connected, scripted_client, scripted_server, serving


async def test_idle_peers_stay_connected(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(client={"heartbeat": 1}) as both:
        await trio.sleep(100)
        assert both.client.connected
        assert both.server.connected
        assert (await both.client.call(b"x")).body == b"x"


@pytest.mark.parametrize("stop_after", [0.0, 0.5, 0.999, 1.0, 1.5])
async def test_a_server_that_stops_is_noticed_within_two_intervals(
    stop_after: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with scripted_server(heartbeat=1) as (peer, script), trio.open_nursery() as nursery:

        async def answer() -> None:
            with trio.move_on_after(stop_after):
                while True:
                    asked = await script.expect(OpCode.SIGNAL)
                    assert asked.text == b"tofu-heartbeat:ask\r\n"
                    await script.send(OpCode.SIGNAL, 1, b"tofu-heartbeat:here\r\n")

        begin = trio.current_time()
        nursery.start_soon(answer)
        await peer.closed.wait()
        assert trio.current_time() - begin <= stop_after + 2
        assert peer.reason is AmpeStatus.COMMUNICATION_FAILED
        with pytest.raises(ConnectionError):
            await peer.call()


async def test_a_client_that_stops_is_noticed_too(autojump_clock: trio.testing.MockClock) -> None:
    features = b"tofu-features:client calls=0 heartbeat=1S\r\n"
    async with serving() as where, scripted_client(where, features) as script:
        begin = trio.current_time()
        assert (await script.expect(OpCode.SIGNAL)).text == b"tofu-heartbeat:ask\r\n"
        assert trio.current_time() - begin == pytest.approx(1)
        await script.send(OpCode.SIGNAL, 1, b"tofu-heartbeat:here\r\n")
        await script.expect(OpCode.SIGNAL)
        await script.raw.ending()
        assert trio.current_time() - begin == pytest.approx(3)


async def test_a_question_that_comes_back_is_no_sign_of_life(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Behind a Bye nothing is sent: else one would be asked behind the other, at any speed."""
    features = b"tofu-features:client calls=0 heartbeat=1m\r\n"
    peers: list[Peer] = []

    async def on_peer(peer: Peer) -> None:
        peers.append(peer)

    async with (
        serving(on_peer=on_peer) as where,
        scripted_client(where, features) as script,
    ):
        begin = trio.current_time()
        await script.send(OpCode.BYE_REQUEST, 5)
        await script.expect(OpCode.BYE_RESPONSE)
        await script.raw.ending()
        assert trio.current_time() - begin <= 0.004
    assert peers[0].reason is AmpeStatus.COMMUNICATION_FAILED


async def test_any_message_is_a_sign_of_life(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted_server(heartbeat=1) as (peer, script):
        for _ in range(20):
            await trio.sleep(0.4)
            await script.send(OpCode.SIGNAL, 1, body=b"x")
            await trio.testing.wait_all_tasks_blocked()
        assert peer.connected
        await peer.signal(b"y")
        assert (await script.expect(OpCode.SIGNAL)).body == b"y"


async def test_a_call_to_one_that_stops_is_in_doubt(autojump_clock: trio.testing.MockClock) -> None:
    async with scripted_server(heartbeat=1) as (peer, _):
        with pytest.raises(Unanswered, match="nothing heard for 2 s"):
            await peer.call()


async def test_a_peer_that_knows_nothing_of_it_is_not_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scripted_server(b"", heartbeat=1) as (peer, script):
        await trio.sleep(10)
        await peer.signal(b"y")
        assert (await script.expect(OpCode.SIGNAL)).body == b"y"


async def test_no_time_at_all_is_no_heartbeat() -> None:
    with pytest.raises(ValueError, match="more than 0"):
        async with connect("tcp://127.0.0.1:1", heartbeat=0):
            raise AssertionError


async def test_a_heartbeat_without_end_is_none() -> None:
    with pytest.raises(ValueError, match=r"connect's heartbeat takes .* not inf: None is none"):
        async with connect("tcp://127.0.0.1:1", heartbeat=math.inf):
            pass
