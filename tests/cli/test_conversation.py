"""The client's side: hello, talk, bye."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import Holder, OpCode, TCPClientAddress, TCPServerAddress, UDSClientAddress
from pytofu.cli import conversation
from pytofu.cli.conversation import Conversation, ConversationEndedError, dial
from pytofu.cli.endpoints import Target
from pytofu.cli.running import CommandError
from pytofu.values.address_text import ClientAddress
from tests.cli.peers import POLITE, fails, peer, respond, say
from tests.support import Kind, RawListener, frame, server_address_of


async def test_hello_talk_bye() -> None:
    async with peer({**POLITE, OpCode.REQUEST: respond}) as address:
        async with dial(Target(address)) as server:
            message_id = server.post(OpCode.REQUEST, [("a", "b")], b"body")
            answer = await server.answer_to(message_id)
        assert answer.opcode is OpCode.RESPONSE
        assert (answer.header("a"), answer.header("c"), answer.body) == ("b", None, b"body")


async def test_what_is_not_the_answer_is_dropped() -> None:
    async with (
        peer({**POLITE, OpCode.REQUEST: respond}) as address,
        dial(Target(address)) as server,
    ):
        server.post(OpCode.REQUEST)
        message_id = await server.send_part(more=False)
        assert (await server.answer_to(message_id)).message_id == message_id


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (UDSClientAddress("/nowhere/s"), "cannot connect to uds:///nowhere/s: there is no such"),
        (TCPClientAddress("127.0.0.1", 1), "cannot connect to tcp://127.0.0.1:1: nobody answers"),
        (TCPClientAddress("a..b", 1), "there is no such host"),
    ],
)
async def test_nobody_there(address: TCPClientAddress | UDSClientAddress, why: str) -> None:
    with pytest.raises(CommandError, match=why):
        async with dial(Target(address)):
            pytest.fail("it connected")


async def test_refused() -> None:
    async with peer({OpCode.HELLO_REQUEST: say(OpCode.BYE_RESPONSE)}) as address:
        with pytest.raises(CommandError, match="refused the channel: BYE_RESPONSE"):
            async with dial(Target(address)):
                pytest.fail("it was not refused")


async def test_no_answer_to_the_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_HELLO_TIMEOUT", 0.05)
    async with peer({}) as address:
        with pytest.raises(CommandError, match="does not answer the hello"):
            async with dial(Target(address)):
                pytest.fail("it was answered")


async def test_no_answer_to_the_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_BYE_TIMEOUT", 0.05)
    async with peer({OpCode.HELLO_REQUEST: respond}) as address, dial(Target(address)):
        pass


async def test_the_server_says_bye() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_REQUEST)}
    async with peer(habits) as address, dial(Target(address)) as server:
        server.post(OpCode.REQUEST)
        with pytest.raises(ConversationEndedError, match="closed the channel: the peer said bye"):
            await server.receive()
        with pytest.raises(ConversationEndedError, match="closed the channel"):
            server.post(OpCode.REQUEST)
        with pytest.raises(ConversationEndedError, match="closed the channel"):
            await server.send_part(more=False)


async def test_the_server_aborts_and_what_was_not_sent_comes_back() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_SIGNAL)}
    async with peer(habits) as address, dial(Target(address)) as server:
        for _ in range(100):
            server.post(OpCode.REQUEST, body=bytes(60_000))
        with pytest.raises(ConversationEndedError, match="the connection broke"):
            await server.receive()


async def test_a_bye_that_is_read_after_the_channel_has_closed() -> None:
    async with peer() as address, dial(Target(address)) as server:
        message = server.ampe.get()
        message.opcode = OpCode.BYE_REQUEST
        message.channel_number = server.channel_number
        message.message_id = 1
        server.chnls.update_receiver(Holder(message))
        server.post(OpCode.BYE_SIGNAL)
        with pytest.raises(ConversationEndedError, match="closed by this side"):
            await server.receive()


# ---------------------------------------------------------------------- servers that come later


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Awaitable[None]]:
    """Waits until so many attempts to connect have begun."""
    begun = 0
    step = trio.Event()
    hello = Conversation.hello

    async def following(server: Conversation, patience: float) -> None:
        nonlocal begun, step
        begun += 1
        step.set()
        step = trio.Event()
        await hello(server, patience)

    async def until(times: int) -> None:
        while begun < times:
            await step.wait()
        await trio.testing.wait_all_tasks_blocked()

    monkeypatch.setattr(Conversation, "hello", following)
    return until


async def talk(address: ClientAddress, wait: float, done: trio.Event) -> None:
    """Ask once and be answered."""
    async with dial(Target(address, wait)) as server:
        message_id = server.post(OpCode.REQUEST)
        await server.answer_to(message_id)
    done.set()


async def test_a_server_that_is_not_up_yet(
    kind: Kind,
    tmp_path: Path,
    mock_clock: trio.testing.MockClock,
    tries: Callable[[int], Awaitable[None]],
) -> None:
    with RawListener(server_address_of(kind, tmp_path)) as raw:
        address, free = raw.client_address, raw.address
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, address, 5.0, done)
        await tries(1)
        mock_clock.jump(0.05)
        await tries(2)
        async with peer({**POLITE, OpCode.REQUEST: respond}, free):
            mock_clock.jump(0.1)
            await done.wait()


async def test_a_connection_that_is_closed_at_once_is_no_server_yet(
    mock_clock: trio.testing.MockClock, tries: Callable[[int], Awaitable[None]]
) -> None:
    """A proxy may be up before what it stands for."""
    with RawListener(TCPServerAddress("127.0.0.1", 0)) as raw:
        async with trio.open_nursery() as nursery:
            done = trio.Event()
            nursery.start_soon(talk, raw.client_address, 5.0, done)
            for number in (1, 2):
                (await raw.accept()).close()
                await tries(number)
                mock_clock.jump(0.1)
            with await raw.accept() as peer:
                ids = [(await peer.receive_frame()).message_id]
                await peer.send(frame(OpCode.HELLO_RESPONSE, ids[0]))
                ids.append((await peer.receive_frame()).message_id)
                await peer.send(frame(OpCode.RESPONSE, ids[1]))
                ids.append((await peer.receive_frame()).message_id)
                await peer.send(frame(OpCode.BYE_RESPONSE, ids[2]))
                await done.wait()


async def test_the_wait_has_an_end(
    mock_clock: trio.testing.MockClock, tries: Callable[[int], Awaitable[None]]
) -> None:
    with fails("cannot connect to uds:///nowhere/s: there is no such"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, UDSClientAddress("/nowhere/s"), 0.12, trio.Event())
            await tries(1)
            mock_clock.jump(0.05)
            await tries(2)
            mock_clock.jump(0.07)
            await tries(3)


@pytest.mark.parametrize(("wait", "patience"), [(0.0, 15.0), (10.0, 15.0), (60.0, 60.0)])
async def test_a_connection_that_is_made_may_use_all_of_the_wait(
    wait: float,
    patience: float,
    mock_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system accepts for a server that is only being started."""
    hello = Conversation.hello
    seen: list[float] = []

    async def note(server: Conversation, patience: float) -> None:
        seen.append(patience)
        await hello(server, patience)

    monkeypatch.setattr(Conversation, "hello", note)
    async with peer() as address, dial(Target(address, wait)):
        pass
    assert seen == [patience]
