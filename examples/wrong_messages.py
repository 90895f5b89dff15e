"""Messages with which something is wrong, and how each error shows itself.

What can be seen from the message alone is raised by `post`, and the message stays in its holder.
What only the attempt can show comes back through the mailbox: the message itself, marked as from
the engine with the status that says why, and then the last event of the channel.
"""

import socket
import tempfile

import trio

from pytofu import (
    Ampe,
    AmpeException,
    ChannelGroup,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    borrowed_message,
    open_ampe,
)


def wrong_channel(ampe: Ampe, chnls: ChannelGroup) -> None:
    with borrowed_message(ampe) as holder:  # puts back what has not been posted
        holder.unwrap().opcode = OpCode.REQUEST
        holder.unwrap().channel_number = 12345
        try:
            chnls.post(holder)
        except AmpeException as error:
            print("  raised:", error)
            print("  the message is still mine:", holder.unwrap().status.name)


def no_address(ampe: Ampe, chnls: ChannelGroup) -> None:
    with borrowed_message(ampe) as holder:
        holder.unwrap().opcode = OpCode.HELLO_REQUEST
        try:
            chnls.post(holder)
        except AmpeException as error:
            print("  raised:", error)


def impossible_address(ampe: Ampe) -> None:
    with borrowed_message(ampe) as holder:
        try:
            TCPClientAddress("no such host!", 70000).format(holder.value)
        except AmpeException as error:
            print("  raised:", error)


async def bad_address(ampe: Ampe, chnls: ChannelGroup) -> None:
    with borrowed_message(ampe) as holder:
        holder.unwrap().opcode = OpCode.HELLO_REQUEST
        holder.unwrap().text_headers.append("~connect_to", "tcp|127.0.0.1")  # where is the port?
        chnls.post(holder)
    await print_events(ampe, chnls, 2)


def open_channel(
    ampe: Ampe, chnls: ChannelGroup, address: TCPClientAddress | TCPServerAddress | UDSClientAddress
) -> None:
    with borrowed_message(ampe) as holder:
        address.format(holder.unwrap())
        chnls.post(holder)


async def nobody_listening(ampe: Ampe, chnls: ChannelGroup) -> None:
    with socket.socket() as bound:  # takes a port, but does not listen on it
        bound.bind(("127.0.0.1", 0))
        open_channel(ampe, chnls, TCPClientAddress("127.0.0.1", bound.getsockname()[1]))
        await print_events(ampe, chnls, 2)


async def no_such_path(ampe: Ampe, chnls: ChannelGroup) -> None:
    with tempfile.TemporaryDirectory() as directory:
        open_channel(ampe, chnls, UDSClientAddress(f"{directory}/nobody"))
        await print_events(ampe, chnls, 2)


async def cannot_listen(ampe: Ampe, chnls: ChannelGroup) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        open_channel(ampe, chnls, TCPServerAddress("127.0.0.1", taken.getsockname()[1]))
        await print_events(ampe, chnls, 2)


async def print_events(ampe: Ampe, chnls: ChannelGroup, count: int) -> None:
    received = 0
    async for holder in chnls:
        message = holder.unwrap()
        print("  received:", message.opcode.name, message.status.name)
        received += 1
        if received == count:
            ampe.put(holder)
            return


async def main() -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        print("a channel that does not exist:")
        wrong_channel(ampe, chnls)
        print("a HelloRequest without an address:")
        no_address(ampe, chnls)
        print("an address that cannot be:")
        impossible_address(ampe)
        print("an address that is none:")
        await bad_address(ampe, chnls)
        print("nobody listens there:")
        await nobody_listening(ampe, chnls)
        print("a path that does not exist:")
        await no_such_path(ampe, chnls)
        print("a port that is taken:")
        await cannot_listen(ampe, chnls)


if __name__ == "__main__":
    trio.run(main)
