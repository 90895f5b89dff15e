"""The README's examples do what the README says."""

import re
import socket
import sys
from pathlib import Path

import pytest
import trio

from pytofu import Backoff, connect

README = Path(__file__).parent.parent / "README.md"


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(example: str, port: str) -> None:
    code = compile(example.replace("7099", port), "README.md", "exec")
    exec(code, {"__name__": "__main__"})


def test_the_first_example_prints_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    (output,) = re.findall(r"It prints `(.*?)`", README.read_text(encoding="utf-8"))
    example, _ = examples()
    assert sum(bool(line) for line in example.splitlines()) <= 15
    run(example, free_port())
    assert capsys.readouterr().out == f"{output}\n"


async def test_a_server_of_messages_serves_calls() -> None:
    _, example = examples()
    port = free_port()
    program = example.replace("7099", port) + "import trio\ntrio.run(serve_messages)\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.run_process, [sys.executable, "-c", program])
        with trio.fail_after(10):
            backoff = Backoff(first=0.05, longest=0.05)
            async with connect(f"tcp://127.0.0.1:{port}", reconnect=backoff) as peer:
                assert (await peer.call(b"hello, tofu")).body == b"hello, tofu"
        nursery.cancel_scope.cancel()
