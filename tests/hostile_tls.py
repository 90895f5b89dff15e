"""What attackers of TLS say: what is right, and then changed."""

import ssl
from contextlib import suppress
from functools import cache
from random import Random
from typing import Final

import attrs

from tests.tls_sockets import client_context, server_context

NAME: Final = "localhost"
WORDS: Final = b"some words"


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
