"""Commands run as processes of their own, as users run them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.support import Kind

PYTOFU = (sys.executable, "-m", "pytofu")


def listen_address(kind: Kind, directory: Path) -> str:
    """An address to listen on, as it is written on the command line."""
    return "tcp://127.0.0.1:0" if kind == "tcp" else f"uds://{directory}/s"


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, without a terminal."""
    return subprocess.run([*PYTOFU, *arguments], input=stdin, capture_output=True, check=False)


def run_with(
    setting: str, *arguments: str, program: Sequence[str] = PYTOFU
) -> subprocess.CompletedProcess[str]:
    """Run a command with redirections of the shell, and with what stands before `exec`."""
    *before, redirections = setting.split(";")
    script = ";".join([*before, f'exec "$@" {redirections}'])
    command = ["sh", "-c", script, "sh", *program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@attrs.define
class Server:
    """A server process."""

    process: subprocess.Popen[bytes]
    address: str
    output: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    """What it has printed, as soon as it has ended."""

    def end(self, number: int = signal.SIGINT) -> None:
        """End it by a signal; it has to end well."""
        self.process.send_signal(number)
        stdout, _ = self.process.communicate()
        self.output = [json.loads(line) for line in stdout.splitlines()]
        assert self.process.returncode == 0


@contextmanager
def server(command: str, *arguments: str, program: Sequence[str] = PYTOFU) -> Iterator[Server]:
    """Run `echo`, `listen` or `serve-files` with --json until the end of the block."""
    with subprocess.Popen(
        [*program, command, "--json", *arguments], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            found = Server(process, json.loads(process.stdout.readline())["address"])
            yield found
            if process.poll() is None:
                found.end()
        finally:
            process.kill()
