"""Listen over TCP and over a Unix socket: where, and for how long."""

import tempfile

import trio

from pytofu import (
    Ampe,
    ChannelGroup,
    OpCode,
    TCPServerAddress,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)


def listen(ampe: Ampe, chnls: ChannelGroup, address: TCPServerAddress | UDSServerAddress) -> int:
    """A listener is a channel: a WelcomeRequest opens it."""
    with borrowed_message(ampe) as holder:
        address.format(holder.unwrap())
        return chnls.post(holder).channel_number


async def listen_and_stop(
    ampe: Ampe, chnls: ChannelGroup, address: TCPServerAddress | UDSServerAddress
) -> None:
    listener = listen(ampe, chnls, address)
    async for holder in chnls:
        message = holder.unwrap()
        match message.opcode:
            case OpCode.WELCOME_RESPONSE:
                await print_address(parse_address(message))
                message.opcode = OpCode.BYE_SIGNAL  # closes it
                message.text_headers.clear()
                chnls.post(holder)
            case OpCode.SIGNAL:  # the last event of this channel, as of any
                assert message.channel_number == listener
                print("  closed:", message.text_headers.get("~reason"))
                ampe.put(holder)  # the loop does that for all others
                return
            case _:
                print("  came back:", message.opcode.name, message.status.name)


async def print_address(bound: object) -> None:
    match bound:
        case TCPServerAddress(host, port):
            print(f"listening on {host}, port chosen by the system: {port != 0}")
        case UDSServerAddress(path):
            file = trio.Path(path)
            mode = (await file.stat()).st_mode & 0o777
            print(f"listening on {file.name}, a file for its owner only: {mode:o}")
        case other:
            raise AssertionError(other)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = trio.Path(directory, "socket")
        async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
            await listen_and_stop(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
            await listen_and_stop(ampe, chnls, UDSServerAddress(path))
            print("the file is still there:", await path.exists())
            listen(ampe, chnls, UDSServerAddress(path))
            async for holder in chnls:  # the WelcomeResponse
                print("listening again:", await path.exists())
                ampe.put(holder)
                break
        print("and after the engine:", await path.exists())


if __name__ == "__main__":
    trio.run(main)
