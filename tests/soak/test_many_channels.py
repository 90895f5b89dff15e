"""As many channels at once as an engine takes by default, each of them served."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import trio

from pytofu import OpCode, Options, open_ampe
from tests.leaks import resident_bytes
from tests.soak.processes import address_of, running
from tests.support import App

MIB: Final = 1024 * 1024
OPENING: Final = 200
"""Connections that wait for their answer at a time."""
ROUNDS: Final = 3
"""How often each channel asks."""


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    """As many as may be, here and in the other process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def open_and_ask(total: int, where: str, pid: int) -> tuple[int, int]:
    """Open so many, ask on each; memory of the other process for each channel, and in all."""
    before = resident_bytes(pid)
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        app = App(ampe, chnls)
        numbers: list[int] = []
        answered = 0
        while answered < total:
            while len(numbers) < min(total, answered + OPENING):
                header = app.post(OpCode.HELLO_REQUEST, headers=(("~connect_to", where),))
                numbers.append(header.channel_number)
            assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
            answered += 1
        assert ampe.statistics().channels == total
        idle = (resident_bytes(pid) - before) // total
        for message_id in range(1, ROUNDS + 1):
            for number in numbers:
                app.post(OpCode.REQUEST, number, message_id, body=b"x")
            served: set[int] = set()
            for _ in numbers:
                event = await app.event()
                assert (event.opcode, event.message_id) == (OpCode.RESPONSE, message_id)
                served.add(event.channel)
            assert served == set(numbers)
    return idle, resident_bytes(pid)


@pytest.mark.parametrize("where", ["tcp|127.0.0.1|0", "uds|{}"], ids=["tcp", "uds"])
@pytest.mark.parametrize(
    "total",
    [
        pytest.param(500, marks=pytest.mark.timeout(60)),
        pytest.param(
            Options().max_channels - 1,  # and the listener
            marks=[pytest.mark.soak, pytest.mark.timeout(600)],
        ),
    ],
)
def test_each_of_many_channels_is_served(total: int, where: str, tmp_path: Path) -> None:
    with running("echo", where.format(tmp_path / "s")) as process:
        address = address_of(process)
        started = time.perf_counter()
        idle, all_of_it = trio.run(open_and_ask, total, address, process.pid)
        print(
            f"{total} channels over {where[:3]}, each served {ROUNDS} times, in"
            f" {time.perf_counter() - started:.1f} s; {idle} bytes each, idle, in the other"
            f" process, {all_of_it / MIB:.0f} MiB there in all"
        )
    assert all_of_it < 300 * MIB
