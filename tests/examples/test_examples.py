"""Every example runs by itself, ends well, and says what it shows."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import pytofu
from tests.terminal import CTRL_C, on_terminal

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
TIMEOUT: Final = 30
"""Seconds for an example."""

pytestmark = pytest.mark.timeout(TIMEOUT + 5)

# Lines of what each example prints, in order; other lines may stand in between.
SHOWN: Final = {
    "calls.py": [
        "items: ['tofu']",
        "left: 1",
        "refused: FAILED_PRECONDITION 1 left",
        "refused: NOT_FOUND 'natto'",
        "the server: nobody waits any more",
    ],
    "jobs.py": [
        "a worker has died",
        "a worker has died",
        "(13, 4, 'FAILED_PRECONDITION: no worker does 13')",
        "(19, ",
    ],
    "publish.py": ["quick has heard all", "some: True - and none uncounted: 100"],
    "restarts.py": [
        "the first server answers",
        "the server has gone: it may have acted on that call, or not",
        "the second server answers",
    ],
    "files.py": [
        "from byte 0",
        "the server has gone",
        "from byte 2,",
        "the server has gone",
        "from byte 4,",
        "whole: True",
    ],
    "create_and_destroy.py": [
        "inside the block: 1 group",
        "outside: SHUTDOWN_STARTED",
        "by hand: 2 groups",
        "one destroyed: 1 group",
        "the receiver: SHUTDOWN_STARTED",
        "both destroyed: 0 groups",
        "two engines: 0 + 1",
    ],
    "pool_of_one.py": [
        "POOL_ONLY gives None",
        "put back: <Holder, empty>",
        "kept: one",
        "then: POOL_EMPTY",
        "and then nothing, until it is put back",
        "put back, then: two",
        "put back, then: three",
    ],
    "wrong_messages.py": [
        "  raised: INVALID_CHANNEL_NUMBER",
        "  raised: WRONG_ADDRESS",
        "  raised: WRONG_ADDRESS: not a host: 'no such host!'",
        "  received: HELLO_RESPONSE INVALID_ADDRESS",
        "  received: HELLO_REQUEST CONNECT_FAILED",
        "  received: HELLO_RESPONSE UDS_PATH_NOT_FOUND",
        "  received: WELCOME_RESPONSE LISTEN_FAILED",
        "  received: SIGNAL CHANNEL_CLOSED",
    ],
    "listeners.py": [
        "listening on 127.0.0.1, port chosen by the system: True",
        "  closed: CHANNEL_CLOSED",
        "listening on socket, a file for its owner only: 600",
        "  closed: CHANNEL_CLOSED",
        "the file is still there: False",
        "listening again: True",
        "and after the engine: False",
    ],
    "connect_hello_close.py": [
        *(
            "listener: WELCOME_RESPONSE",
            "server:   HELLO_REQUEST",
            "client:   HELLO_RESPONSE",
            "server:   BYE_REQUEST",
            "client:   BYE_RESPONSE",
            "          closed: SUCCESS",
            "          closed: SUCCESS",
            "          closed: CHANNEL_CLOSED",
            "channels left: 0",
        )
        * 2,
    ],
    "update_receiver.py": [
        "received: SIGNAL b''",
        "received: REQUEST b'hello from a task'",
        "received: REQUEST b'hello from a thread'",
        "received: REQUEST b'stop'",
    ],
    "single_task.py": [
        "server receives REQUEST ping",
        "client receives RESPONSE pong",
        "client receives SIGNAL",
        "server receives SIGNAL",
    ],
    "echo_service.py": ["100 clients with 50 requests each: "],
    "progress.py": [
        "     job [##########] 100 %",
        "     job done: JOB",
        "long job [##########] 100 %",
        "long job done: LONG JOB",
    ],
    "heartbeat.py": [
        "unlucky: stopped, and its connection stays open",
        "unlucky: communication_failed",
        "lucky: success",
    ],
    "several_peers.py": [
        "bob: that is why, carol: that is why",
        "nobody: True",
    ],
    "testing_a_service.py": [
        "passed: test_a_price_and_an_unknown_dish",
        "passed: test_what_takes_hours_takes_no_time_here",
    ],
    "print_spooler": [
        "server: accepted 'report' of alice",
        "client: 'report': 6 sheets printed",
        "client: 'leaflet' is refused: 1000 copies: not between 1 and 10",
        "client: bye",
        "server: ended",
    ],
    "demo.py": ["  100 % of ", "  100 % of ", "TCP  ", "UDS  "],
}


def command(example: str, *arguments: str) -> list[str]:
    """Warnings, such as those of forgotten sockets and files, are errors here too."""
    return [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / example), *arguments]


def environment() -> dict[str, str]:
    """The pytofu under test, wherever the example changes to."""
    return {**os.environ, "PYTHONPATH": str(Path(pytofu.__file__).parent.parent)}


def run(example: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(example, *arguments),
        input=typed,
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
        timeout=TIMEOUT,
    )


def test_no_example_is_forgotten() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    packages = {path.parent.name for path in EXAMPLES.glob("*/__main__.py")}
    assert SHOWN.keys() == programs | packages


MOST_LINES: Final = {
    "calls.py": 60,
    "jobs.py": 60,
    "publish.py": 35,
    "restarts.py": 47,
    "files.py": 52,
}


@pytest.mark.parametrize(("example", "most"), MOST_LINES.items())
def test_what_is_often_needed_is_short(example: str, most: int) -> None:
    assert len((EXAMPLES / example).read_text(encoding="utf-8").splitlines()) <= most


@pytest.mark.parametrize("example", SHOWN)
def test_example_runs_and_shows_what_it_is_for(example: str) -> None:
    done = run(example)
    assert (done.returncode, done.stderr) == (0, "")
    lines = iter(done.stdout.splitlines())
    missing = [shown for shown in SHOWN[example] if not any(shown in line for line in lines)]
    assert not missing, done.stdout


def test_demo_fails_when_the_file_does_not_arrive_as_announced() -> None:
    """A pipe has a size of 0 and contents all the same."""
    done = run("demo.py", "/dev/stdin", typed="more than nothing")
    assert done.returncode == 1
    assert "of 0 bytes of the file" in done.stderr


def test_demo_sends_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert run("demo.py", str(tmp_path / "empty")).returncode == 0


def test_demo_on_a_terminal_draws_a_bar_and_obeys_ctrl_c() -> None:
    with on_terminal(command("demo.py"), environment()) as (demo, screen):
        shown = b""
        while b"[###" not in shown:
            shown += screen.read(1000)
        screen.write(CTRL_C)
        with contextlib.suppress(OSError):  # at the end: of the server, too
            while more := screen.read(1000):
                shown += more
        assert demo.wait() == 130
    assert b"Traceback" not in shown
