"""Engines whose peers change what TLS says: over real sockets, and nothing is left behind.

How links take it is a test of the links, a million times; here it is the engine around them.
"""

import logging
import socket
from random import Random
from typing import Final

import pytest
import trio

from pytofu import AmpeStatus, TLSClientAddress, TLSServerAddress
from tests.hostile_tls import Honest, first_flight, mutated
from tests.leaks import live_tasks, open_files, python_blocks, resident_bytes
from tests.support import App, Event, open_app
from tests.tls_sockets import HOST

MIB: Final = 1024 * 1024
AT_ONCE: Final = 20
"""Attacks under way."""
WARM: Final = 3_000
"""Attacks after which OpenSSL has reserved what it ever does, some 30 MiB."""
REASONS: Final = {
    "server": {
        *(AmpeStatus.COMMUNICATION_FAILED, AmpeStatus.PEER_DISCONNECTED),
        AmpeStatus.NOT_ALLOWED,  # TLS was in order, and no Hello came
    },
    "client": {AmpeStatus.CONNECT_FAILED, AmpeStatus.COMMUNICATION_FAILED},
}


def ended(events: list[Event]) -> list[AmpeStatus]:
    return [event.reason for event in events if event.reason is not None]


class Clients:
    """They connect to a server of pytofu's, and say what is nearly right."""

    def __init__(self, address: TLSClientAddress) -> None:
        self._address = address

    async def attack(self, app: App, random: Random) -> list[Event]:
        """So many at once; what the server made of them."""
        socks = [
            socket.create_connection((self._address.host, self._address.port))
            for _ in range(AT_ONCE)
        ]
        for sock in socks:
            sock.sendall(mutated(first_flight(), random))
        events = await app.rest()
        for sock in socks:
            sock.close()
        while len(ended(events)) < AT_ONCE:
            events.append(await app.event())
        return events


class Servers:
    """A client of pytofu's connects to them, and what they answer is nearly right."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        host, port = listening.getsockname()
        self._address = TLSClientAddress(host, port)

    async def attack(self, app: App, random: Random) -> list[Event]:
        """So many at once; what the client made of them."""
        for _ in range(AT_ONCE):
            app.connect(self._address)
        events = await app.rest()
        socks: list[socket.socket] = []
        for _ in range(AT_ONCE):
            sock, _ = self._listening.accept()
            socks.append(sock)
            sock.sendall(mutated(Honest.server().flight(sock.recv(1 << 16)), random))
        events += await app.rest()
        for sock in socks:
            sock.close()
        while len(ended(events)) < AT_ONCE:
            events.append(await app.event())
        return events


async def endure(
    side: str, total: int, caplog: pytest.LogCaptureFixture
) -> tuple[int, int, dict[AmpeStatus, int]]:
    """Bytes and blocks by which the process grew, and why the channels ended."""
    random, reasons = Random(4), dict[AmpeStatus, int]()
    with caplog.at_level(logging.WARNING, "pytofu"), socket.create_server((HOST, 0)) as listening:
        async with open_app() as app:
            attackers: Clients | Servers
            if side == "server":
                address = (await app.listen(TLSServerAddress(HOST, 0))).client_address
                assert isinstance(address, TLSClientAddress)
                attackers = Clients(address)
            else:
                attackers = Servers(listening)
            free, channels = app.ampe.statistics().pool_free, app.ampe.statistics().channels
            tasks, files = live_tasks(), len(open_files())
            resident, blocks = resident_bytes(), python_blocks()
            for done in range(0, total, AT_ONCE):
                if done == WARM:
                    resident, blocks = resident_bytes(), python_blocks()
                for reason in ended(await attackers.attack(app, random)):
                    reasons[reason] = reasons.get(reason, 0) + 1
            assert await app.rest() == []
            assert (live_tasks(), len(open_files())) == (tasks, files)
            assert app.ampe.statistics().channels == channels
            assert app.ampe.statistics().pool_free == free
            grown = resident_bytes() - resident, python_blocks() - blocks
    assert not caplog.records
    return *grown, reasons


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    "total",
    [
        pytest.param(400, marks=pytest.mark.timeout(60)),
        pytest.param(20_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_what_is_nearly_tls(side: str, total: int, caplog: pytest.LogCaptureFixture) -> None:
    grown, blocks, reasons = trio.run(endure, side, total, caplog)
    print(f"{total:,} attacks on a {side}: {grown / MIB:.1f} MiB, {blocks} blocks, {reasons}")
    assert sum(reasons.values()) == total
    assert reasons.keys() <= REASONS[side]
    if total > WARM:
        assert grown < 8 * MIB
        assert blocks < 1_000
