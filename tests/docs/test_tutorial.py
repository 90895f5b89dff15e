"""What the pages say to type gives what they show.

Blocks of Python with a caption are files, typed in the order of the page; a later one replaces an
earlier one of the same name. `console` blocks are a terminal: `$ python FILE` runs it, and what
follows is what it has printed by then. A server runs until the terminal shows `^C`. `$ pytofu cert
FOLDER` makes the certificates that the files name.
"""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

import pytest

from tests.docs.pages import DOCS, Block, blocks, comparable, environment, free_port

_PAGES: Final = [
    [DOCS / "index.md"],
    [DOCS / "tutorial" / "first-server.md", DOCS / "tutorial" / "first-client.md"],
    [DOCS / "tutorial" / "server-of-messages.md", DOCS / "tutorial" / "client-of-messages.md"],
    [DOCS / "howto" / "tls.md"],
]


class Typist:
    """Types what the pages say into a folder and runs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._servers: dict[str, subprocess.Popen[str]] = {}
        self._seen: dict[str, str] = {}  # in the terminal of each server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._servers.values():
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=5)

    def type(self, block: Block) -> None:
        """Write the file that the block shows."""
        text = block.text.replace("7099", str(self._port))
        (self._folder / block.caption).write_text(text, encoding="utf-8")

    def use_terminal(self, block: Block) -> None:
        """Run, or go on running, what the block runs, and compare what it prints."""
        command, _, shown = block.text.partition("\n")
        found = re.fullmatch(r"\$ python (\w+\.py)", command)
        assert found is not None, command
        file = found[1]
        if "server" in file:
            self._use_server(file, comparable(shown), block)
        else:
            printed, errors = self._start(file).communicate(timeout=5)
            assert (comparable(printed, self._port), errors) == (comparable(shown), ""), block.name

    def make_certificates(self, block: Block) -> None:
        """Run what the block says, which prints what is tested elsewhere."""
        arguments = block.text.removeprefix("$ pytofu ").split()
        subprocess.run(
            [sys.executable, "-m", "pytofu", *arguments],
            cwd=self._folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def _use_server(self, file: str, shown: str, block: Block) -> None:
        if file not in self._servers:
            self._servers[file] = self._start(file)
            self._seen[file] = ""
        process = self._servers[file]
        shown, _, last_words = shown.partition("^C")
        assert process.stdout is not None
        while len(self._seen[file]) < len(shown):
            line = process.stdout.readline()
            assert line, f"{block.name}: the server has ended"
            self._seen[file] += comparable(line, self._port)
        assert self._seen[file] == shown, block.name
        if last_words:
            del self._servers[file]
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=5) == (last_words.removeprefix("\n"), ""), block.name

    def _start(self, file: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, file],
            cwd=self._folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize("pages", _PAGES, ids=lambda pages: pages[0].stem)
def test_a_reader_who_types_the_page_sees_what_it_shows(pages: list[Path], tmp_path: Path) -> None:
    typed = 0
    with Typist(tmp_path) as typist:
        for page in pages:
            for block in blocks(page):
                if block.language == "python" and block.caption:
                    typist.type(block)
                    typed += 1
                elif block.language == "console" and block.text.startswith("$ pytofu cert "):
                    typist.make_certificates(block)
                elif block.language == "console" and "$ python " in block.text:
                    typist.use_terminal(block)
    assert typed
