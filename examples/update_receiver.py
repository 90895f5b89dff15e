"""Wake the receiver of a channel group: from another task, and from a thread.

A group has one mailbox and usually one task that receives from it. Whatever else that task is to
know, such as a job that is done or a new setting, can go through the same mailbox.
"""

import trio

from pytofu import Ampe, ChannelGroup, Holder, Message, open_ampe


async def receive(ampe: Ampe, chnls: ChannelGroup) -> None:
    """The one loop: receives until it is told to stop."""
    async for holder in chnls:
        message = holder.unwrap()
        print("received:", message.opcode.name, message.payload)
        if message.payload == b"stop":
            ampe.put(holder)  # the loop does that for all others
            return


async def work_in_a_task(ampe: Ampe, chnls: ChannelGroup) -> None:
    """An empty holder is a bare wake-up call; a message can carry anything."""
    chnls.update_receiver(Holder[Message]())
    message = ampe.get()
    message.set_payload(b"hello from a task")
    chnls.update_receiver(Holder(message))


def work_in_a_thread(chnls: ChannelGroup) -> None:
    """This one call any thread may make. The engine's pool belongs to Trio's thread: no `get`."""
    for body in (b"hello from a thread", b"stop"):
        chnls.update_receiver(Holder(Message(body=body)))


async def main() -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(receive, ampe, chnls)
        await work_in_a_task(ampe, chnls)
        await trio.to_thread.run_sync(work_in_a_thread, chnls)


if __name__ == "__main__":
    trio.run(main)
