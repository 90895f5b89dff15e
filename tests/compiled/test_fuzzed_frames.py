"""Streams of frames with wrong bytes among them, in any pieces, through both: read, and written
again. The same messages, violations and bytes come out; none of them ends the process.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.compiled import worlds
from tests.compiled.worlds import World
from tests.support import frame

FRAMES: Final = 64  # in a stream, as long as no byte of it is wrong
_TEXTS: Final = [
    *(b"", b"", b"name:value", b"~reason:SUCCESS\r\nname:value", b"\r\n:", b"~"),
    *(b"~~detail", b"~reasons\r\n~detail", b"~reaso~detai", b"a~detail:"),
]


def streams(seed: int) -> Iterator[tuple[bytes, list[int]]]:
    """Without end: bytes of a channel, and where they are cut."""
    chance = random.Random(seed)
    frames = [
        frame(
            chance.choice([0, 1, 2, 2, chance.randrange(16)]),
            chance.choice([0, 1, 2**64 - 1, chance.getrandbits(64)]),
            text=chance.choice(_TEXTS),
            body=chance.randbytes(chance.choice([0, 1, 16, 64, chance.randrange(1000)])),
            channel=chance.getrandbits(16),
            status=chance.getrandbits(8),
            internal=chance.randrange(4),
        )
        for _ in range(4096)
    ]
    # Those that an open channel takes, so that a stream does not end with its third frame.
    good = [data for data in frames if data[2] & 15 <= 2]
    while True:
        data = bytearray().join(chance.choices(good, k=FRAMES))
        if chance.random() < 0.5:
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.getrandbits(8)
        else:
            data += chance.choice(frames)[: chance.randrange(40)]
        cuts = sorted(chance.choices(range(len(data)), k=chance.choice([0, 1, 2, 9])))
        yield bytes(data), [0, *cuts, len(data)]


def came_out(world: World, stream: tuple[bytes, list[int]]) -> tuple[int, list[Any]]:
    """How many messages one channel makes of it, and all that can be known of them."""
    data, cuts = stream
    state = world.find("protocol.lifecycle.State").OPEN
    rules = world.find("protocol.lifecycle.receive_rules")(state, False)
    reader = world.find("protocol.framing.FrameReader")()
    writer = world.find("protocol.framing.FrameWriter")()
    count = 0
    told: list[Any] = []
    for start, stop in itertools.pairwise(cuts):
        if start == stop:
            continue  # nothing arrived
        reader.feed(data[start:stop])
        while True:
            messages, new_state = reader.read(7, rules, 20)
            if not messages:
                break
            count += len(messages)
            for message in messages:
                told.append((message.to_bytes(), message.message_id, message.payload))
                # Each world counts the ids that it assigns for itself.
                if message.message_id and message.check_and_prepare().is_ok():
                    told.append(writer.push(message))
                message.release()
            if new_state is not None:
                break
    told += [reader.violation and reader.violation.name, reader.refused, reader.oversized]
    told += [reader.kept, reader.read_len, reader.wanted, writer.size]
    while writer.size:
        told.append(block := bytes(writer.block()))
        writer.wrote(len(block))
    return count, told


@pytest.mark.parametrize(
    "total",
    [
        pytest.param(5_000, marks=pytest.mark.timeout(60)),
        pytest.param(10_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)]),
    ],
)
def test_any_bytes_come_out_the_same(total: int) -> None:
    compiled, pure = worlds.actual(), worlds.pure()
    read, endless = 0, streams(total)
    while read < total:
        batch = [next(endless) for _ in range(20)]
        with compiled.active():
            ours = [came_out(compiled, stream) for stream in batch]
        with pure.active():
            theirs = [came_out(pure, stream) for stream in batch]
        assert ours == theirs
        read += sum(count for count, _ in ours)
