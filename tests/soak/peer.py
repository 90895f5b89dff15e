"""The other process of a soak test.

usage: peer.py echo WHERE        answer requests on this address
       peer.py ask WHERE         ask there, one request after the other
       peer.py listen WHERE      wait for a connection, then stream both ways
       peer.py connect WHERE     connect, then stream both ways

WHERE is the value of an address header: tcp|HOST|PORT or uds|PATH. Whoever listens says where, in
a line on stdout. All go on until they are killed. A stream is of signals with the message_ids
1, 2, 3 and so on.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pytofu import Ampe, ChannelGroup, Holder, OpCode, open_ampe

BODY: Final = bytes(8_000)


def post(ampe: Ampe, chnls: ChannelGroup, opcode: OpCode, header: tuple[str, str]) -> int:
    """Open a channel; the body names the role."""
    message = ampe.get()
    message.opcode = opcode
    message.text_headers.append(*header)
    message.set_payload(sys.argv[1].encode())
    return chnls.post(Holder(message)).channel_number


async def listen(ampe: Ampe, chnls: ChannelGroup, where: str) -> None:
    """Listen, and say where."""
    post(ampe, chnls, OpCode.WELCOME_REQUEST, ("~listen_on", where))
    message = await chnls.wait_receive()
    print(message.text_headers.get("~listen_on"), flush=True)
    ampe.put(Holder(message))


async def connect(ampe: Ampe, chnls: ChannelGroup, where: str) -> int:
    """Connect and hear the answer; the channel's number."""
    number = post(ampe, chnls, OpCode.HELLO_REQUEST, ("~connect_to", where))
    message = await chnls.wait_receive()
    assert message.opcode is OpCode.HELLO_RESPONSE
    ampe.put(Holder(message))
    return number


async def echo(ampe: Ampe, chnls: ChannelGroup, where: str) -> None:
    await listen(ampe, chnls, where)
    async for holder in chnls:
        message = holder.unwrap()
        if message.opcode in (OpCode.REQUEST, OpCode.HELLO_REQUEST):
            message.opcode = message.opcode.echo().unwrap()
            chnls.post(holder)


async def ask(ampe: Ampe, chnls: ChannelGroup, where: str) -> None:
    number = await connect(ampe, chnls, where)
    message_id = 0
    while True:
        message_id += 1
        message = ampe.get()
        message.channel_number = number
        message.message_id = message_id
        chnls.post(Holder(message))
        answer = await chnls.wait_receive()
        assert (answer.opcode, answer.message_id) == (OpCode.RESPONSE, message_id)
        ampe.put(Holder(answer))


async def stream_as_client(ampe: Ampe, chnls: ChannelGroup, where: str) -> None:
    await stream(ampe, chnls, await connect(ampe, chnls, where))


async def stream_as_server(ampe: Ampe, chnls: ChannelGroup, where: str) -> None:
    await listen(ampe, chnls, where)
    hello = await chnls.wait_receive()
    number = hello.channel_number
    hello.opcode = OpCode.HELLO_RESPONSE
    chnls.post(Holder(hello))
    await stream(ampe, chnls, number)


async def stream(ampe: Ampe, chnls: ChannelGroup, number: int) -> None:
    """Send and receive at once, for ever."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_stream, chnls)
        message_id = 0
        while True:
            message_id += 1
            message = ampe.get()
            message.opcode = OpCode.SIGNAL
            message.channel_number = number
            message.message_id = message_id
            message.set_payload(BODY)
            await chnls.send(Holder(message))


async def receive_stream(chnls: ChannelGroup) -> None:
    expected = 0
    async for holder in chnls:
        expected += 1
        message = holder.unwrap()
        assert (message.opcode, message.message_id) == (OpCode.SIGNAL, expected)


ROLES: Final[dict[str, Callable[[Ampe, ChannelGroup, str], Awaitable[None]]]] = {
    "echo": echo,
    "ask": ask,
    "listen": stream_as_server,
    "connect": stream_as_client,
}


async def main(role: str, where: str) -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        await ROLES[role](ampe, chnls, where)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
