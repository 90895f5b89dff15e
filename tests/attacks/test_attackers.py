"""No peer harms another: one attacker after the other, each against a server of its own.

While it attacks, a polite peer asks one thing after the other. What that gets is counted by the
server's processor time, not by the clock: so a busy machine does not decide it.
"""

import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.attacks.attackers import ATTACKERS, HEADER, HELLO_FRAME, PEERS, REQUEST, frame

HERE: Final = Path(__file__).parent
MOST_MIB: Final = 300
LONGEST_TURN: Final = 0.1
"""Seconds of the server's processor time. By the clock a turn also lasts while the attacker, or
whatever else the machine has to do, has the processor: that is printed, and decides nothing."""
PATIENCE: Final = 10.0
"""Seconds that the server may take for one thing: to answer, or to read on what is left of an
attack, or to give back what nobody took. That can be millions of messages, so how long it takes as
a whole says nothing."""
ALONE: Final = 500
"""Requests that tell what the polite peer has for itself."""

type Facts = dict[str, Any]

IN_A_HURRY: Final = (
    "a_hundred_ask_and_never_read",
    "floods_with_requests",
    "floods_with_text_headers",
    "forges_headers",
    "holds_thousands_after_hello",
    "lets_half_frames_grow",
    "says_hello_and_leaves",
    "sends_pieces_of_two_bytes",
)
"""The attackers of the ordinary run: one of each kind."""


class Server:
    """The process that is attacked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.port = int(self._out.readline())

    def ask(self) -> tuple[Facts, Facts]:
        """What it holds, and what it has cost since it was last asked."""
        self._in.write("\n")
        self._in.flush()
        state, cost = json.loads(self._out.readline())
        return state, cost


@contextmanager
def server() -> Iterator[Server]:
    command = [sys.executable, "-m", "tests.attacks.server"]
    with subprocess.Popen(
        command,
        cwd=HERE.parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@contextmanager
def attacking(name: str, port: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-S", str(HERE / "attackers.py"), name, str(port), str(seconds)]
    with subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


class Polite:
    """A peer that asks one thing after the other."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.sendall(HELLO_FRAME)
        self._receive()
        self.asked = 0
        self.longest_wait = 0.0

    def _receive(self) -> int:
        header = self._connection.recv(HEADER.size, socket.MSG_WAITALL)
        _, _, _, number, text, body = HEADER.unpack(header)
        if text or body:
            self._connection.recv(text + body, socket.MSG_WAITALL)
        assert isinstance(number, int)
        return number

    def ask(self) -> None:
        """Ask one thing and hear the answer."""
        self.asked += 1
        began = time.perf_counter()
        self._connection.sendall(frame(REQUEST, body=b"x", number=self.asked))
        assert self._receive() == self.asked
        self.longest_wait = max(self.longest_wait, time.perf_counter() - began)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module", autouse=True)
def many_descriptors() -> Iterator[None]:
    """As many as may be, here and for the processes started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(name: str, seconds: float, *, for_long: bool) -> None:
    with server() as attacked:
        before, _ = attacked.ask()
        polite = Polite(attacked.port)
        for _ in range(ALONE):
            polite.ask()
        _, cost = attacked.ask()
        alone = polite.asked / cost["cpu"]
        polite.asked, polite.longest_wait = 0, 0.0
        began = time.perf_counter()
        with attacking(name, attacked.port, seconds) as attacker:
            while attacker.poll() is None:
                polite.ask()
            assert attacker.returncode == 0
        took = time.perf_counter() - began
        _, cost = attacked.ask()
        share = polite.asked / cost["cpu"] / alone
        print(
            f"{name}: {cost['peak_mib']:.0f} MiB; longest turn {cost['longest_cpu'] * 1e3:.0f} ms"
            f" of processor, {cost['longest'] * 1e3:.0f} of the clock; the polite peer"
            f" {polite.asked / took:.0f}/s, {share:.3f} of what it has alone, waited"
            f" {polite.longest_wait * 1e3:.0f} ms at most; server busy {cost['cpu'] / took:.2f};"
            f" limits {cost['limits']}"
        )
        polite.close()
        until = time.monotonic() + PATIENCE
        after, last = attacked.ask()
        while after != before and time.monotonic() < until:
            time.sleep(0.1)  # each answer costs the server as much as hundreds of messages
            left = last["messages"], after["bytes_queued"]
            after, last = attacked.ask()
            if left != (last["messages"], after["bytes_queued"]):
                until = time.monotonic() + PATIENCE
            cost["longest_cpu"] = max(cost["longest_cpu"], last["longest_cpu"])
            cost["longest"] = max(cost["longest"], last["longest"])
        assert after == before
        assert last["peak_mib"] < MOST_MIB
        assert cost["longest_cpu"] < LONGEST_TURN
        quarter = 1 / 4 / (1 + PEERS[name])
        assert share > (quarter if for_long else quarter / 2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", IN_A_HURRY)
def test_no_peer_harms_another(name: str) -> None:
    run(name, 1, for_long=False)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", tuple(ATTACKERS))
def test_no_peer_harms_another_for_long(name: str) -> None:
    run(name, 8, for_long=True)
