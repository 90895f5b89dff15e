"""The twins inside of the engine: what it does to them comes to the same after each step."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compiled.worlds import World, outcome, plain

SETTINGS: Final = settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def both(compiled: World, pure: World, work: Callable[[World], list[Any]]) -> None:
    told = []
    for world in (compiled, pure):
        with world.active():
            told.append(work(world))
    assert told[0] == told[1]
    assert told[0]


def fields(thing: Any, *left_out: str) -> dict[str, Any]:
    return {name: plain(getattr(thing, name)) for name in thing.__slots__ if name not in left_out}


# ---------------------------------------------------------------------- accounts

DEEDS: Final = st.lists(
    st.tuples(
        st.sampled_from(["charge", "credit", "note", "wait", "stop", "dry", "get", "put", "close"]),
        st.integers(0, 1),
        st.integers(0, 40),
    ),
    max_size=60,
)


def counted(
    world: World, sizes: tuple[int, int, int], deeds: list[tuple[str, int, int]]
) -> list[Any]:
    budget = world.find("engine.accounts.Budget")(sizes[0], sizes[1], sizes[2], 0.5)
    rung: list[int] = []
    accounts = [
        world.find("engine.accounts.ChannelAccount")(budget, lambda which=which: rung.append(which))
        for which in (0, 1)
    ]
    strategies = list(world.find("values.allocation.AllocationStrategy"))
    message_class = world.find("values.message.Message")
    lent: list[Any] = []
    held: list[list[Any]] = [[], []]
    received = [0, 0]
    told: list[Any] = []
    for deed, which, number in deeds:
        account = accounts[which]
        if deed == "charge":
            received[which] += number
            account.charge(1, received[which])
            held[which].append(message_class(None, b"", b"", account, number))
        elif deed == "credit" and held[which]:
            held[which].pop(number % len(held[which])).release()
        elif deed == "note":
            account.note_unfinished(number // 2, number - number // 2)
        elif deed == "wait" and not account._waiting:
            account.wait_for_room()
        elif deed == "stop":
            account.stop_waiting()
        elif deed == "dry":
            told.append(budget.run_dry())
        elif deed == "get":
            message = budget.get(strategies[which])
            told.append(message is None)
            if message is not None:
                lent.append(message)
        elif deed == "put" and lent:
            budget.put(lent.pop())
        elif deed == "close":
            account.close()
        told.append((fields(budget, "_loans", "_waiting", "_forgotten"), len(budget._waiting)))
        told += [(fields(each, "_on_room", "budget"), each.room) for each in accounts]
        told += [list(rung), budget.used_up, budget.tight, budget.excess]
    for message in [*lent, *held[0], *held[1]]:
        message.release()
    return [*told, fields(budget, "_loans", "_waiting", "_forgotten")]


@pytest.mark.timeout(60)
@given(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 100)), DEEDS)
@SETTINGS
def test_accounts_count_the_same(
    compiled: World,
    pure: World,
    sizes: tuple[int, int, int],
    deeds: list[tuple[str, int, int]],
) -> None:
    both(compiled, pure, lambda world: counted(world, sizes, deeds))


# ---------------------------------------------------------------------- text headers

WORDS: Final = st.lists(
    st.sampled_from(["a", "name", " ", "\t", ":", "\r", "\n", "\0", "~", "\x7f", "\xe4", "\ud800"]),
    max_size=4,
).map("".join)
NAMES: Final = ["first", "a", "name", "aa", "a ", "", "a:", "\xe4", "\ufffd"]
LINES: Final = st.lists(st.tuples(st.sampled_from(["append", "try_append"]), *[WORDS] * 2))


def lines_of(world: World, lines: list[tuple[str, str, str]], as_bytes: int) -> list[Any]:
    headers = world.find("values.text_headers.TextHeaders")(b"first:1\r\n")
    told: list[Any] = []
    for index, (how, *words) in enumerate(lines):
        given = [word.encode(errors="replace") if index == as_bytes else word for word in words]
        told.append(outcome(lambda given=given, how=how: getattr(headers, how)(*given)))  # type: ignore[misc]
        told.append(headers.to_bytes())
    exported = memoryview(headers._raw)
    told.append(outcome(lambda: headers.append("a", "b")))
    exported.release()
    told += [plain(list(headers)), *(headers.get(name) for name in NAMES)]
    return told


@given(LINES, st.integers(0, 9))
@SETTINGS
def test_lines_become_the_same_bytes(
    compiled: World, pure: World, lines: list[tuple[str, str, str]], as_bytes: int
) -> None:
    both(compiled, pure, lambda world: lines_of(world, lines, as_bytes))


PIECES: Final = st.lists(
    st.sampled_from(
        [
            *(b"~reason", b"~detail", b"~", b":", b"\r\n", b"\r", b"\n", b"a", b"reason"),
            *(b"name:", b"first", b" ", b"\t", b"\xc3\xa4", b"\xff", b"\0"),
        ]
    )
).map(b"".join)


@given(st.lists(PIECES))
@SETTINGS
def test_the_same_is_found(compiled: World, pure: World, texts: list[bytes]) -> None:
    def found(world: World) -> list[Any]:
        headers = [world.find("values.text_headers.TextHeaders")(raw) for raw in [*texts, b"a"]]
        return [[each.get(name) for name in NAMES] for each in headers]

    both(compiled, pure, found)


@given(st.lists(PIECES))
@SETTINGS
def test_the_same_lines_are_local(compiled: World, pure: World, texts: list[bytes]) -> None:
    def left(world: World) -> list[Any]:
        without = world.find("values.text_headers.without_local_headers")
        kept = [without(raw) for raw in texts]
        wrong = outcome(lambda: without(None))
        return [kept, [one is raw for one, raw in zip(kept, texts, strict=True)], wrong]

    both(compiled, pure, left)


# ---------------------------------------------------------------------- what is posted

ODD: Final = st.sampled_from([-1, 65535, 65536, 2**64 - 1, 2**64, True, 1.5, "7", None])
TEXTS: Final = st.one_of(
    st.lists(st.sampled_from([b"~", b"reason", b"~detail", b":", b"\r\n", b"a"])).map(b"".join),
    st.sampled_from([b"~", b"a", b"~reaso"]).flatmap(
        lambda piece: st.integers(65_525, 65_540).map(lambda size: (piece * size)[:size])
    ),
)
POSTS: Final = st.lists(
    st.tuples(
        st.integers(0, 255) | ODD,
        st.integers(0, 65535) | ODD,
        st.integers(0, 2**64 - 1) | ODD,
        st.sampled_from([b"", b"", b"name:value", b"~reason:SUCCESS\r\nname:value"]) | TEXTS,
        st.booleans(),
        st.binary(max_size=80) | st.integers(1000, 70_000).map(bytes),
        st.booleans(),
    ),
    max_size=40,
)


def written(world: World, keep: bool, posts: list[tuple[Any, ...]], steps: list[int]) -> list[Any]:
    writer = world.find("protocol.framing.FrameWriter")(keep=keep)
    message_class = world.find("values.message.Message")
    told: list[Any] = []
    for proto, channel, message_id, text, looked_at, body, editable in posts:
        message = message_class()
        message.set_payload(body)
        message.set_text_headers(text)
        if looked_at:
            told.append(len(message.text_headers))
        if editable:
            message.body.append(b"more")
        header = message.header
        header.proto_byte, header.channel_number, header.message_id = proto, channel, message_id
        if not message_id:
            header.message_id = 5  # else the next one of each world's own count
        try:
            told.append(writer.push_ordinary(message))
        except Exception as error:
            told.append(type(error).__name__)
        told.append(plain(header._fields()))
        told.append((writer.size, writer.held, writer.burst))
    for step in steps:
        block = bytes(writer.block())
        told.append(block)
        if block:
            told.append(writer.wrote(min(step, len(block))))
    told += [message.to_bytes() for message in writer.unsent()]
    return [*told, writer.size, writer.held]


@pytest.mark.timeout(60)
@given(st.booleans(), POSTS, st.lists(st.integers(1, 200_000), max_size=5))
@SETTINGS
def test_ordinary_messages_become_the_same_bytes(
    compiled: World, pure: World, keep: bool, posts: list[tuple[Any, ...]], steps: list[int]
) -> None:
    both(compiled, pure, lambda world: written(world, keep, posts, steps))
