"""Conversations for tests with hostile peers: right ones, mixed, and then changed here and there.

`of_a_client` is what a client may send, from its Hello on. `answers` is what a right server sends
for a frame; `changed` spoils it. All of it is drawn from a `random.Random`, so that a seed stands
for a conversation. What is changed a little reaches states that noise never does: credit for a
stream that has ended, a subscription with the number of a call, a Hello or a Bye in the middle.
"""

from collections.abc import Sequence
from random import Random
from typing import Any, Final

import attrs

from pytofu import OpCode
from pytofu.peers import wire
from tests.support import Frame, frame

type Line = tuple[str, str] | bytes

METHODS: Final = ["echo", "echo", "sleep", "back", "long", "wrong", "items"]
"""What `any_handler` of the tests knows."""

_NAMES: Final = [
    *(value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)),
    *("name", "~connect_to"),
]
_VALUES: Final = [
    *("", "1", "0", "-1", "999999999", "1000000000", "200m", "1n", "0n", "99999999H", "part"),
    *("whole", "end", "ask", "here", "a.*", ">", "a", "a.b", "b.>", "a..b", "OK", "INTERNAL"),
    *("%ff%", "server calls=1", "client calls=1 heartbeat=1n", "x" * 500, "echo", "long"),
    *("CHANNEL_CLOSED", "\u0663"),  # the last is a digit, and none of ASCII
]
_BROKEN: Final = [
    *(b"\xff\xfe:\xff\r\n", b"name", b":\r\n", b"\r\n\r\n", b"a:\x00\n\r\r\n"),
    *(b"x:" + b"\xff" * 30_000 + b"\r\n", b"tofu-method:" + b"\xff" * 30_000 + b"\r\n"),
    *(b"tofu-item:part\r\ntofu-item:end\r\n", b"y:1\r\n" * 5000),
]
_IDS: Final = [*range(12), 2**63, 2**64 - 1]
_FEATURES: Final = [
    *("client calls=64", "client calls=64", "client calls=1", "client calls=0"),
    *("client calls=2 heartbeat=1S", "client calls=9 heartbeat=1n", "client heartbeat=99999999H"),
]


@attrs.define
class Piece:
    """A frame to be."""

    opcode: int
    ident: int
    lines: tuple[Line, ...] = ()
    body: bytes = b""
    more: int = 0
    channel: int = 1
    status: int = 0
    origin: int = 0
    internal: int = 0

    def to_bytes(self) -> bytes:
        """As it is on the wire."""
        text = b"".join(
            line if isinstance(line, bytes) else f"{line[0]}:{line[1]}\r\n".encode()
            for line in self.lines
        )
        return frame(
            self.opcode,
            self.ident,
            text=text[:65_535],
            body=self.body,
            channel=self.channel,
            status=self.status,
            origin=self.origin,
            more=self.more,
            internal=self.internal,
        )


def _body(rng: Random) -> bytes:
    return bytes([rng.randrange(256)]) * rng.choice([0, 0, 1, 3, 100, 100, 1000, 30_000, 65_535])


def _line(rng: Random) -> Line:
    return rng.choice(_NAMES), rng.choice(_VALUES)


# ---------------------------------------------------------------------- right ones


def _call(rng: Random, ident: int) -> list[Piece]:
    lines: tuple[Line, ...] = ((wire.METHOD, rng.choice(METHODS)),)
    if rng.random() < 0.3:
        lines += ((wire.TIMEOUT, rng.choice(["200m", "1n", "5S", "0n"])),)
    last = rng.choice([0, 0, 0, 1, 3])
    return [
        Piece(OpCode.REQUEST, ident, () if number else lines, _body(rng), int(number < last))
        for number in range(last + 1)
    ]


def _stream(rng: Random, ident: int) -> list[Piece]:
    lines: tuple[Line, ...] = ((wire.STREAM, "1"), (wire.METHOD, rng.choice(METHODS)))
    pieces = [Piece(OpCode.REQUEST, ident, lines, more=1)]
    for _ in range(rng.randrange(6)):
        kind = rng.choice([wire.WHOLE, wire.WHOLE, wire.PART])
        pieces.append(Piece(OpCode.REQUEST, ident, ((wire.ITEM, kind),), _body(rng), 1))
        if rng.random() < 0.3:
            pieces.append(Piece(OpCode.SIGNAL, ident, ((wire.CREDIT, "262144"),)))
    if rng.random() < 0.7:
        pieces.append(Piece(OpCode.REQUEST, ident, ((wire.ITEM, wire.END),)))
    return pieces + _cancel(rng, ident)


def _subscription(rng: Random, ident: int) -> list[Piece]:
    pattern = rng.choice([">", "a.*", "a"])
    credit = rng.choice(["0", "1", "1000", "32768"])
    pieces = [Piece(OpCode.REQUEST, ident, ((wire.SUBSCRIBE, pattern), (wire.CREDIT, credit)))]
    pieces += [Piece(OpCode.SIGNAL, ident, ((wire.CREDIT, "1000"),))] * rng.randrange(4)
    return pieces + _cancel(rng, ident)


def _cancel(rng: Random, ident: int) -> list[Piece]:
    return [Piece(OpCode.SIGNAL, ident, ((wire.CANCEL, "1"),))] * rng.choice([0, 0, 1, 2])


