"""Who speaks TLS, and then not quite: flights and records that were changed on the way.

In memory, so that there can be a million of them. Whatever comes, the link waits, refuses or goes
on; it raises nothing, gives the application nothing that was not sent, and keeps nothing.
"""

from collections.abc import Callable
from random import Random
from typing import Final

import pytest

from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.memory import MemoryLink
from pytofu.links.tls_link import TLSLink
from tests.hostile_tls import NAME, WORDS, Honest, first_flight, mutated
from tests.leaks import resident_bytes
from tests.tls_sockets import client_context, server_context

MIB: Final = 1024 * 1024
WARM: Final = 2_000
"""Attacks after which all has been loaded and reserved that is once."""


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


def test_closing_where_hands_could_not_be_shaken_and_something_is_left() -> None:
    """OpenSSL says that there is something to be read, and cannot read it."""
    attacker, inner = MemoryLink.pair()
    client, server = TLSLink(inner, client_context(), NAME), Honest.server()
    assert client.open() is Wait.READABLE
    flight = server.flight(take(attacker))
    # A message that promises to be longer, and goes on with an encrypted record.
    end = 5 + int.from_bytes(flight[3:5])
    hello, rest = flight[:end], flight[end:].removeprefix(b"\x14\x03\x03\x00\x01\x01")
    attacker.send(hello[:6] + b"\x00\xff\xff" + hello[9:] + rest)
    error = client.open()
    assert isinstance(error, LinkError)
    assert error.detail == "TLS: UNEXPECTED_MESSAGE"
    assert client.end() is None
    client.close(reset=False)
    assert isinstance(attacker.receive(65_552), bytes)  # the alert
    assert attacker.receive(65_552) is PEER_CLOSED


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
