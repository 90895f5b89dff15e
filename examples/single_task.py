"""A client and a server in one channel group and one task.

Everything that arrives, for whichever side, comes out of one mailbox; the channel numbers tell the
sides apart. There is no concurrency in this program, and it needs none.
"""

import trio

from pytofu import (
    Ampe,
    ChannelGroup,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)


def open_channel(
    ampe: Ampe, chnls: ChannelGroup, address: TCPClientAddress | TCPServerAddress
) -> int:
    """Begin to connect or to listen."""
    with borrowed_message(ampe) as holder:
        address.format(holder.unwrap())
        return chnls.post(holder).channel_number


def say(ampe: Ampe, chnls: ChannelGroup, opcode: OpCode, channel: int, body: bytes = b"") -> None:
    with borrowed_message(ampe) as holder:
        message = holder.unwrap()
        message.opcode = opcode
        message.channel_number = channel
        message.set_payload(body)
        chnls.post(holder)


async def main() -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        open_channel(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
        client, closed = 0, 0
        async for holder in chnls:
            message = holder.unwrap()
            side = "client" if message.channel_number == client else "server"
            print(f"{side} receives {message.opcode.name} {message.payload.decode()}".rstrip())
            match message.opcode:
                case OpCode.WELCOME_RESPONSE:
                    bound = parse_address(message)
                    assert isinstance(bound, TCPServerAddress)
                    client = open_channel(ampe, chnls, TCPClientAddress(bound.host, bound.port))
                case OpCode.HELLO_RESPONSE:
                    say(ampe, chnls, OpCode.REQUEST, client, b"ping")
                case OpCode.RESPONSE:
                    say(ampe, chnls, OpCode.BYE_REQUEST, client)
                case OpCode.HELLO_REQUEST | OpCode.REQUEST | OpCode.BYE_REQUEST:
                    if message.opcode is OpCode.REQUEST:
                        message.set_payload(b"pong")
                    message.opcode = message.opcode.echo().unwrap()  # the matching response
                    chnls.post(holder)
                case OpCode.SIGNAL:  # the last event of a channel
                    closed += 1
                    if closed == 2:
                        ampe.put(holder)  # the loop does that for all others
                        return
                case _:
                    pass  # the BYE_RESPONSE


if __name__ == "__main__":
    trio.run(main)
