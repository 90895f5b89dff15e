"""Peers are killed in mid-stream; the survivor says what was not sent, and serves the others.

The survivor streams to and from a process, as its client or its server, until that process is
killed. Two other processes have their requests answered all the time.
"""

import random
import time
from contextlib import ExitStack, suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Final, Literal

import attrs
import pytest
import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    open_ampe,
)
from tests.soak.processes import address_of, running
from tests.support import App, Kind, address_headers, server_address_of

BODY: Final = bytes(8_000)
MOST: Final = 500
"""The most messages that come from a peer before it is killed."""
FURTHER: Final = 20
"""How many requests of each of the others must be answered after each kill."""

type Role = Literal["listen", "connect"]

KINDS: Final[tuple[Kind, ...]] = ("tcp", "uds")
PEERS: Final[tuple[tuple[Role, Kind], ...]] = (
    ("listen", "tcp"),
    ("connect", "tcp"),
    ("listen", "uds"),
    ("connect", "uds"),
)


@attrs.define
class Stream:
    """A channel to a peer that will be killed. Messages are numbered from 1 both ways."""

    number: int
    enough: int
    """How many messages to receive before that."""
    posted: int = 0
    received: int = 0
    returned: list[int] = attrs.Factory(list)
    may_die: trio.Event = attrs.Factory(trio.Event)
    closed: trio.Event = attrs.Factory(trio.Event)

    def check(self) -> None:
        """What was not sent came back: the last ones, all of them, each once, in order."""
        first = self.posted - len(self.returned) + 1
        assert self.returned == list(range(first, self.posted + 1))


class Survivor:
    """Server of some and client of others, in one group, with one task that receives."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup) -> None:
        self.app = App(ampe, chnls)
        self.enough = 0
        """For the next stream."""
        self._streams: dict[int, Stream] = {}
        self._asked: dict[int, int] = {}  # requests of the others, by their channels
        self._progress = trio.Event()
        self._accepted, self.accepted = trio.open_memory_channel[Stream](1)

    def connect(self, where: str) -> Stream:
        """Connect to a peer."""
        header = self.app.post(OpCode.HELLO_REQUEST, headers=(("~connect_to", where),))
        return self._new_stream(header.channel_number)

    def _new_stream(self, number: int) -> Stream:
        stream = self._streams[number] = Stream(number, self.enough)
        return stream

    async def send(self, stream: Stream) -> None:
        """Stream to the peer until the channel closes."""
        with suppress(ChannelClosedException):
            while True:
                holder = self.app.message(
                    OpCode.SIGNAL, stream.number, stream.posted + 1, body=BODY
                )
                await self.app.chnls.send(holder)
                stream.posted += 1
        self.app.ampe.put(holder)

    async def others_are_served(self) -> None:
        """Wait until each of the others has had more requests answered."""
        before = dict(self._asked)
        while any(
            count < before.get(number, 0) + FURTHER for number, count in self._asked.items()
        ) or len(self._asked) < len(KINDS):
            self._progress = trio.Event()
            await self._progress.wait()

    async def receive(self, others: int) -> None:
        """Receive everything, until so many others have come and gone."""
        while others:
            message = await self.app.receive()
            holder = Holder(message)
            if message.is_from_engine():
                others -= self._from_engine(message)
            else:
                self._from_peer(message, holder)
            self.app.ampe.put(holder)

    def _from_engine(self, message: Message) -> bool:
        """Whether one of the others has gone."""
        number = message.channel_number
        stream = self._streams.get(number)
        if message.text_headers.get("~reason") is None:
            assert message.status in (AmpeStatus.CHANNEL_CLOSED, AmpeStatus.COMMUNICATION_FAILED)
            if stream is None:
                assert message.opcode is OpCode.RESPONSE
            else:
                assert (message.opcode, message.payload) == (OpCode.SIGNAL, BODY)
                stream.returned.append(message.message_id)
            return False
        if stream is None:
            del self._asked[number]
            return True
        del self._streams[number]
        stream.closed.set()
        return False

    def _from_peer(self, message: Message, holder: Holder[Message]) -> None:
        number, message_id = message.channel_number, message.message_id
        match message.opcode:
            case OpCode.HELLO_REQUEST:
                if message.payload == b"ask":
                    self._asked[number] = 0
                else:
                    self._accepted.send_nowait(self._new_stream(number))
            case OpCode.REQUEST:
                self._asked[number] += 1
                assert message_id == self._asked[number]
                self._progress.set()
            case OpCode.SIGNAL:
                stream = self._streams[number]
                stream.received += 1
                assert message_id == stream.received
                if stream.received == stream.enough:
                    stream.may_die.set()
                return
            case opcode:
                assert opcode is OpCode.HELLO_RESPONSE
                return
        message.opcode = message.opcode.echo().unwrap()
        with suppress(ChannelClosedException):  # the peer has been killed since
            self.app.chnls.post(holder)


async def kill_one(survivor: Survivor, role: Role, where: str, enough: int) -> Stream:
    """Start a peer, stream both ways, kill it; what became of the channel."""
    survivor.enough = enough
    with running(role, where) as process:
        if role == "listen":
            stream = survivor.connect(await trio.to_thread.run_sync(address_of, process))
        else:
            stream = await survivor.accepted.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(survivor.send, stream)
            await stream.may_die.wait()
            process.kill()
            await stream.closed.wait()
    return stream


async def survive(kills: int, directory: Path) -> tuple[int, int]:
    """Kill so many peers; how many messages came from them, and how many came back."""
    choice = random.Random(0)
    received = returned = 0
    async with open_ampe() as ampe:
        pool = ampe.statistics().pool_free
        survivor = Survivor(ampe, ampe.create())
        listeners = {
            kind: await survivor.app.listen(server_address_of(kind, directory)) for kind in KINDS
        }
        addresses = {
            kind: address_headers(listener.client_address)[0][1]
            for kind, listener in listeners.items()
        }
        free: dict[Kind, str] = {"tcp": "tcp|127.0.0.1|0", "uds": f"uds|{directory / 'peer'}"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(survivor.receive, len(addresses))
            with ExitStack() as others:
                for where in addresses.values():
                    others.enter_context(running("ask", where))
                for role, kind in islice(cycle(PEERS), kills):
                    where = free[kind] if role == "listen" else addresses[kind]
                    stream = await kill_one(survivor, role, where, choice.randint(1, MOST))
                    stream.check()
                    received += stream.received
                    returned += len(stream.returned)
                    await survivor.others_are_served()
        await ampe.destroy(survivor.app.chnls)
        assert ampe.statistics().pool_free == pool
    return received, returned


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(4, marks=pytest.mark.timeout(60)),
        pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_the_survivor_reports_and_goes_on(kills: int, tmp_path: Path) -> None:
    started = time.perf_counter()
    received, returned = trio.run(survive, kills, tmp_path)
    print(
        f"{kills} peers killed in {time.perf_counter() - started:.1f} s:"
        f" {received} messages had come from them, {returned} came back unsent"
    )
    assert returned > 0
