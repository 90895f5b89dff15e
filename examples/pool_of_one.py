"""A pool with a single message: what `get` and `put` do, and what a receiver does without one."""

import trio

from pytofu import (
    AllocationStrategy,
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    MemoryServerAddress,
    Message,
    MessageReleasedError,
    MessageRole,
    OpCode,
    Options,
    borrowed_message,
    connect,
    open_ampe,
)

ONE_MESSAGE = Options(initial_pool_msgs=1, max_pool_msgs=1)


def get_and_put(ampe: Ampe) -> None:
    """The pool counts: what has been taken is missing until it is put back."""
    with borrowed_message(ampe):
        print("POOL_ONLY gives", ampe.get(AllocationStrategy.POOL_ONLY))
        extra = Holder(ampe.get(AllocationStrategy.ALWAYS))
        print("ALWAYS gives", extra.unwrap())
        ampe.put(extra)
        print("put back:", extra)


def use_after_put(ampe: Ampe) -> None:
    """A message that has been put back or posted is gone for everybody who still refers to it."""
    message = ampe.get()
    ampe.put(Holder(message))
    try:
        message.set_payload(b"too late")
    except MessageReleasedError as error:
        print("used after put:", error)


async def receive_with_one_message(ampe: Ampe, chnls: ChannelGroup) -> None:
    """Without a free message a channel stops reading; it goes on as soon as one is put back.

    Nothing is lost: meanwhile what the peer sends waits in the network, and then at the peer.
    """
    with borrowed_message(ampe) as holder:
        MemoryServerAddress("small").format(holder.unwrap())
        chnls.post(holder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_three)
        kept = Holder[Message]()
        async for holder in chnls:  # puts every message back before it receives the next
            message = holder.unwrap()
            if message.opcode.role is MessageRole.REQUEST:  # a hello or a bye
                message.opcode = message.opcode.echo().unwrap()
                chnls.post(holder)
            elif message.is_from_application() and message.opcode is OpCode.SIGNAL:
                print("kept:", message.payload.decode())
                kept = Holder(holder.take())
                break
        async for holder in chnls:
            print("then:", holder.unwrap().status.name)
            ampe.put(holder)
            break
        with trio.move_on_after(0.1):
            await chnls.wait_receive()
        print("and then nothing, until it is put back")
        ampe.put(kept)
        async for holder in chnls:
            message = holder.unwrap()
            if message.opcode is OpCode.BYE_REQUEST:
                message.opcode = OpCode.BYE_RESPONSE
                chnls.post(holder)
            elif message.status is AmpeStatus.CHANNEL_CLOSED:
                ampe.put(holder)
                break
            elif message.is_from_application():
                print("put back, then:", message.payload.decode())


async def send_three() -> None:
    """The peer."""
    async with connect("mem://small") as peer:
        for body in (b"one", b"two", b"three"):
            await peer.signal(body)


async def main() -> None:
    async with open_ampe(ONE_MESSAGE) as ampe, ampe.open_channel_group() as chnls:
        get_and_put(ampe)
        use_after_put(ampe)
        await receive_with_one_message(ampe, chnls)


if __name__ == "__main__":
    trio.run(main)
