"""A program as users write them: a server and a client, here in one process.

It is type-checked three times: with Trio's own types by mypy and by pyright, and with the stubs of
trio-typing, which shadow them, by mypy (docs/decisions/trio-typing.md). A test runs it.
"""

import trio

from pytofu import (
    AllocationStrategy,
    Ampe,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)

TIMEOUT_NS = 5_000_000_000


async def receive(chnls: ChannelGroup, expected: OpCode) -> Message:
    """The next message, which must come in time and be of the kind expected."""
    message = await chnls.wait_receive(timeout_ns=TIMEOUT_NS)
    if message is None or message.opcode is not expected:
        raise RuntimeError(f"expected {expected.name}, received {message!r}")
    return message


def reply(chnls: ChannelGroup, message: Message, opcode: OpCode) -> None:
    """Post the message back where it came from, as another opcode."""
    message.opcode = opcode
    chnls.post(Holder(message))


async def listen(ampe: Ampe, chnls: ChannelGroup) -> int:
    """Listen on a port that the system chooses, and return it."""
    with borrowed_message(ampe, AllocationStrategy.ALWAYS) as holder:
        if holder.value is not None:
            TCPServerAddress("127.0.0.1", 0).format(holder.value)
        chnls.post(holder)
    match parse_address(await receive(chnls, OpCode.WELCOME_RESPONSE)):
        case TCPServerAddress(port=int(port)):
            return port
        case other:
            raise RuntimeError(f"listening on {other}")


async def serve(chnls: ChannelGroup) -> None:
    """Accept one client and answer one request."""
    reply(chnls, await receive(chnls, OpCode.HELLO_REQUEST), OpCode.HELLO_RESPONSE)
    request = await receive(chnls, OpCode.REQUEST)
    request.set_payload(request.payload.upper())
    reply(chnls, request, OpCode.RESPONSE)


async def ask(ampe: Ampe, chnls: ChannelGroup, port: int, question: bytes) -> bytes:
    """Connect, ask, and return the answer."""
    with borrowed_message(ampe) as holder:
        if holder.value is not None:
            TCPClientAddress("127.0.0.1", port).format(holder.value)
        channel_number = chnls.post(holder).channel_number
    await receive(chnls, OpCode.HELLO_RESPONSE)
    with borrowed_message(ampe) as holder:
        if holder.value is not None:
            holder.value.opcode = OpCode.REQUEST
            holder.value.channel_number = channel_number
            holder.value.set_payload(question)
        chnls.post(holder)
    answer = await receive(chnls, OpCode.RESPONSE)
    return answer.payload


async def main() -> bytes:
    """Serve and ask."""
    async with (
        open_ampe(Options(initial_pool_msgs=4, max_pool_msgs=16)) as ampe,
        ampe.open_channel_group() as server,
        ampe.open_channel_group() as client,
        trio.open_nursery() as nursery,
    ):
        port = await listen(ampe, server)
        nursery.start_soon(serve, server)
        return await ask(ampe, client, port, b"hello")


if __name__ == "__main__":
    print(trio.run(main).decode())
