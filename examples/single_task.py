"""A client and a server in one channel group and one task.

Everything that arrives, for whichever side, comes out of one mailbox; the channel numbers tell the
sides apart. There is no concurrency in this program, and it needs none.
"""

import trio
from common import compose, describe, listen, open_channel, respond

from pytofu import OpCode, TCPServerAddress, open_ampe


async def main() -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        address = await listen(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
        client = open_channel(ampe, chnls, address)
        closed = 0
        async for holder in chnls:
            message = holder.unwrap()
            side = "client" if message.channel_number == client else "server"
            print(f"{side} receives {describe(message)}")
            match message.opcode:
                case OpCode.HELLO_RESPONSE:
                    chnls.post(compose(ampe, OpCode.REQUEST, client, b"ping"))
                case OpCode.RESPONSE:
                    chnls.post(compose(ampe, OpCode.BYE_REQUEST, client))
                case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                    respond(chnls, holder)
                case OpCode.REQUEST:
                    respond(chnls, holder, b"pong")
                case OpCode.BYE_RESPONSE:
                    pass  # channel_closed follows
                case _:
                    closed += 1
                    if closed == 2:
                        return


if __name__ == "__main__":
    trio.run(main)
