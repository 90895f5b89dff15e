"""One engine opens and closes more channels than there are numbers (PROTOCOL 2)."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pytofu import AmpeStatus, OpCode, open_ampe
from tests.leaks import python_blocks, resident_bytes
from tests.support import App, Event, Kind, ListenerEnd, server_address_of

MIB: Final = 1024 * 1024
AT_ONCE: Final = 32
"""Connections under way."""
WARM: Final = 600
"""Connections after which all the closed numbers are remembered that ever are."""
KINDS: Final[tuple[Kind, ...]] = ("tcp", "uds")


@attrs.frozen
class Mark:
    """What was measured when so many connections had closed."""

    closed: int
    cpu: float
    """Seconds of CPU time: what else the machine does hardly shows in it."""
    resident: int
    blocks: int


def mark(closed: int) -> Mark:
    return Mark(closed, time.process_time(), resident_bytes(), python_blocks())


class Connections:
    """A server and its clients in one group: every connection has both its channels here.

    One after the other goes over TCP and UDS, is closed by a Bye exchange and aborted.
    """

    def __init__(self, app: App, listeners: list[ListenerEnd]) -> None:
        self.app = app
        self.closed = 0
        """Channels of clients."""
        self._addresses = [listener.client_address for listener in listeners]
        self._started = 0
        self._clients: dict[int, bool] = {}  # open channels; whether they end by a Bye
        self._servers: set[int] = set()

    async def run(self, until: int) -> None:
        """Go on until so many have closed, and then until all that were begun have."""
        while self.closed < until:
            while len(self._clients) < AT_ONCE:
                self._start()
            self._handle(await self.app.event())
        await self._finish()

    def _start(self) -> None:
        kind, polite = self._started & 1, bool(self._started & 2)
        self._started += 1
        number = self.app.connect(self._addresses[kind]).number
        assert number not in self._clients
        assert number not in self._servers
        self._clients[number] = polite

    def _handle(self, event: Event) -> None:
        number, polite = event.channel, self._clients.get(event.channel)
        if event.reason is not None:
            if polite is None:
                self._servers.remove(number)
            else:
                expected = AmpeStatus.SUCCESS if polite else AmpeStatus.CHANNEL_CLOSED
                assert event.reason is expected
                del self._clients[number]
                self.closed += 1
            return
        match event.opcode:
            case OpCode.HELLO_REQUEST:
                assert polite is None
                assert number not in self._servers
                self._servers.add(number)
                self._answer(event)
            case OpCode.HELLO_RESPONSE:
                self.app.post(OpCode.BYE_REQUEST if polite else OpCode.BYE_SIGNAL, number)
            case OpCode.BYE_REQUEST:
                self._answer(event)
            case OpCode.BYE_RESPONSE:
                assert polite
            case OpCode.BYE_SIGNAL:
                assert polite is False
            case _:
                raise AssertionError(event)

    def _answer(self, event: Event) -> None:
        self.app.post(event.opcode.echo().unwrap(), event.channel, event.message_id)

    async def _finish(self) -> None:
        # A channel under way has some forty blocks, and how many are differs by a dozen or two.
        while self._clients or self._servers:
            self._handle(await self.app.event())


async def connect_and_close(total: int, directory: Path) -> list[Mark]:
    """Open and close so many connections; measure at the start and after each tenth."""
    async with open_ampe() as ampe:
        app = App(ampe, ampe.create())
        listeners = [await app.listen(server_address_of(kind, directory)) for kind in KINDS]
        pool = ampe.statistics().pool_free
        connections = Connections(app, listeners)
        marks = [mark(0)]
        for tenth in range(1, 11):
            await connections.run(total * tenth // 10)
            marks.append(mark(connections.closed))
        statistics = ampe.statistics()
        assert (statistics.channels, statistics.pool_free) == (len(listeners), pool)
    return marks


@pytest.mark.parametrize(
    "total",
    [
        pytest.param(3_000, marks=pytest.mark.timeout(60)),
        pytest.param(200_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_numbers_memory_and_speed_last(total: int, tmp_path: Path) -> None:
    marks = trio.run(connect_and_close, total, tmp_path)
    costs = [
        (after.cpu - before.cpu) / (after.closed - before.closed)
        for before, after in pairwise(marks)
    ]
    last = marks[-1]
    first = next(mark for mark in marks if mark.closed >= WARM)
    grown = last.resident - first.resident
    print(
        f"{total} connections: CPU time of each, tenth by tenth,"
        f" {', '.join(f'{cost * 1e6:.0f}' for cost in costs)} us;"
        f" RSS {first.resident / MIB:.1f} MiB after {first.closed}, {grown / MIB:+.2f} at the end;"
        f" {last.blocks - first.blocks:+} blocks"
    )
    assert last.blocks - first.blocks < (last.closed - first.closed) / 10
    assert grown < 4 * MIB
    if total > 100_000:  # else a busy machine decides it
        assert costs[-1] < 1.3 * costs[0]
