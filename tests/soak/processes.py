"""Starting and ending the other processes of the soak tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PROGRAM: Final = Path(__file__).with_name("peer.py")


@contextmanager
def running(role: str, where: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `peer.py`; it is killed at the end of the block."""
    command = [sys.executable, str(_PROGRAM), role, where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def address_of(process: subprocess.Popen[str]) -> str:
    """Where a process that listens does so; waits until it does."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
