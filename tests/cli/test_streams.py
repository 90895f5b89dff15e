"""Standard streams that are closed, full, or read by nobody."""

import io
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pytofu.cli.streams import abandon, at_blanks, complain, provide, write_error
from tests.cli.programs import PYTOFU, listen_address, run, run_with, server
from tests.cli.terminal import Terminal
from tests.support import hello
from tests.terminal import on_terminal

pytestmark = pytest.mark.timeout(30)  # Python starts often here

HELLO = hello().hex()
NOBODY = "tcp://127.0.0.1:1"

full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")

# Runs a command, then fails if anything that can be written to, apart from /dev/null, has come to
# one of the descriptors in its first argument.
THEN_LOOK = """
import fcntl, os, sys
from pytofu.cli import main
numbers = [int(number) for number in sys.argv.pop(1)]
code = main()
for number in numbers:
    writable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if writable and not os.path.samestat(os.fstat(number), os.stat(os.devnull)):
        sys.exit(10 + number)
sys.exit(code)
"""


def test_places_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process the standard streams are needed: others stand for them."""
    free, above = (os.open(os.devnull, os.O_RDONLY) for _ in range(2))
    os.close(free)
    monkeypatch.setattr("pytofu.cli.streams._LAST_STANDARD", free)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    provide()
    assert os.path.samestat(os.fstat(free), os.stat(os.devnull))
    assert os.get_inheritable(free)
    for file in (sys.stdout, sys.stderr):
        print("into nothing", file=file, flush=True)
        os.close(file.fileno())
    os.close(free)
    os.close(above)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_counts_as_nothing(closed: str, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    with server("echo", listen_address("uds", tmp_path)) as echo:
        finished = [
            run_with(closed, "send", echo.address, "--body", "x"),
            run_with(closed, "ping", echo.address, "--count", "1"),
            run_with(closed, "ping", echo.address, "--count", "1", "--json"),
        ]
    with server("serve-files", f"{tmp_path}/inbox", listen_address("uds", tmp_path)) as files:
        finished.append(run_with(closed, "put", __file__, files.address))
    finished += [run_with(closed, "decode", HELLO), run_with(closed, "--help")]
    if closed.count("-") == 3:
        finished.append(run_with(closed, "bench", "--seconds", "0.01"))
    for one in finished:
        assert (one.returncode, one.stderr) == (0, "")
        assert bool(one.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_no_socket_and_no_file_takes_the_place(closed: str) -> None:
    setting = " ".join(f"{number}>&-" for number in closed)
    for arguments in (["ping", NOBODY, "--count", "1"], ["decode", HELLO]):
        program = (sys.executable, "-c", THEN_LOOK, closed)
        finished = run_with(setting, *arguments, program=program)
        assert finished.returncode == (arguments[0] == "ping")


def test_a_reason_does_not_go_to_stdout_instead() -> None:
    for arguments in (["ping", NOBODY, "--json"], ["ping"], [], ["ping", "x"]):
        finished = run_with("2>&-", *arguments)
        assert finished.returncode == (1 if NOBODY in arguments else 2)
        assert finished.stdout == ""


def test_closed_standard_input_cannot_be_read(tmp_path: Path) -> None:
    with server("echo", listen_address("uds", tmp_path)) as echo:
        for arguments in (["send", echo.address, "--file", "-"], ["decode"], ["decode", "-"]):
            finished = run_with("<&-", *arguments)
            assert (finished.returncode, finished.stdout) == (1, "")
            assert finished.stderr == "pytofu: standard input is closed\n"


def test_a_server_works_with_all_of_them_closed(tmp_path: Path) -> None:
    address = listen_address("uds", tmp_path)
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *PYTOFU, "echo", address]
    with subprocess.Popen(command) as echo:
        ping = run("ping", address, "--count", "3", "--wait", "20")
        assert (ping.returncode, ping.stderr) == (0, b"")
        echo.terminate()
    assert echo.returncode == 0


@full
@pytest.mark.parametrize(
    "arguments",
    [
        ["decode", HELLO],
        ["decode", HELLO, "--json"],
        ["echo", "tcp://127.0.0.1:0"],
        ["echo", "tcp://127.0.0.1:0", "--json"],
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_output(arguments: list[str], unbuffered: str) -> None:
    setting = f"export PYTHONUNBUFFERED={unbuffered}; >/dev/full"
    finished = run_with(setting, *arguments)
    assert finished.returncode == 1
    assert finished.stderr == "pytofu: standard output: No space left on device\n"
    for more in ("--help", "--version"):
        finished = run_with(setting, more)
        assert (finished.returncode, finished.stderr) == (1, "pytofu: No space left on device\n")


@full
def test_full_error_output() -> None:
    for arguments in (["ping", NOBODY], ["ping"], []):
        finished = run_with("2>/dev/full", *arguments)
        assert finished.returncode == (1 if NOBODY in arguments else 2)
        assert (finished.stdout, finished.stderr) == ("", "")


@pytest.mark.parametrize("arguments", [["decode", HELLO], ["decode", HELLO, "--json"], ["--help"]])
def test_a_pipe_whose_reader_has_gone(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    finished = subprocess.run(
        [*PYTOFU, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (1, b"")


def test_long_lines_break_at_blanks_on_a_terminal_only() -> None:
    text = f"{'word ' * 30}end\n\n  short\n{'x' * 100}"
    assert at_blanks(text, io.StringIO()) == text
    first, second, *rest = at_blanks(text, Terminal()).splitlines()
    assert len(first) <= 80
    assert f"{first} {second}" == f"{'word ' * 30}end"
    assert rest == ["", "  short", "x" * 100]


def test_reasons_fit_the_terminal(tmp_path: Path) -> None:
    """Columns are those of the terminal that stderr is, whatever stdout is."""
    command = ["/bin/sh", "-c", 'stty cols 50; exec "$@"', "sh", *PYTOFU, "ping", "somewhere"]
    with on_terminal(command, os.environ) as (process, screen):
        seen = b""
        with suppress(OSError):  # the end, on Linux
            while part := screen.read(4096):
                seen += part
        assert process.wait() == 2
    lines = seen.decode().splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 50 for line in lines)


def test_a_reason_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    complain("x" * 100_000)
    assert capsys.readouterr().err == f"{'x' * 1000} ...\n"


def test_nothing_can_be_done_where_stderr_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    write_error("x")


def test_abandoned(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        file.write("x")
        abandon(file)
    assert path.read_text() == ""
    abandon(io.StringIO())
