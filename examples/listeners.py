"""Listen over TCP and over a Unix socket: where, and for how long."""

import tempfile

import trio
from common import compose, describe, expect, open_channel

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    OpCode,
    TCPServerAddress,
    UDSServerAddress,
    open_ampe,
    parse_address,
)


async def listen_and_stop(
    ampe: Ampe, chnls: ChannelGroup, address: TCPServerAddress | UDSServerAddress
) -> None:
    """A listener is a channel: a WelcomeRequest opens it, a ByeSignal closes it."""
    listener = open_channel(ampe, chnls, address)
    welcome = await expect(ampe, chnls, OpCode.WELCOME_RESPONSE)
    match parse_address(welcome):
        case TCPServerAddress(host, port):
            print(f"listening on {host}, port chosen by the system: {port != 0}")
        case UDSServerAddress(path):
            file = trio.Path(path)
            mode = (await file.stat()).st_mode & 0o777
            print(f"listening on {file.name}, a file for its owner only: {mode:o}")
        case other:
            raise AssertionError(other)

    chnls.post(compose(ampe, OpCode.BYE_SIGNAL, listener))
    print(" ", describe(await expect(ampe, chnls, OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED)))
    print(" ", describe(await expect(ampe, chnls, OpCode.SIGNAL, AmpeStatus.CHANNEL_CLOSED)))


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = trio.Path(directory, "socket")
        async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
            await listen_and_stop(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
            await listen_and_stop(ampe, chnls, UDSServerAddress(path))
            print("the file is still there:", await path.exists())
            open_channel(ampe, chnls, UDSServerAddress(path))
            await expect(ampe, chnls, OpCode.WELCOME_RESPONSE)
            print("listening again:", await path.exists())
        print("and after the engine:", await path.exists())


if __name__ == "__main__":
    trio.run(main)
