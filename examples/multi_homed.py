"""One server, at home in several places: TCP and a Unix socket, one loop, any service.

The loop does the protocol: listening, hello, bye. What the requests mean is the business of a
service, which is any object with the right method: the loop knows its interface only.
"""

import tempfile
from collections.abc import Sequence
from typing import Protocol

import trio
from common import (
    ClientAddress,
    ServerAddress,
    compose,
    connect,
    describe,
    expect,
    open_channel,
    respond,
    say_bye,
    where_to_connect,
)

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    OpCode,
    TCPServerAddress,
    UDSServerAddress,
    open_ampe,
)


class Service(Protocol):
    """What answers the requests."""

    def answer(self, request: bytes) -> bytes: ...


class Reverser:
    """Answers with the request back to front."""

    def answer(self, request: bytes) -> bytes:
        return request[::-1]


class Counter:
    """Answers with the number of requests so far, wherever they came from."""

    def __init__(self) -> None:
        self._count = 0

    def answer(self, request: bytes) -> bytes:
        self._count += 1
        return b"%b is number %d" % (request, self._count)


async def serve(
    homes: Sequence[ServerAddress],
    service: Service,
    task_status: trio.TaskStatus[list[ClientAddress]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started when all the homes are ready for clients."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        for home in homes:
            open_channel(ampe, chnls, home)
        addresses: list[ClientAddress] = []
        async for holder in chnls:
            message = holder.unwrap()
            match message.opcode:
                case OpCode.WELCOME_RESPONSE:
                    if message.status is not AmpeStatus.SUCCESS:
                        raise RuntimeError(describe(message))
                    addresses.append(where_to_connect(message))
                    if len(addresses) == len(homes):
                        task_status.started(addresses)
                case OpCode.REQUEST:
                    respond(chnls, holder, service.answer(message.payload))
                case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                    respond(chnls, holder)
                case _:
                    pass  # a client has gone


async def ask(ampe: Ampe, chnls: ChannelGroup, address: ClientAddress) -> None:
    channel = await connect(ampe, chnls, address)
    kind = type(address).__name__.removesuffix("ClientAddress")
    chnls.post(compose(ampe, OpCode.REQUEST, channel, f"request over {kind}".encode()))
    response = await expect(ampe, chnls, OpCode.RESPONSE)
    print(f"{kind}:", response.payload.decode())
    await say_bye(ampe, chnls, channel)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        homes = [TCPServerAddress("127.0.0.1", 0), UDSServerAddress(f"{directory}/socket")]
        services: list[Service] = [Reverser(), Counter()]
        for service in services:
            async with (
                trio.open_nursery() as nursery,
                open_ampe() as ampe,
                ampe.open_channel_group() as chnls,
            ):
                addresses: list[ClientAddress] = await nursery.start(serve, homes, service)
                for address in sorted(addresses, key=repr):
                    await ask(ampe, chnls, address)
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