def _else(rng: Random, ident: int) -> list[Piece]:
    """What belongs to no call."""
    asked = rng.choice([4, 6, 8, 10])
    failed = ((wire.STATUS, "UNAVAILABLE"), (wire.REFUSED, "1"))
    kind = rng.choice([wire.END, wire.PART, wire.WHOLE])
    return rng.choice(
        [
            [Piece(OpCode.SIGNAL, ident, ((wire.HEARTBEAT, rng.choice([wire.ASK, wire.HERE])),))],
            [Piece(OpCode.SIGNAL, rng.choice([1, 2, ident]), ((wire.CREDIT, "262144"),))],
            [Piece(OpCode.SIGNAL, rng.choice([0, 1, ident]), (("name", "x"),), _body(rng))] * 3,
            [Piece(OpCode.RESPONSE, asked, (), _body(rng), rng.randrange(2))],
            [Piece(OpCode.RESPONSE, asked, failed)],
            [Piece(OpCode.RESPONSE, asked, ((wire.ITEM, kind),), _body(rng), 1)],
            [Piece(OpCode.BYE_REQUEST, rng.choice([1, 5, ident]))] * rng.choice([1, 2]),
        ]
    )


def _mixed(rng: Random, rows: Sequence[list[Piece]]) -> list[Piece]:
    """One row of them all; each stays in its order."""
    left = [list(row) for row in rows]
    mixed: list[Piece] = []
    while left := [row for row in left if row]:
        mixed.append(rng.choice(left).pop(0))
    return mixed


def asked(rng: Random, first_id: int) -> list[Piece]:
    """Some calls, streams and subscriptions, their frames mixed."""
    kinds = [_call, _call, _stream, _stream, _subscription, _else]
    count = rng.randrange(1, 9)
    return _mixed(rng, [rng.choice(kinds)(rng, first_id + 2 * one) for one in range(count)])


def answers(rng: Random, received: Frame) -> list[Piece]:
    """What a right server sends for it: nothing for what wants no answer."""
    ident, text = received.message_id, received.text
    if received.opcode is OpCode.BYE_REQUEST:
        return [Piece(OpCode.BYE_RESPONSE, ident)]
    if received.opcode is not OpCode.REQUEST or wire.ITEM.encode() in text:
        return []
    if wire.SUBSCRIBE.encode() in text:
        item = Piece(OpCode.RESPONSE, ident, ((wire.TOPIC, "a"),), _body(rng), 1)
        return [Piece(OpCode.RESPONSE, ident, more=1), *[item] * rng.randrange(4)]
    if wire.STREAM.encode() in text:
        kind = rng.choice([wire.WHOLE, wire.PART])
        item = Piece(OpCode.RESPONSE, ident, ((wire.ITEM, kind),), _body(rng), 1)
        credit = Piece(OpCode.SIGNAL, ident, ((wire.CREDIT, "262144"),))
        return [credit, *[item] * rng.randrange(4), Piece(OpCode.RESPONSE, ident)]
    return [Piece(OpCode.RESPONSE, ident, (), received.body)]


# ---------------------------------------------------------------------- changed ones


def changed(rng: Random, pieces: Sequence[Piece], rate: float) -> list[Piece]:
    """With some left out, sent twice, in another order or with something else in them."""
    changed_ones: list[Piece] = []
    for piece in pieces:
        if rng.random() < rate * 0.1:
            continue
        if rng.random() < rate * 0.1:
            changed_ones.append(piece)
        use = _spoilt(rng, piece, [one.ident for one in pieces]) if rng.random() < rate else piece
        changed_ones.append(use)
    if changed_ones and rng.random() < rate:
        here, there = (rng.randrange(len(changed_ones)) for _ in range(2))
        changed_ones[here], changed_ones[there] = changed_ones[there], changed_ones[here]
    return changed_ones


def _spoilt(rng: Random, piece: Piece, idents: Sequence[int]) -> Piece:
    lines = piece.lines
    ends = [OpCode.BYE_REQUEST, OpCode.BYE_REQUEST, OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE]
    regular = [OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL]
    change: dict[str, Any] = rng.choice(
        [
            {"ident": rng.choice(idents)},
            {"ident": rng.choice(_IDS)},
            {"more": 1 - piece.more},
            {"opcode": rng.choice(regular)},
            {"lines": (*lines, _line(rng))},
            {"lines": (_line(rng), *lines)},
            {"lines": lines[1:]},
            {"lines": tuple(_line(rng) for _ in range(rng.randrange(5)))},
            {"lines": (*lines, rng.choice(_BROKEN))},
            {"body": _body(rng)},
            {"channel": rng.randrange(65_536), "status": rng.randrange(256), "internal": 3},
            {"opcode": rng.choice(ends), "more": 0},
            # What the engine ends the channel for; in between, for it ends what could follow.
            rng.choice([{}, {}, {}, {"opcode": rng.randrange(16)}, {"origin": 1}]),
        ]
    )
    return attrs.evolve(piece, **change)


def of_a_client(rng: Random) -> list[bytes]:
    """A Hello, and what follows: each a frame, the last perhaps cut off."""
    lines: tuple[Line, ...] = (("~connect_to", "mem|x"),)
    if rng.random() < 0.8:
        lines += ((wire.FEATURES, rng.choice(_FEATURES)),)
    if rng.random() < 0.1:
        lines += (_line(rng),)
    greeting = Piece(OpCode.HELLO_REQUEST, rng.choice(_IDS) if rng.random() < 0.1 else 7, lines)
    rate = rng.choice([0, 0.05, 0.15, 0.15, 0.4, 0.8])
    pieces = changed(rng, asked(rng, rng.choice([3, 3, 3, 4])), rate)
    frames = [one.to_bytes() for one in (greeting, *pieces)]
    if rng.random() < 0.1:
        frames[-1] = frames[-1][: rng.randrange(len(frames[-1]))]
    return frames
