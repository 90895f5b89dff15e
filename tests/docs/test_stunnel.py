"""The configurations of the page about stunnel, run as they are, where stunnel is installed.

A pytofu peer in clear stands for the Zig one, as on the page.
"""

import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import DOCS, blocks, environment

PAGE: Final = DOCS / "howto" / "stunnel.md"
STUNNEL: Final = shutil.which("stunnel4") or shutil.which("stunnel")
PORTS: Final = ("7099", "7443", "7098")

pytestmark = [
    pytest.mark.skipif(STUNNEL is None, reason="stunnel is not installed"),
    pytest.mark.timeout(30),  # it starts processes
]


def free_ports(count: int) -> list[str]:
    """TCP ports that nobody uses, each another."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in found]


class Terminals:
    """A folder with the files of the page, where its commands are run; the ports are free ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.commands: list[str] = []
        """What the page says to type, in order."""
        for block in blocks(PAGE):
            if block.caption:
                (folder / block.caption).write_text(self._here(block.text))
            else:
                assert block.language == "console"
                self.commands += [line.removeprefix("$ ") for line in block.text.splitlines()]

    def _here(self, text: str) -> str:
        return re.sub("|".join(PORTS), lambda found: self._ports[found[0]], text)

    def command(self, *start: str) -> str:
        """The one that starts so."""
        (found,) = [one for one in self.commands if one.startswith(start)]
        return found

    def _arguments(self, command: str) -> list[str]:
        program, *arguments = shlex.split(self._here(command))
        assert STUNNEL is not None
        return [
            *{"pytofu": [sys.executable, "-m", "pytofu"], "stunnel": [STUNNEL]}[program],
            *arguments,
        ]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self._arguments(command),
            cwd=self._folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def running(self, *commands: str) -> Iterator[list[str]]:
        """Run servers for the length of a block; what they have printed, behind it."""
        printed: list[str] = []
        with ExitStack() as stack:
            servers = [
                stack.enter_context(
                    subprocess.Popen(
                        self._arguments(command),
                        cwd=self._folder,
                        env=environment(),
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
                for command in commands
            ]
            try:
                yield printed
            finally:
                for server in servers:
                    server.terminate()
                printed += [server.communicate()[0] for server in servers]


@pytest.fixture
def terminals(tmp_path: Path) -> Terminals:
    made = Terminals(tmp_path)
    assert made.run(made.command("pytofu cert")).returncode == 0
    return made


def assert_two_answers(ping: subprocess.CompletedProcess[str], echoed: str) -> None:
    assert (ping.returncode, ping.stderr) == (0, "")
    assert "2 sent, 2 answered, 0 % lost" in ping.stdout
    assert " closed after 2 messages, 112 B: the peer said bye" in echoed


def test_a_server_in_clear(terminals: Terminals) -> None:
    ping = terminals.command("pytofu ping tls")
    with terminals.running(
        terminals.command("pytofu echo tcp"), terminals.command("stunnel server")
    ) as printed:
        known = terminals.run(ping)
        nobody = terminals.run(ping.partition(" --cert")[0])
    assert_two_answers(known, printed[0])
    assert nobody.returncode == 1
    assert "TLS: the peer wants a certificate of this side" in nobody.stderr
    assert "1 channel, 2 messages" in printed[0]


def test_a_client_in_clear(terminals: Terminals) -> None:
    with terminals.running(
        terminals.command("pytofu echo tls"), terminals.command("stunnel client")
    ) as printed:
        ping = terminals.run(terminals.command("pytofu ping tcp"))
    assert_two_answers(ping, printed[0])


@pytest.mark.parametrize("wrong", ["another CA", "another host"])
def test_a_client_in_clear_reaches_nobody_else(terminals: Terminals, wrong: str) -> None:
    """It is stunnel that verifies, as the page has it do."""
    folder = terminals.command("pytofu cert").removeprefix("pytofu cert ")
    echo = terminals.command("pytofu echo tls")
    if wrong == "another CA":
        assert terminals.run("pytofu cert others").returncode == 0
        echo = echo.replace(f"{folder}/server", "others/server")
    else:
        again = f"pytofu cert {folder} --overwrite --host 192.0.2.7"
        assert terminals.run(again).returncode == 0
    with terminals.running(echo, terminals.command("stunnel client")) as printed:
        ping = terminals.run(terminals.command("pytofu ping tcp"))
    assert ping.returncode == 1
    assert "closed the channel" in ping.stderr
    assert "0 channels, 0 messages" in printed[0]
    assert "CERT: " in printed[1]


def test_two_peers_in_clear_with_tls_between_them(terminals: Terminals) -> None:
    with terminals.running(
        terminals.command("pytofu echo tcp"),
        terminals.command("stunnel server"),
        terminals.command("stunnel client"),
    ) as printed:
        ping = terminals.run(terminals.command("pytofu ping tcp"))
    assert_two_answers(ping, printed[0])
