"""Every block of Python on the pages and in the README does what the page says.

A block that calls `trio.run` or `asyncio.run`, or imports zmq, is a program: it runs in a process
of its own, and prints what the `output` block behind it shows. A block with a caption is a file:
see test_tutorial.py. All others of a page are pieces of one program: they run in order, sharing
their names, inside Trio, with an engine, a channel group and an open channel to a peer at hand.
Neither programs nor pieces drop a message that they should put back.

A `console` block that runs an example shows all that this prints.
"""

import ast
import importlib.util
import inspect
import io
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path
from types import CodeType
from typing import Any, Final

import pytest
import trio

from pytofu import (
    Ampe,
    ChannelGroup,
    Holder,
    MessageRole,
    TCPClientAddress,
    TCPServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)
from tests.docs.pages import PAGES, ROOT, Block, blocks, comparable, environment, free_port

_PROGRAM: Final = re.compile(
    r"^ *(trio|asyncio)\.run\(|target=trio\.run\b|^import zmq", re.MULTILINE
)
_PEERS: Final = ("websockets", "zmq")


def _python(page: Path) -> Iterator[tuple[Block, str | None]]:
    """The blocks of Python of a page that are no files, each with the output shown behind it."""
    all_blocks = list(blocks(page))
    for block, following in zip(all_blocks, [*all_blocks[1:], None], strict=False):
        if block.language == "python" and not block.caption:
            shown = following is not None and following.language == "output"
            yield block, following.text if following is not None and shown else None


def _is_program(block: Block) -> bool:
    return _PROGRAM.search(block.text) is not None


_PROGRAMS: Final = [
    (block, output) for page in PAGES for block, output in _python(page) if _is_program(block)
]
_TERMINALS: Final = [
    block
    for page in PAGES
    for block in blocks(page)
    if block.language == "console"
    and block.text.startswith("$ python examples/")
    and block.text.count("\n") > 1
]
_PIECES: Final = {
    page: pieces
    for page in PAGES
    if (pieces := [found for found in _python(page) if not _is_program(found[0])])
}


@pytest.mark.parametrize(("block", "output"), _PROGRAMS, ids=[b.name for b, _ in _PROGRAMS])
def test_a_program_prints_what_the_page_shows(block: Block, output: str | None) -> None:
    for peer in _PEERS:
        if re.search(rf"^(import|from) {peer}\b", block.text, re.MULTILINE) and (
            importlib.util.find_spec(peer) is None
        ):
            pytest.skip(f"{peer} is not installed")
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-c", block.text.replace("7099", str(port))],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=9,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if output is not None:
        assert comparable(done.stdout, port) == comparable(output)


@pytest.mark.parametrize("terminal", _TERMINALS, ids=[block.name for block in _TERMINALS])
def test_an_example_prints_what_the_page_shows(terminal: Block) -> None:
    command, _, shown = terminal.text.partition("\n")
    done = subprocess.run(
        [sys.executable, command.removeprefix("$ python ")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=9,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


@pytest.mark.filterwarnings("error:a message was dropped:ResourceWarning")
@pytest.mark.parametrize(
    "pieces", _PIECES.values(), ids=[str(page.relative_to(ROOT)) for page in _PIECES]
)
async def test_the_pieces_of_a_page_run_in_order(
    pieces: list[tuple[Block, str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed_and_shown: list[tuple[str, str]] = []
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls, _peer(ampe) as address:
        with borrowed_message(ampe) as hello:
            address.format(hello.unwrap())
            channel = chnls.post(hello).channel_number
        ampe.put(Holder(await chnls.wait_receive()))
        names: dict[str, Any] = {"ampe": ampe, "chnls": chnls, "channel": channel, "trio": trio}
        for block, output in pieces:
            printed = io.StringIO()
            with redirect_stdout(printed):
                running = eval(_compile(block), names)
                if inspect.iscoroutine(running):
                    await running
            if output is not None:
                printed_and_shown.append((printed.getvalue(), output))
    for lines, shown in printed_and_shown:
        assert comparable(lines) == comparable(shown)


def _compile(block: Block) -> CodeType:
    """With `await` allowed outside of functions, and the page's own line numbers."""
    code = "\n" * block.line + block.text
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled: CodeType = compile(code, str(block.page), "exec", flags=flags, dont_inherit=True)
    return compiled


@asynccontextmanager
async def _peer(ampe: Ampe) -> AsyncIterator[TCPClientAddress]:
    """A server that turns every request into its response."""
    async with ampe.open_channel_group() as chnls, trio.open_nursery() as nursery:
        with borrowed_message(ampe) as holder:
            TCPServerAddress("127.0.0.1", 0).format(holder.unwrap())
            chnls.post(holder)
        bound = parse_address(await chnls.wait_receive())
        assert isinstance(bound, TCPServerAddress)
        nursery.start_soon(_echo, chnls)
        yield TCPClientAddress(bound.host, bound.port)
        nursery.cancel_scope.cancel()


async def _echo(chnls: ChannelGroup) -> None:
    async for holder in chnls:
        message = holder.unwrap()
        if message.opcode.role is MessageRole.REQUEST:
            message.opcode = message.opcode.echo().unwrap()
            chnls.post(holder)
