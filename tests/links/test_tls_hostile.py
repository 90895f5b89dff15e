"""Who speaks TLS, and then not quite: flights and records that were changed on the way.

In memory, so that there can be a million of them. Whatever comes, the link waits, refuses or goes
on; it raises nothing, gives the application nothing that was not sent, and keeps nothing.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from random import Random
from typing import Final

import attrs
import pytest

from pytofu.links.base import Link, LinkError, Wait
from pytofu.links.memory import MemoryLink
from pytofu.links.tls_link import TLSLink
from tests.leaks import resident_bytes
from tests.tls_sockets import client_context, server_context

NAME: Final = "localhost"
WORDS: Final = b"some words"
MIB: Final = 1024 * 1024
WARM: Final = 2_000
"""Attacks after which all has been loaded and reserved that is once."""


@attrs.frozen
class Honest:
    """OpenSSL in memory: it says what is right, and what is changed then."""

    tls: ssl.SSLObject
    heard: ssl.MemoryBIO
    says: ssl.MemoryBIO

    @classmethod
    def client(cls) -> "Honest":
        """One that connects."""
        heard, says = ssl.MemoryBIO(), ssl.MemoryBIO()
        return cls(client_context().wrap_bio(heard, says, server_hostname=NAME), heard, says)

    @classmethod
    def server(cls) -> "Honest":
        """One that was connected to."""
        heard, says = ssl.MemoryBIO(), ssl.MemoryBIO()
        return cls(server_context().wrap_bio(heard, says, server_side=True), heard, says)

    def flight(self, heard: bytes = b"") -> bytes:
        """What it says next in the handshake."""
        self.heard.write(heard)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.says.read()

    def record(self) -> bytes:
        """The words; hands are shaken."""
        self.tls.write(WORDS)
        return self.says.read()


@cache
def first_flight() -> bytes:
    """What a client says first."""
    return Honest.client().flight()


def mutated(data: bytes, random: Random) -> bytes:
    """Some bytes changed, and some left out or twice, or the rest."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    at, length = random.randrange(len(changed)), random.randrange(8)
    match random.randrange(6):
        case 0:
            del changed[at : at + length]
        case 1:
            changed[at:at] = changed[at : at + length]
        case 2:
            del changed[at:]
        case _:
            pass
    return bytes(changed)


def take(link: Link) -> bytes:
    """All that has come."""
    data = link.receive(65_552)
    assert isinstance(data, bytes)
    return data


def endure(attacker: MemoryLink, link: TLSLink, data: bytes, random: Random) -> None:
    """Be told this, and perhaps that it was all; then end in one way or the other."""
    if data:
        attacker.send(data)
    if random.randrange(2):
        attacker.end()
    state = link.open()
    received = b""
    if state is None:
        for _ in range(4):
            got = link.receive(random.choice([4, 65_552]))
            if isinstance(got, bytes):
                received += got
            else:
                assert isinstance(got, Wait | LinkError)
        assert isinstance(link.send(b"x"), int | Wait | LinkError)
        if random.randrange(2):
            link.end()
    else:
        assert isinstance(state, Wait | LinkError)
    assert WORDS.startswith(received)
    link.close(reset=random.choice([True, False]))
    attacker.close(reset=True)


def first_flight_at_a_server(random: Random) -> None:
    attacker, inner = MemoryLink.pair()
    endure(attacker, TLSLink(inner, server_context()), mutated(first_flight(), random), random)


def second_flight_at_a_server(random: Random) -> None:
    attacker, inner = MemoryLink.pair()
    server, client = TLSLink(inner, server_context()), Honest.client()
    attacker.send(client.flight())
    assert server.open() is Wait.READABLE
    endure(attacker, server, mutated(client.flight(take(attacker)), random), random)


def flight_at_a_client(random: Random) -> None:
    attacker, inner = MemoryLink.pair()
    client, server = TLSLink(inner, client_context(), NAME), Honest.server()
    assert client.open() is Wait.READABLE
    endure(attacker, client, mutated(server.flight(take(attacker)), random), random)


def record_at_a_server(random: Random) -> None:
    attacker, inner = MemoryLink.pair()
    server, client = TLSLink(inner, server_context()), Honest.client()
    attacker.send(client.flight())
    assert server.open() is Wait.READABLE
    attacker.send(client.flight(take(attacker)))
    assert server.open() is None
    endure(attacker, server, mutated(client.record(), random), random)


def record_at_a_client(random: Random) -> None:
    attacker, inner = MemoryLink.pair()
    client, server = TLSLink(inner, client_context(), NAME), Honest.server()
    assert client.open() is Wait.READABLE
    attacker.send(server.flight(take(attacker)))
    assert client.open() is None
    tickets = server.flight(take(attacker))
    endure(attacker, client, mutated(tickets + server.record(), random), random)


ATTACKS: Final[dict[Callable[[Random], None], int]] = {
    first_flight_at_a_server: 600_000,
    second_flight_at_a_server: 100_000,
    flight_at_a_client: 100_000,
    record_at_a_server: 100_000,
    record_at_a_client: 100_000,
}
"""How many there are of each in the long run: a million."""


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_was_changed(attack: Callable[[Random], None]) -> None:
    random = Random(1)
    for _ in range(150):
        attack(random)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("attack", "count"), ATTACKS.items())
def test_a_million(
    attack: Callable[[Random], None], count: int, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(2)
    for _ in range(WARM):
        attack(random)
    before = resident_bytes()
    for _ in range(count - WARM):
        attack(random)
    grown = resident_bytes() - before
    print(f"{count:,} times {attack.__name__}: grown by {grown / MIB:.1f} MiB")
    assert grown < 8 * MIB
    assert not caplog.records
