"""Where commands connect to: declared once, the same for all."""

from itertools import pairwise

import click
import pytest
import trio
import trio.testing

from pytofu.cli.app import group
from pytofu.cli.endpoints import Target
from pytofu.values.address_text import client_address

CONNECTING = {"ping", "send", "call", "subscribe", "put"}
LISTENING = {"echo", "listen", "serve-files"}
TARGET = Target(client_address("127.0.0.1:1"), wait=10)


def arguments(command: click.Command) -> set[str | None]:
    return {one.name for one in command.params if isinstance(one, click.Argument)}


def test_every_command_takes_them_from_here() -> None:
    found = {name: arguments(command) for name, command in group.commands.items()}
    assert {name for name, names in found.items() if "address" in names} == CONNECTING
    assert {name for name, names in found.items() if "addresses" in names} == LISTENING


@pytest.mark.parametrize("name", sorted(CONNECTING | LISTENING))
def test_every_command_has_the_options_for_tls(name: str) -> None:
    options = {option for one in group.commands[name].params for option in one.opts}
    assert {"--cert", "--key", "--ca", "--insecure"} <= options


async def test_it_is_tried_with_longer_and_longer_pauses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    moments: list[float] = []
    started = trio.current_time()

    async def attempt(left: float) -> None:
        moments.append(trio.current_time() - started)
        assert left == pytest.approx(10 - moments[-1])
        raise ValueError("again")

    with pytest.raises(ValueError, match="again"):
        await TARGET.insist(attempt, ValueError)
    assert moments[:4] == pytest.approx([0, 0.05, 0.15, 0.35])
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert max(pauses) == pytest.approx(1)
    assert moments[-1] == pytest.approx(10)


async def test_what_is_no_refusal_ends_it_at_once() -> None:
    async def attempt(left: float) -> None:
        raise TypeError

    with pytest.raises(TypeError):
        await TARGET.insist(attempt, ValueError)


async def test_an_attempt_that_succeeds(autojump_clock: trio.testing.MockClock) -> None:
    left_over = [1, 2]

    async def attempt(left: float) -> str:
        if left_over:
            left_over.pop()
            raise ValueError("again")
        return "here"

    assert await TARGET.insist(attempt, ValueError) == "here"
