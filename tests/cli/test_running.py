"""Signals: those that end a command, and those that whoever started it wants to be ignored."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import AmpeStatus
from pytofu.cli.running import (
    InterruptedBySignalError,
    in_words,
    reason_of,
    unless_interrupted,
    until_interrupted,
)
from tests.cli.programs import PYTOFU, listen_address, run, server

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def ignored(request: pytest.FixtureRequest) -> Iterator[list[signal.Signals]]:
    numbers: list[signal.Signals] = request.param
    before = [(number, signal.signal(number, signal.SIG_IGN)) for number in numbers]
    yield numbers
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
async def test_an_interruption_before_the_end_is_a_failure(number: int) -> None:
    async def work() -> None:
        signal.raise_signal(number)
        await trio.sleep_forever()

    with pytest.raises(InterruptedBySignalError) as caught:
        await unless_interrupted(work)
    assert caught.value.exit_code == 128 + number


async def test_no_interruption() -> None:
    await unless_interrupted(trio.lowlevel.checkpoint)


@pytest.mark.parametrize("ignored", [[number] for number in ENDING] + [ENDING], indirect=True)
async def test_what_is_ignored_stays_so(ignored: list[signal.Signals]) -> None:
    async with until_interrupted() as interruption:
        for number in ignored:
            assert signal.getsignal(number) is signal.SIG_IGN
            signal.raise_signal(number)
        await trio.testing.wait_all_tasks_blocked()
    assert interruption.signal is None
    for number in ignored:
        assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.timeout(30)  # it starts processes
@pytest.mark.parametrize("name", ["INT", "HUP"])
def test_a_server_in_the_background_ignores_what_is_not_meant_for_it(
    name: str, tmp_path: Path
) -> None:
    program = ("sh", "-c", f"trap '' {name}; exec \"$@\"", "sh", *PYTOFU)
    with server("echo", listen_address("uds", tmp_path), program=program) as echo:
        echo.process.send_signal(signal.Signals[f"SIG{name}"])
        assert run("ping", echo.address, "--count", "1").returncode == 0
        echo.end(signal.SIGTERM)
    assert echo.output[-1]["messages"] == 1


@pytest.mark.timeout(30)  # it starts processes
def test_the_end_of_the_terminal_ends_a_server_in_good_order(tmp_path: Path) -> None:
    with server("echo", listen_address("uds", tmp_path)) as echo:
        echo.end(signal.SIGHUP)
    assert echo.output[-1]["event"] == "summary"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(2, "No such file or directory", "a b"), "a b: No such file or directory"),
        (OSError(2, "No such file or directory", b"\xff"), "\udcff: No such file or directory"),
        (OSError("what only has a text"), "what only has a text"),
    ],
)
def test_the_reason_of_a_system_error_names_the_file(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("status", "detail", "words"),
    [
        (AmpeStatus.CONNECT_FAILED, "", "nobody answers there"),
        (AmpeStatus.CONNECT_FAILED, "ECONNREFUSED, Connection refused", "nobody answers there"),
        (AmpeStatus.CONNECT_FAILED, "TLS: the peer is another", "TLS: the peer is another"),
        (AmpeStatus.NOT_ALLOWED, "", "not allowed"),
    ],
)
def test_a_status_in_words(status: AmpeStatus, detail: str, words: str) -> None:
    assert in_words(status, detail) == words
