"""A server of messages with many clients at once, none of which has a task or an object there.

All clients come out of one mailbox. They use `connect`: both interfaces speak the same protocol,
and neither side knows what the other one uses.
"""

import time
from contextlib import suppress

import trio

from pytofu import (
    Ampe,
    ChannelClosedException,
    ChannelGroup,
    MessageRole,
    TCPServerAddress,
    borrowed_message,
    connect,
    open_ampe,
    parse_address,
)

CLIENTS = 100
REQUESTS = 50  # of each client, one after the other


async def listen(ampe: Ampe, chnls: ChannelGroup) -> str:
    """Listen; returns the address to connect to."""
    with borrowed_message(ampe) as holder:
        TCPServerAddress("127.0.0.1", 0).format(holder.unwrap())
        chnls.post(holder)
    async for holder in chnls:  # the first is the answer
        bound = parse_address(holder.unwrap())
        ampe.put(holder)  # the loop does that for all others
        if isinstance(bound, TCPServerAddress):
            return f"tcp://{bound.host}:{bound.port}"
        break
    raise OSError("cannot listen")


async def serve(chnls: ChannelGroup) -> None:
    """Echo until the group is destroyed."""
    async for holder in chnls:
        message = holder.unwrap()
        if message.opcode.role is MessageRole.REQUEST:  # a hello, a question or a bye
            message.opcode = message.opcode.echo().unwrap()  # becomes its own response
            with suppress(ChannelClosedException):  # the client has gone
                chnls.post(holder)


async def be_a_client(ampe: Ampe, address: str, name: int) -> None:
    async with connect(address, ampe=ampe) as peer:
        for number in range(REQUESTS):
            question = f"request {number} of client {name}".encode()
            assert (await peer.call(question)).body == question


async def main() -> None:
    async with (
        open_ampe() as server,
        open_ampe() as client,  # all clients share it; each has a group of its own
        server.open_channel_group() as chnls,
        trio.open_nursery() as servers,
    ):
        address = await listen(server, chnls)
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
