"""The client's side: hello, talk, bye."""

import pytest

from pytofu import Holder, OpCode, TCPClientAddress, UDSClientAddress
from pytofu.cli import conversation
from pytofu.cli.conversation import ConversationEndedError, dial
from pytofu.cli.running import CommandError
from tests.cli.peers import POLITE, peer, respond, say


async def test_hello_talk_bye() -> None:
    async with peer({**POLITE, OpCode.REQUEST: respond}) as address:
        async with dial(address) as server:
            message_id = server.post(OpCode.REQUEST, [("a", "b")], b"body")
            answer = await server.answer_to(message_id)
        assert answer.opcode is OpCode.RESPONSE
        assert (answer.header("a"), answer.header("c"), answer.body) == ("b", None, b"body")


async def test_what_is_not_the_answer_is_dropped() -> None:
    async with peer({**POLITE, OpCode.REQUEST: respond}) as address, dial(address) as server:
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
        async with dial(address):
            pytest.fail("it connected")


async def test_refused() -> None:
    async with peer({OpCode.HELLO_REQUEST: say(OpCode.BYE_RESPONSE)}) as address:
        with pytest.raises(CommandError, match="refused the channel: BYE_RESPONSE"):
            async with dial(address):
                pytest.fail("it was not refused")


async def test_no_answer_to_the_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_HELLO_TIMEOUT", 0.05)
    async with peer({}) as address:
        with pytest.raises(CommandError, match="does not answer the hello"):
            async with dial(address):
                pytest.fail("it was answered")


async def test_no_answer_to_the_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_BYE_TIMEOUT", 0.05)
    async with peer({OpCode.HELLO_REQUEST: respond}) as address, dial(address):
        pass


async def test_the_server_says_bye() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_REQUEST)}
    async with peer(habits) as address, dial(address) as server:
        server.post(OpCode.REQUEST)
        with pytest.raises(ConversationEndedError, match="closed the channel: the peer said bye"):
            await server.receive()
        with pytest.raises(ConversationEndedError, match="closed the channel"):
            server.post(OpCode.REQUEST)
        with pytest.raises(ConversationEndedError, match="closed the channel"):
            await server.send_part(more=False)


async def test_the_server_aborts_and_what_was_not_sent_comes_back() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_SIGNAL)}
    async with peer(habits) as address, dial(address) as server:
        for _ in range(100):
            server.post(OpCode.REQUEST, body=bytes(60_000))
        with pytest.raises(ConversationEndedError, match="the connection broke"):
            await server.receive()


async def test_a_bye_that_is_read_after_the_channel_has_closed() -> None:
    async with peer() as address, dial(address) as server:
        message = server.ampe.get()
        message.opcode = OpCode.BYE_REQUEST
        message.channel_number = server.channel_number
        message.message_id = 1
        server.chnls.update_receiver(Holder(message))
        server.post(OpCode.BYE_SIGNAL)
        with pytest.raises(ConversationEndedError, match="closed by this side"):
            await server.receive()
