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
        "a worker has died; its job goes to another",
        "squares: [0, 1, 4, 9, 16, 25, 36, 49]",
    ],
    "publish.py": ["quick has heard all", "some: True - and none uncounted: 100"],
    "restarts.py": [
        "connected",
        "b'hello, one'",
        "in doubt: it was carried out, or it was not",
        "connected",
        "b'hello, two'",
    ],
    "files.py": ["from byte 0", "from byte 458752", "the same: True"],
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
        "kept: SIGNAL from the application: one",
        "then: SIGNAL from the engine, pool_empty",
        "then: nothing",
        "put back, then: SIGNAL from the application: two",
        "put back, then: SIGNAL from the application: three",
    ],
    "wrong_messages.py": [
        "  raised: INVALID_CHANNEL_NUMBER",
        "  raised: WRONG_ADDRESS",
        "  raised: WRONG_ADDRESS: not a host: 'no such host!'",
        "  received: HELLO_RESPONSE from the engine, invalid_address",
        "  received: HELLO_REQUEST from the engine, connect_failed",
        "  received: HELLO_RESPONSE from the engine, uds_path_not_found",
        "  received: WELCOME_RESPONSE from the engine, listen_failed",
        "  received: SIGNAL from the engine, channel_closed (reason: listen_failed)",
    ],
    "listeners.py": [
        "listening on 127.0.0.1, port chosen by the system: True",
        "  SIGNAL from the engine, channel_closed (reason: channel_closed)",
        "listening on socket, a file for its owner only: 600",
        "the file is still there: False",
        "listening again: True",
        "and after the engine: False",
    ],
    "connect_hello_close.py": [
        *(
            "listener: WELCOME_RESPONSE from the application",
            "server:   HELLO_REQUEST from the application",
            "client:   HELLO_RESPONSE from the application",
            "server:   BYE_REQUEST from the application",
            "client:   BYE_RESPONSE from the application",
            "client:   SIGNAL from the engine, channel_closed (reason: success)",
            "server:   SIGNAL from the engine, channel_closed (reason: success)",
            "listener: SIGNAL from the engine, channel_closed (reason: channel_closed)",
            "channels left: 0",
        )
        * 2,
    ],
    "update_receiver.py": [
        "received: SIGNAL from the engine, receiver_update",
        "received: REQUEST from the application, receiver_update: hello from a task",
        "received: REQUEST from the application, receiver_update: hello from a thread",
        "received: REQUEST from the application, receiver_update: stop",
    ],
    "reconnect.py": [
        "client: nobody there yet, trying again",
        "client: RESPONSE from the application: the first server is fine",
        "client: RESPONSE from the application: the second server is fine",
    ],
    "single_task.py": [
        "server receives REQUEST from the application: ping",
        "client receives RESPONSE from the application: pong",
        "client receives SIGNAL from the engine, channel_closed (reason: success)",
        "server receives SIGNAL from the engine, channel_closed (reason: success)",
    ],
    "multi_homed.py": [
        "TCP: PCT revo tseuqer",
        "UDS: SDU revo tseuqer",
        "TCP: request over TCP is number 1",
        "UDS: request over UDS is number 2",
    ],
    "echo_service.py": ["the server has echoed 5000"],
    "streaming.py": [
        "up: 5,000,000 bytes, and the hash is right",
        "down: 5,000,000 bytes, and the hash is right",
        "both_ways: 5,000,000 bytes, and the hash is right",
    ],
    "progress.py": [
        "     job [##########] 100 %",
        "     job done: JOB",
        "long job [##########] 100 %",
        "long job done: LONG JOB",
    ],
    "heartbeat.py": [
        "unlucky: stopped, and its connection stays open",
        "unlucky: no sign of life, given up",
        "unlucky: SIGNAL from the engine, channel_closed (reason: channel_closed)",
        "lucky: SIGNAL from the engine, channel_closed (reason: success)",
    ],
    "correlation.py": [
        "200 calls, each with the right answer",
        "answered in another order than asked: True",
        "a call cancelled: True",
        "and the next one: STILL THERE?",
    ],
    "print_spooler": [
        "server: accepted 'report' of alice",
        "client: 'report': 6 sheets printed",
        "client: 'leaflet' is refused: 1000 copies: not between 1 and 10",
        "client: bye",
        "server: ended",
    ],
    "demo.py": [
        *("  100 % of ", "  100 % of ", "TCP  ", "UDS  "),
        "  calls   1,000 answered",
        "divide(1, 0) is refused: INVALID_ARGUMENT: division by zero",
        "lines there and back, in capitals",
        "  topic   tick.0, tick.1, tick.2, tick.3, tick.4",
    ],
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
    programs = {path.name for path in EXAMPLES.glob("*.py")} - {"common.py"}
    packages = {path.parent.name for path in EXAMPLES.glob("*/__main__.py")}
    assert SHOWN.keys() == programs | packages


MOST_LINES: Final = {
    "calls.py": 60,
    "jobs.py": 60,
    "publish.py": 35,
    "restarts.py": 45,
    "files.py": 50,
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
