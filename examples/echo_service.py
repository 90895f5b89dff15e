"""An echo service with many clients at once.

The server needs no task for a client: all of them come out of its one mailbox. Each client is a
task with a channel group of its own; all of them share an engine.
"""

import time

import trio
from common import ClientAddress, compose, connect, expect, listen, respond, say_bye

from pytofu import Ampe, ChannelGroup, OpCode, TCPServerAddress, open_ampe

CLIENTS = 100
REQUESTS = 50  # of each client, one after the other


async def serve(chnls: ChannelGroup) -> None:
    """Echo until the group is destroyed."""
    echoed = 0
    async for holder in chnls:
        match holder.unwrap().opcode:
            case OpCode.REQUEST:
                respond(chnls, holder)
                echoed += 1
            case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                respond(chnls, holder)
            case _:
                pass  # a client has gone
    print("the server has echoed", echoed)


async def be_a_client(ampe: Ampe, address: ClientAddress, name: int) -> None:
    async with ampe.open_channel_group() as chnls:
        channel = await connect(ampe, chnls, address)
        for number in range(REQUESTS):
            question = f"request {number} of client {name}".encode()
            header = chnls.post(compose(ampe, OpCode.REQUEST, channel, question))
            response = await expect(ampe, chnls, OpCode.RESPONSE)
            assert (response.message_id, response.payload) == (header.message_id, question)
        await say_bye(ampe, chnls, channel)


async def main() -> None:
    async with (
        open_ampe() as server,
        open_ampe() as client,
        server.open_channel_group() as chnls,
        trio.open_nursery() as servers,
    ):
        address = await listen(server, chnls, TCPServerAddress("127.0.0.1", 0))
        servers.start_soon(serve, chnls)
        started = time.perf_counter()
        async with trio.open_nursery() as clients:
            for name in range(CLIENTS):
                clients.start_soon(be_a_client, client, address, name)
        seconds = time.perf_counter() - started
        print(f"{CLIENTS} clients with {REQUESTS} requests each: {seconds:.2f} s")
        await server.destroy(chnls)


if __name__ == "__main__":
    trio.run(main)
