"""Connect, say hello, and close all three channels that this takes.

One listener, and two ends of one connection: each is a channel, and each ends with a channel_closed
of its own. All of them are in one group here, so that one loop shows the order of events.
"""

import tempfile

import trio

from pytofu import (
    Ampe,
    ChannelGroup,
    Message,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)

type AnyAddress = TCPClientAddress | TCPServerAddress | UDSClientAddress | UDSServerAddress


def open_channel(ampe: Ampe, chnls: ChannelGroup, address: AnyAddress) -> int:
    """Begin to connect or to listen."""
    with borrowed_message(ampe) as holder:
        address.format(holder.unwrap())
        return chnls.post(holder).channel_number


def say(ampe: Ampe, chnls: ChannelGroup, opcode: OpCode, channel: int) -> None:
    with borrowed_message(ampe) as holder:
        message = holder.unwrap()
        message.opcode = opcode
        message.channel_number = channel
        chnls.post(holder)


def where_to_connect(welcome: Message) -> TCPClientAddress | UDSClientAddress:
    match parse_address(welcome):
        case TCPServerAddress(host, port):
            return TCPClientAddress(host, port)
        case UDSServerAddress(path):
            return UDSClientAddress(path)
        case other:
            raise AssertionError(other)


async def connect_and_close(
    ampe: Ampe, chnls: ChannelGroup, address: TCPServerAddress | UDSServerAddress
) -> None:
    listener, client = open_channel(ampe, chnls, address), 0
    names = {listener: "listener"}
    async for holder in chnls:
        message = holder.unwrap()
        channel = message.channel_number
        name = names.setdefault(channel, "server")  # a new channel; the listener goes on listening
        print(f"{name + ':':10}{message.opcode.name}")
        match message.opcode:
            case OpCode.WELCOME_RESPONSE:
                client = open_channel(ampe, chnls, where_to_connect(message))
                names[client] = "client"
            case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:  # on the server's end
                message.opcode = message.opcode.echo().unwrap()
                chnls.post(holder)
            case OpCode.HELLO_RESPONSE:
                say(ampe, chnls, OpCode.BYE_REQUEST, client)
            case OpCode.SIGNAL:
                print("          closed:", message.text_headers.get("~reason"))
                del names[channel]
                if names.keys() == {listener}:
                    say(ampe, chnls, OpCode.BYE_SIGNAL, listener)
                if not names:
                    ampe.put(holder)
                    break
            case _:
                pass  # the BYE_RESPONSE, or the BYE_SIGNAL that comes back: the end follows
    print("channels left:", ampe.statistics().channels)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
            await connect_and_close(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
            await connect_and_close(ampe, chnls, UDSServerAddress(f"{directory}/socket"))


if __name__ == "__main__":
    trio.run(main)
