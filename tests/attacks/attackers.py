"""Peers that mean harm, each in a process of its own: attackers.py NAME PORT SECONDS.

They speak to a server at 127.0.0.1 with raw sockets, so that no good manners of the engine's own
stand in the way. Each goes on until its time is up, whatever the server does, and then leaves
without a word.
"""

import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

HEADER: Final = struct.Struct(">HBBQHH")  # channel, proto byte, status, message_id, lengths
REQUEST, RESPONSE, SIGNAL, HELLO, HELLO_RESPONSE, BYE, BYE_RESPONSE, BYE_SIGNAL = range(8)
MOST: Final = 65_535
"""Bytes of the longest body, and of the longest text headers."""
PIECE: Final = 1 << 18


def frame(opcode: int, text: bytes = b"", body: bytes = b"", *, number: int = 5) -> bytes:
    """A message as bytes."""
    return HEADER.pack(0, opcode, 0, number, len(text), len(body)) + text + body


def many(message: bytes) -> bytes:
    """As many copies as make a good piece to send."""
    return message * max(1, PIECE // len(message))


HELLO_FRAME: Final = frame(HELLO, b"~connect_to:tcp|127.0.0.1|1\r\n")


class Attack:
    """What all attackers need."""

    def __init__(self, port: int, seconds: float) -> None:
        self._where = ("127.0.0.1", port)
        self._end = time.monotonic() + seconds
        self.random = random.Random(1)

    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._end

    def connect(self, first: bytes = HELLO_FRAME, *, small: bool = False) -> socket.socket | None:
        """Connect and say this; `small`: with as small a receive buffer as the system has."""
        connection = socket.socket()
        connection.settimeout(0.5)
        if small:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        try:
            connection.connect(self._where)
            connection.sendall(first)
        except OSError:  # not accepted now, or thrown out
            connection.close()
            return None
        connection.setblocking(False)
        return connection

    def connections(
        self, count: int, first: bytes = HELLO_FRAME, *, small: bool = False
    ) -> list[socket.socket]:
        """So many that were accepted; fewer if they are not wanted or time is short."""
        tries = (self.connect(first, small=small) for _ in range(count) if self.goes_on())
        return [connection for connection in tries if connection is not None]

    def storm(
        self,
        count: int,
        data: bytes,
        *,
        reads: bool = False,
        small: bool = False,
        piece: int = PIECE,
        pause: float = 0,
    ) -> None:
        """Send this again and again on so many connections; reconnect when thrown out."""
        places = dict.fromkeys(self.connections(count, small=small), 0)
        while self.goes_on():
            if not places:
                places = dict.fromkeys(self.connections(count, small=small), 0)
            for connection in self._writable(list(places)):
                try:
                    at = places[connection]
                    at += connection.send(memoryview(data)[at : at + piece])
                    places[connection] = at % len(data)
                except BlockingIOError:
                    pass
                except OSError:
                    connection.close()
                    del places[connection]
                    if (again := self.connect(small=small)) is not None:
                        places[again] = 0
                    continue
                if reads:
                    with suppress(OSError):
                        connection.recv(PIECE)
            time.sleep(pause)

    def _writable(self, connections: list[socket.socket]) -> list[socket.socket]:
        if len(connections) > 500:  # more than `select` can do; sending says it too
            return connections
        return select.select([], connections, [], 0.05)[1]

    def hold(self, count: int, first: bytes) -> None:
        """Say this on so many connections, and nothing more."""
        held = self.connections(count, first)
        while self.goes_on():
            time.sleep(0.01)
            if len(held) < count:
                held += self.connections(1, first)

    def connect_and_go(self, first: bytes, *, reset: bool) -> None:
        """Connect, say this and leave, as often as can be."""
        while self.goes_on():
            connection = self.connect(first)
            if connection is not None:
                if reset:
                    connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                connection.close()


type Attacker = Callable[[Attack], None]

ATTACKERS: Final[dict[str, Attacker]] = {}
PEERS: Final[dict[str, int]] = {}
"""As how many peers each comes: connections that it has at a time and makes demands on."""


def attacker(peers: int) -> Callable[[Attacker], Attacker]:
    """One of the list; its name is its function's."""

    def add(function: Attacker) -> Attacker:
        ATTACKERS[function.__name__] = function
        PEERS[function.__name__] = peers
        return function

    return add


# ---------------------------------------------------------------------- asks and does not read


@attacker(peers=1)
def asks_for_much_and_never_reads(attack: Attack) -> None:
    attack.storm(1, many(frame(REQUEST, body=bytes(60_000))), small=True)


@attacker(peers=1)
def asks_for_little_and_never_reads(attack: Attack) -> None:
    attack.storm(1, many(frame(REQUEST)), small=True)


@attacker(peers=100)
def a_hundred_ask_and_never_read(attack: Attack) -> None:
    attack.storm(100, many(frame(REQUEST, body=bytes(60_000))), small=True)


@attacker(peers=3_000)
def thousands_ask_and_never_read(attack: Attack) -> None:
    attack.storm(3_000, many(frame(REQUEST, body=bytes(MOST))), small=True)


@attacker(peers=3_000)
def thousands_ask_for_little_and_never_read(attack: Attack) -> None:
    attack.storm(3_000, many(frame(REQUEST)), small=True)


@attacker(peers=1_000)
def asks_and_leaves(attack: Attack) -> None:
    """With all the answers still to come; what was asked is served all the same."""
    while attack.goes_on():
        for connection in attack.connections(20):
            with suppress(OSError):
                connection.send(many(frame(REQUEST, body=bytes(4_000))))
            connection.close()


@attacker(peers=1_000)
def asks_and_half_closes(attack: Attack) -> None:
    held: list[socket.socket] = []
    while attack.goes_on():
        for connection in attack.connections(20, small=True):
            with suppress(OSError):
                connection.send(many(frame(REQUEST, body=bytes(4_000))))
                connection.shutdown(socket.SHUT_WR)
            held.append(connection)
        while len(held) > 300:
            held.pop(0).close()


# ---------------------------------------------------------------------- floods


@attacker(peers=1)
def floods_with_signals(attack: Attack) -> None:
    attack.storm(1, many(frame(SIGNAL)))


@attacker(peers=1)
def floods_with_requests(attack: Attack) -> None:
    attack.storm(1, many(frame(REQUEST)), reads=True)


@attacker(peers=8)
def floods_with_large_messages(attack: Attack) -> None:
    attack.storm(8, many(frame(SIGNAL, b"h:" + b"x" * (MOST - 4) + b"\r\n", bytes(MOST))))


@attacker(peers=4)
def floods_with_text_headers(attack: Attack) -> None:
    """Of which each has to be looked at, for it may be one of the local ones."""
    attack.storm(4, many(frame(REQUEST, b"~a:b\r\n" * (MOST // 6))), reads=True)


@attacker(peers=300)
def floods_on_many_channels(attack: Attack) -> None:
    attack.storm(300, many(frame(REQUEST, body=b"x")), reads=True)


@attacker(peers=20)
def says_bye_and_goes_on(attack: Attack) -> None:
    attack.storm(20, frame(REQUEST) * 50 + frame(BYE) + many(frame(REQUEST)), reads=True)


# ---------------------------------------------------------------------- pieces


@attacker(peers=200)
def sends_pieces_of_two_bytes(attack: Attack) -> None:
    large = frame(SIGNAL, b"h:" + b"x" * (MOST - 4) + b"\r\n", bytes(MOST))
    attack.storm(200, large, piece=2)


@attacker(peers=1_000)
def drips(attack: Attack) -> None:
    attack.storm(1_000, frame(REQUEST, body=bytes(MOST)), piece=1, pause=0.01)


@attacker(peers=1)
def sends_half_frames(attack: Attack) -> None:
    attack.hold(1_500, HELLO_FRAME + frame(REQUEST, body=bytes(MOST))[:60_000])


@attacker(peers=3_000)
def lets_half_frames_grow(attack: Attack) -> None:
    """Always a little above what all together may have begun."""
    large = frame(SIGNAL, b"h:" + b"x" * (MOST - 4) + b"\r\n", bytes(MOST))
    attack.storm(3_000, large[:-1], piece=4_000)


# ---------------------------------------------------------------------- connections


@attacker(peers=1)
def connects_and_resets(attack: Attack) -> None:
    attack.connect_and_go(b"", reset=True)


@attacker(peers=1)
def connects_and_closes(attack: Attack) -> None:
    attack.connect_and_go(b"", reset=False)


@attacker(peers=1)
def says_hello_and_leaves(attack: Attack) -> None:
    attack.connect_and_go(HELLO_FRAME, reset=False)


@attacker(peers=1)
def says_hello_and_resets(attack: Attack) -> None:
    attack.connect_and_go(HELLO_FRAME, reset=True)


@attacker(peers=1)
def says_a_long_hello(attack: Attack) -> None:
    attack.connect_and_go(
        frame(HELLO, b"h:" + b"x" * (MOST - 4) + b"\r\n", bytes(MOST)), reset=True
    )


@attacker(peers=1)
def says_the_longest_hello_that_is_taken(attack: Attack) -> None:
    attack.connect_and_go(frame(HELLO, body=bytes(16 * 1024 - 100)), reset=True)


@attacker(peers=1)
def holds_thousands_in_silence(attack: Attack) -> None:
    attack.hold(5_000, b"")


@attacker(peers=1)
def holds_thousands_after_hello(attack: Attack) -> None:
    attack.hold(5_000, HELLO_FRAME)


@attacker(peers=1)
def holds_hellos_that_are_not_whole(attack: Attack) -> None:
    attack.hold(5_000, frame(HELLO, body=bytes(16_000))[:-1])


# ---------------------------------------------------------------------- what is not allowed


def forgeries(attack: Attack) -> Iterator[bytes]:
    """Messages with fields that only an engine fills in, or that nobody may send."""
    choice = attack.random
    text = b"~reason:channel_closed\r\n~detail:x\r\n~connect_to:tcp|127.0.0.1|1\r\n"
    while True:
        proto, status = choice.randrange(256), choice.randrange(256)
        headers = choice.choice((b"", text, b":\r\n", b"\r\n\r\n", b"\xff" * 20, b"~" * 1000))
        number = choice.choice((0, 1, 2**63, 2**64 - 1))
        yield HEADER.pack(choice.randrange(65536), proto, status, number, len(headers), 3)
        yield headers + b"abc"


@attacker(peers=10)
def forges_headers(attack: Attack) -> None:
    messages = forgeries(attack)
    while attack.goes_on():
        for connection in attack.connections(10):
            with suppress(OSError):
                for _ in range(20):
                    connection.send(next(messages) + next(messages))
            connection.close()


@attacker(peers=1)
def sends_noise(attack: Attack) -> None:
    while attack.goes_on():
        for first in (b"", HELLO_FRAME):
            connection = attack.connect(first + attack.random.randbytes(500))
            if connection is not None:
                connection.close()


@attacker(peers=1)
def says_what_is_not_allowed(attack: Attack) -> None:
    """One message of each kind behind a Hello that has not been answered, or has."""
    while attack.goes_on():
        for opcode in range(16):
            connection = attack.connect(HELLO_FRAME + frame(opcode) * 3)
            if connection is not None:
                connection.close()


if __name__ == "__main__":
    ATTACKERS[sys.argv[1]](Attack(int(sys.argv[2]), float(sys.argv[3])))
