"""Connect, say hello, and close all three channels that this takes.

One listener, and two ends of one connection: each is a channel, and each ends with a channel_closed
of its own. The client and the server have a channel group each; the engine is the same.
"""

import tempfile

import trio
from common import (
    ServerAddress,
    compose,
    describe,
    expect,
    open_channel,
    where_to_connect,
)

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    OpCode,
    TCPServerAddress,
    UDSServerAddress,
    open_ampe,
)


async def connect_and_close(
    ampe: Ampe, server: ChannelGroup, client: ChannelGroup, address: ServerAddress
) -> None:
    listener = open_channel(ampe, server, address)
    welcome = await expect(ampe, server, OpCode.WELCOME_RESPONSE)
    print("listener:", describe(welcome))

    open_channel(ampe, client, where_to_connect(welcome))
    hello = await server.wait_receive()
    print("server:  ", describe(hello))
    accepted = hello.channel_number  # a new one: the listener goes on listening
    hello.opcode = OpCode.HELLO_RESPONSE
    server.post(Holder(hello))
    answer = await expect(ampe, client, OpCode.HELLO_RESPONSE)
    print("client:  ", describe(answer))

    client.post(compose(ampe, OpCode.BYE_REQUEST, answer.channel_number))
    bye = await server.wait_receive()
    print("server:  ", describe(bye))
    bye.opcode = OpCode.BYE_RESPONSE
    server.post(Holder(bye))
    print("client:  ", describe(await expect(ampe, client, OpCode.BYE_RESPONSE)))
    await expect_closed("client:  ", ampe, client, answer.channel_number)
    await expect_closed("server:  ", ampe, server, accepted)

    server.post(compose(ampe, OpCode.BYE_SIGNAL, listener))
    await expect(ampe, server, OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED)
    await expect_closed("listener:", ampe, server, listener)
    print("channels left:", ampe.statistics().channels)


async def expect_closed(who: str, ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
    event = await expect(ampe, chnls, OpCode.SIGNAL, AmpeStatus.CHANNEL_CLOSED)
    assert event.channel_number == channel
    print(who, describe(event))


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with (
            open_ampe() as ampe,
            ampe.open_channel_group() as server,
            ampe.open_channel_group() as client,
        ):
            await connect_and_close(ampe, server, client, TCPServerAddress("127.0.0.1", 0))
            await connect_and_close(ampe, server, client, UDSServerAddress(f"{directory}/socket"))


if __name__ == "__main__":
    trio.run(main)
