"""Wrong things for every argument of every public callable: refused, in words, nothing changed."""

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

import pytest
import trio
import trio.testing

from pytofu import AmpeException
from tests.public.doors import Door, doors
from tests.public.inventory import TABLE, Entry, Made, World, open_world
from tests.public.wrong_things import NOT_GIVEN, WRONG

DOORS = doors()

ALWAYS_REFUSE = {"WrongAddress.format"}


def test_the_table_has_every_public_callable_and_nothing_else() -> None:
    found = {name: set(door.parameters) for name, door in DOORS.items()}
    assert found == {name: set(entry.arguments) for name, entry in TABLE.items()}


async def carry_out(made: object) -> None:
    """Whatever it is: enter it, or await it."""
    if isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass
    elif isinstance(made, AbstractContextManager):
        with made:
            pass
    elif isinstance(made, Awaitable):
        await made


async def call(
    world: World, door: Door, entry: Entry, receiver: object, given: dict[str, Any]
) -> None:
    """Call it with what is given, and for the rest with what is right."""
    args: list[Any] = [] if entry.receiver is None else [receiver]
    kwargs: dict[str, Any] = {}
    for name in door.parameters:
        value = given.get(name, entry.arguments[name].good)
        if isinstance(value, Made):
            value = value.make(world)
        if value is NOT_GIVEN:
            continue
        if name in door.named:
            kwargs[name] = value
        else:
            args.append(value)
    await carry_out(door.call(*args, **kwargs))


def snapshot(receiver: object) -> object:
    return repr(receiver), bytes(receiver) if hasattr(receiver, "__bytes__") else b""


def names(text: str, name: str, called: str, wrong: object) -> bool:
    words = text.lower()
    return any(
        word.lower() in words
        for word in (
            name.replace("_", " "),
            name,
            called or name,
            type(wrong).__name__,
            repr(wrong),
        )
    )


@pytest.mark.parametrize("key", sorted(DOORS))
async def test_wrong_things_are_refused_in_words(
    key: str, autojump_clock: trio.testing.MockClock
) -> None:
    door, entry = DOORS[key], TABLE[key]
    failures: list[str] = []
    async with open_world() as world:
        for name, argument in entry.arguments.items():
            for kind, wrong in WRONG.items():
                if kind in argument.right:
                    continue
                receiver = None if entry.receiver is None else entry.receiver(world)
                before = await world.state(), snapshot(receiver)
                said = f"{name}={kind}"
                try:
                    with trio.fail_after(60):
                        await call(world, door, entry, receiver, {name: wrong})
                except (TypeError, ValueError, AmpeException) as error:
                    if not names(str(error), name, argument.called, wrong):
                        failures.append(f"{said}: {error!r} names nothing")
                except BaseException as error:
                    failures.append(f"{said}: {error!r}")
                else:
                    failures.append(f"{said}: taken")
                after = await world.state(), snapshot(receiver)
                if after != before:
                    failures.append(f"{said}: {before} has become {after}")
        receiver = None if entry.receiver is None else entry.receiver(world)
        with trio.move_on_after(60):  # `serve` has no end of its own
            try:
                await call(world, door, entry, receiver, {})
            except AmpeException as error:
                if key not in ALWAYS_REFUSE:
                    failures.append(f"what is right: {error!r}")
    assert not failures, "\n".join(failures)
