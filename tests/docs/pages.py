"""The pages of the documentation as tests see them: their blocks of code, and what these print."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

ROOT: Final = Path(__file__).parent.parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = (
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
)

_FENCE: Final = re.compile(r"(?P<fence>`{3,})(?:\{code-block\} )?(?P<language>[\w-]+) *")
_OPTION: Final = re.compile(r":(\w[\w-]*):(.*)")


@attrs.frozen
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    caption: str
    text: str

    @property
    def name(self) -> str:
        """Where it is, for the id of a test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order, without directives other than code-block."""
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        found = _FENCE.fullmatch(line)
        if found is None:
            continue
        options: dict[str, str] = {}
        content: list[str] = []
        for _, inner in lines:
            if inner.startswith(found["fence"]):
                break
            option = _OPTION.fullmatch(inner)
            if option is not None and not content:
                options[option[1]] = option[2].strip()
            else:
                content.append(inner)
        text = "\n".join(content).strip("\n") + "\n"
        yield Block(page, number, found["language"], options.get("caption", ""), text)


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def comparable(output: str, port: int = 7099) -> str:
    """What a program prints, or is said to print, without what differs from run to run."""
    output = re.sub(rf"\b{port}\b", "7099", output)
    return re.sub(r"\bchannel=[1-9]\d*", "channel=N", output)


def environment() -> dict[str, str]:
    """For a program of a page: it sees the pytofu that is tested here, and warnings are errors."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"}
