"""What a program pays before it can do anything, measured in interpreters of their own."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from benchmarks.runs import Figures

_IMPORT: Final = """
from time import perf_counter
begin = perf_counter()
import {}
print((perf_counter() - begin) * 1000)
"""

_OPEN: Final = """
from time import perf_counter
import pytofu
import trio

async def main():
    begin = perf_counter()
    async with pytofu.open_ampe() as ampe, ampe.open_channel_group():
        print((perf_counter() - begin) * 1000)

trio.run(main)
"""

_PROGRAMS: Final[Mapping[str, str]] = {
    "import trio": _IMPORT.format("trio"),
    "import pytofu": _IMPORT.format("pytofu"),  # and Trio with it
    "open_ampe": _OPEN,
}


def measure() -> Mapping[str, Figures]:
    """Milliseconds, by what is done in them."""
    return {name: {"ms": _run(program)} for name, program in _PROGRAMS.items()}


def _run(program: str) -> float:
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
