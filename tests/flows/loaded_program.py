"""A program that is at work when Ctrl-C comes; run by test_ctrl_c.

usage: loaded_program.py DIRECTORY PORT [busy]

It listens on DIRECTORY/s and on a TCP port, and has queued more than it can get rid of for a peer
on PORT that does not read. Then it says "ready" and waits or, if busy, exchanges messages with
itself for ever.
"""

import sys
from pathlib import Path

import trio

from pytofu import (
    Address,
    Ampe,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    open_ampe,
)


def post(
    ampe: Ampe, chnls: ChannelGroup, opcode: OpCode, channel: int, to: Address | None = None
) -> int:
    message = ampe.get()
    message.opcode = opcode
    message.channel_number = channel
    message.message_id = 1
    message.set_payload(bytes(0 if to else 60_000))
    if to is not None:
        to.format(message)
    return chnls.post(Holder(message)).channel_number


async def receive(chnls: ChannelGroup, opcode: OpCode) -> Message:
    while (message := await chnls.wait_receive()).opcode is not opcode:
        pass
    return message


async def main(directory: Path, port: int, busy: bool) -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        path = directory / "s"
        for server in (TCPServerAddress("127.0.0.1", 0), UDSServerAddress(path)):
            post(ampe, chnls, OpCode.WELCOME_REQUEST, 0, server)
            await receive(chnls, OpCode.WELCOME_RESPONSE)
        mute = post(ampe, chnls, OpCode.HELLO_REQUEST, 0, TCPClientAddress("127.0.0.1", port))
        for _ in range(200):
            post(ampe, chnls, OpCode.REQUEST, mute)
        near = post(ampe, chnls, OpCode.HELLO_REQUEST, 0, UDSClientAddress(path))
        far = (await receive(chnls, OpCode.HELLO_REQUEST)).channel_number
        post(ampe, chnls, OpCode.HELLO_RESPONSE, far)
        await receive(chnls, OpCode.HELLO_RESPONSE)
        print("ready", flush=True)
        while busy:
            post(ampe, chnls, OpCode.REQUEST, near)
            post(ampe, chnls, OpCode.RESPONSE, (await chnls.wait_receive()).channel_number)
            await chnls.wait_receive()
        await chnls.wait_receive()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), "busy" in sys.argv)
