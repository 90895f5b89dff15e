"""Find out that a peer is dead although its connection is not.

When a process hangs, its connection stays open and its system goes on answering for it: nothing
says that nobody is there any more. So a client sends a Signal now and then, and the server takes
long silence for death. The clients here are processes of their own; one of them is stopped.
"""

import signal
import sys
from functools import partial

import trio
from common import compose, describe, is_closed, listen, respond

from pytofu import (
    Ampe,
    ChannelGroup,
    Holder,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    borrowed_message,
    open_ampe,
)

INTERVAL = 0.1  # seconds between two signs of life
PATIENCE = 1.5  # seconds of silence that mean death: many intervals, since anybody may be slow


class Watch:
    """Until when each channel is believed to be alive."""

    def __init__(self) -> None:
        self._deadlines: dict[int, float] = {}

    def heard_of(self, channel: int) -> None:
        self._deadlines[channel] = trio.current_time() + PATIENCE

    def forget(self, channel: int) -> None:
        self._deadlines.pop(channel, None)

    def timeout_ns(self) -> int | None:
        """How long to wait for messages until somebody may be dead."""
        if not self._deadlines:
            return None
        return max(0, int((min(self._deadlines.values()) - trio.current_time()) * 1e9))

    def take_silent(self) -> list[int]:
        """The channels that nothing has been heard of for too long; they are forgotten."""
        now = trio.current_time()
        silent = [channel for channel, deadline in self._deadlines.items() if deadline <= now]
        for channel in silent:
            self.forget(channel)
        return silent


async def serve(ampe: Ampe, chnls: ChannelGroup, clients: int, all_here: trio.Event) -> None:
    """Watch so many clients until they have gone."""
    watch = Watch()
    names: dict[int, str] = {}  # of those who are here
    while clients:
        received = await chnls.wait_receive(timeout_ns=watch.timeout_ns())
        if received is None:
            for channel in watch.take_silent():
                print(f"{names[channel]}: no sign of life, given up")
                chnls.post(compose(ampe, OpCode.BYE_SIGNAL, channel))
            continue
        holder = Holder(received)
        message = holder.unwrap()
        channel = message.channel_number
        if is_closed(message):
            watch.forget(channel)
            print(f"{names.pop(channel)}: {describe(message)}")
            clients -= 1
            for other in names:  # those who have outlived it may go
                chnls.post(compose(ampe, OpCode.BYE_REQUEST, other))
        elif message.is_from_application():
            watch.heard_of(channel)
            if message.opcode is OpCode.HELLO_REQUEST:
                names[channel] = message.payload.decode()
                respond(chnls, holder)
                if len(names) == clients:
                    all_here.set()
        ampe.put(holder)


async def live(address: TCPClientAddress, name: str) -> None:
    """A client: shows signs of life until it is asked to go."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            address.format(holder.value)
            holder.unwrap().set_payload(name.encode())
            channel = chnls.post(holder).channel_number
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show_signs_of_life, ampe, chnls, channel)
            async for holder in chnls:
                if holder.unwrap().opcode is OpCode.BYE_REQUEST:
                    respond(chnls, holder)  # sent when the engine is left, if not before
                    break
            nursery.cancel_scope.cancel()


async def show_signs_of_life(ampe: Ampe, chnls: ChannelGroup, channel: int) -> None:
    while True:
        await trio.sleep(INTERVAL)
        chnls.post(compose(ampe, OpCode.SIGNAL, channel))


async def main() -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        trio.open_nursery() as nursery,
    ):
        address = await listen(ampe, chnls, TCPServerAddress("127.0.0.1", 0))
        assert isinstance(address, TCPClientAddress)
        command = [sys.executable, __file__, str(address.port)]
        nursery.start_soon(trio.run_process, [*command, "lucky"])
        unlucky: trio.Process = await nursery.start(
            partial(trio.run_process, check=False), [*command, "unlucky"]
        )
        all_here = trio.Event()
        async with trio.open_nursery() as serving:
            serving.start_soon(serve, ampe, chnls, 2, all_here)
            await all_here.wait()
            unlucky.send_signal(signal.SIGSTOP)
            print("unlucky: stopped, and its connection stays open")
        unlucky.kill()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [port, name]:
            trio.run(live, TCPClientAddress("127.0.0.1", int(port)), name)
        case _:
            trio.run(main)
