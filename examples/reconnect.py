"""A client that is started before its server, and that survives the server's end.

It tries again after a pause that doubles up to a limit, and that varies by chance, so that many
clients of one server do not come back all at once.
"""

import random
import tempfile

import trio
from common import ClientAddress, compose, describe, is_closed, open_channel, respond

from pytofu import Ampe, ChannelGroup, OpCode, UDSClientAddress, UDSServerAddress, open_ampe

FIRST_PAUSE = 0.02  # seconds; a real program would rather begin with one
LONGEST_PAUSE = 0.16


async def stay_connected(
    ampe: Ampe, chnls: ChannelGroup, address: ClientAddress, failed: trio.Event, conversations: int
) -> None:
    """Connect again and again, until so many conversations have been held."""
    pause = FIRST_PAUSE
    while conversations:
        open_channel(ampe, chnls, address)
        if await converse(ampe, chnls):
            conversations -= 1
            pause = FIRST_PAUSE
        else:
            failed.set()
            await trio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, LONGEST_PAUSE)


async def converse(ampe: Ampe, chnls: ChannelGroup) -> bool:
    """Live with the channel until it is closed; returns whether it had been connected at all."""
    connected = False
    async for holder in chnls:
        message = holder.unwrap()
        if is_closed(message):
            ampe.put(holder)
            break
        if message.opcode is OpCode.HELLO_RESPONSE and message.is_from_application():
            connected = True
            chnls.post(compose(ampe, OpCode.REQUEST, message.channel_number, b"how are you?"))
        elif connected:
            print("client:", describe(message))
    return connected


async def serve_one_client(address: UDSServerAddress, name: bytes) -> None:
    """A server that answers one request and ends."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        open_channel(ampe, chnls, address)
        async for holder in chnls:
            match holder.unwrap().opcode:
                case OpCode.HELLO_REQUEST:
                    respond(chnls, holder)
                case OpCode.REQUEST:
                    respond(chnls, holder, name + b" is fine")
                    return  # leaving the engine sends what was posted, then closes
                case _:
                    pass


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        async with (
            open_ampe() as ampe,
            ampe.open_channel_group() as chnls,
            trio.open_nursery() as nursery,
        ):
            failed = trio.Event()
            nursery.start_soon(stay_connected, ampe, chnls, UDSClientAddress(path), failed, 2)
            await failed.wait()
            print("client: nobody there yet, trying again")
            for name in (b"the first server", b"the second server"):
                await serve_one_client(UDSServerAddress(path), name)
                print("server: gone")


if __name__ == "__main__":
    trio.run(main)
