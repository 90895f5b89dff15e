"""The README's first example does what the README says, in the few lines that it promises."""

import re
import socket
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def _first_example() -> str:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_example_prints_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    (output,) = re.findall(r"It prints `(.*?)`", README.read_text(encoding="utf-8"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = _first_example().replace("7099", str(port))
    exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == f"{output}\n"


def test_the_first_example_has_at_most_fifteen_lines() -> None:
    assert len([line for line in _first_example().splitlines() if line]) <= 15
