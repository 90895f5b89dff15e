"""pytofu is a guest in its process: what belongs to the program is as it was."""

import contextvars
import gc
import os
import random
import resource
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import trio

from pytofu import OpCode, Options, UDSServerAddress, borrowed_message, open_ampe
from tests.support import ServerAddress, address_headers, open_app, open_pair, server_address_of


def mask() -> int:
    """Which can only be read by setting it."""
    before = os.umask(0o22)
    os.umask(before)
    return before


STATE: Final[dict[str, Callable[[], object]]] = {
    "random": random.getstate,
    "environment": lambda: dict(os.environ),
    "directory": os.getcwd,
    "warnings": lambda: list(warnings.filters),
    "signals": lambda: [
        signal.getsignal(number) for number in signal.valid_signals() if number != signal.SIGINT
    ],
    "wake-up": lambda: signal.set_wakeup_fd(-1),
    "mask": mask,
    "files allowed": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    "hooks": lambda: (sys.excepthook, threading.excepthook, sys.unraisablehook),
    "recursion": sys.getrecursionlimit,
    "switching": sys.getswitchinterval,
    "collector": lambda: (gc.isenabled(), gc.get_threshold(), list(gc.callbacks)),
    "modules' paths": lambda: list(sys.path),
}

mark: contextvars.ContextVar[object] = contextvars.ContextVar("mark")


async def use(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        posted = pair.client.post(OpCode.REQUEST, body=b"x")
        assert (await pair.server.app.event()).message_id == posted.message_id
        pair.client.post(OpCode.BYE_REQUEST)
        await pair.server.app.event()


@pytest.mark.parametrize("kind", ["tcp", "uds", "mem"])
def test_the_state_of_the_process_is_the_programs(kind: str, tmp_path: Path) -> None:
    trio.run(use, server_address_of(kind, tmp_path))  # type: ignore[arg-type]  # what is made once
    before = {name: state() for name, state in STATE.items()}
    trio.run(use, server_address_of(kind, tmp_path))  # type: ignore[arg-type]
    assert {name: state() for name, state in STATE.items()} == before


def test_a_seed_of_the_programs_does_not_decide_channel_numbers() -> None:
    async def numbers() -> list[int]:
        async with open_app() as app:
            random.seed(1)
            headers = address_headers(UDSServerAddress("/no/such/folder/s"))
            return [
                app.post(OpCode.WELCOME_REQUEST, headers=headers).channel_number for _ in range(8)
            ]

    state = random.getstate()
    try:
        assert trio.run(numbers) != trio.run(numbers)  # equal with a probability below 1e-38
    finally:
        random.setstate(state)


class Marked:
    """What a program has in its context."""


async def test_what_is_in_the_programs_context_is_not_kept_alive() -> None:
    async with open_ampe() as ampe:
        thing = Marked()
        gone = weakref.ref(thing)
        token = mark.set(thing)
        chnls = ampe.create()
        with borrowed_message(ampe) as holder:
            UDSServerAddress("/no/such/folder/s").format(holder.unwrap())
            chnls.post(holder)
        assert (await chnls.wait_receive()).opcode is OpCode.WELCOME_RESPONSE
        mark.reset(token)
        del thing, token
        await trio.lowlevel.checkpoint()
        gc.collect()
        assert gone() is None


async def test_a_filter_runs_without_the_programs_context() -> None:
    """It is called for connections, which no task of the program has made."""
    seen: list[object] = []

    def look(_: object) -> bool:
        seen.append(mark.get(None))
        return True

    options = Options(accept_filter=look)
    address = server_address_of("tcp", Path())
    async with open_pair(address, server_options=options) as pair:
        assert pair.server.number
    assert seen == [None]


async def test_a_socket_file_is_removed_from_wherever_the_program_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with open_app() as app:
        await app.listen(UDSServerAddress("s"))
        assert (tmp_path / "s").is_socket()
        os.chdir(elsewhere)
    assert not (tmp_path / "s").exists()
