"""A long job: the request is answered at its end, and signals tell how far it is.

A Signal needs no answer. With the message_id of the request it says which job it is about, so that
several jobs can be under way on one channel.
"""

import trio
from common import compose, connect, is_closed, listen, post, respond

from pytofu import (
    Ampe,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    TCPServerAddress,
    open_ampe,
)

STEPS = 4


async def serve(ampe: Ampe, chnls: ChannelGroup) -> None:
    """Give every job a task, so that a long one does not keep the others waiting."""
    async with trio.open_nursery() as nursery:
        async for holder in chnls:
            match holder.unwrap().opcode:
                case OpCode.REQUEST:
                    nursery.start_soon(work, ampe, chnls, Holder(holder.take()))
                case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                    respond(chnls, holder)
                case _:
                    pass  # a client has gone


async def work(ampe: Ampe, chnls: ChannelGroup, job: Holder[Message]) -> None:
    """Do a job in steps, signal each, and answer at the end."""
    request = job.unwrap()
    channel, message_id = request.channel_number, request.message_id
    try:
        for step in range(1, STEPS + 1):
            await trio.sleep(0.01 * len(request.payload))  # this is the work
            done = str(100 * step // STEPS)
            signal = compose(ampe, OpCode.SIGNAL, channel, message_id=message_id, percent=done)
            post(ampe, chnls, signal)
        respond(chnls, job, request.payload.upper())
    except ChannelClosedException:
        print("the client has gone")
    finally:
        ampe.put(job)  # if it is still there


async def main() -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as server,
        ampe.open_channel_group() as client,
        trio.open_nursery() as nursery,
    ):
        address = await listen(ampe, server, TCPServerAddress("127.0.0.1", 0))
        nursery.start_soon(serve, ampe, server)
        channel = await connect(ampe, client, address)
        jobs: dict[int, str] = {}
        for text in ("long job", "job"):
            header = client.post(compose(ampe, OpCode.REQUEST, channel, text.encode()))
            jobs[header.message_id] = text
        async for holder in client:
            message = holder.unwrap()
            if is_closed(message):
                break
            match message.opcode:
                case OpCode.SIGNAL:
                    percent = int(message.text_headers.get("percent") or 0)
                    bar = ("#" * (percent // 10)).ljust(10, "-")
                    print(f"{jobs[message.message_id]:>8} [{bar}] {percent:3} %")
                case OpCode.RESPONSE:
                    print(f"{jobs.pop(message.message_id):>8} done: {message.payload.decode()}")
                    if not jobs:
                        client.post(compose(ampe, OpCode.BYE_REQUEST, channel))
                case _:
                    pass
        await ampe.destroy(server)


if __name__ == "__main__":
    trio.run(main)
