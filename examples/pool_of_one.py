"""A pool with a single message: what `get` and `put` do, and what a receiver does without one."""

import trio
from common import compose, connect, describe, is_closed, listen, respond

from pytofu import (
    AllocationStrategy,
    Ampe,
    ChannelGroup,
    Holder,
    Message,
    MessageReleasedError,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    borrowed_message,
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
    address = await listen(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_three, address)
        respond(chnls, Holder(await chnls.wait_receive()))
        kept: Holder[Message] = Holder(await chnls.wait_receive())
        print("kept:", describe(kept.unwrap()))
        warning = Holder(await chnls.wait_receive())
        print("then:", describe(warning.unwrap()))
        with trio.move_on_after(0.1) as quiet:
            await chnls.wait_receive()
        print("then:", "nothing" if quiet.cancelled_caught else "something")
        ampe.put(kept)
        ampe.put(warning)
        async for holder in chnls:  # puts every message back before it receives the next
            message = holder.unwrap()
            if is_closed(message):
                break
            if message.is_from_application():
                print("put back, then:", describe(message))
            if message.opcode is OpCode.BYE_REQUEST:
                respond(chnls, holder)


async def send_three(address: TCPClientAddress | UDSClientAddress) -> None:
    """The peer: three messages and bye."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        channel = await connect(ampe, chnls, address)
        for body in (b"one", b"two", b"three"):
            chnls.post(compose(ampe, OpCode.SIGNAL, channel, body))
        chnls.post(compose(ampe, OpCode.BYE_REQUEST, channel))
        async for holder in chnls:
            if is_closed(holder.unwrap()):
                return


async def main() -> None:
    async with open_ampe(ONE_MESSAGE) as ampe, ampe.open_channel_group() as chnls:
        get_and_put(ampe)
        use_after_put(ampe)
        await receive_with_one_message(ampe, chnls)


if __name__ == "__main__":
    trio.run(main)
