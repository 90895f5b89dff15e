"""The README's example does what the README says."""

import re
import socket
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_smallest_example_prints_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (output,) = re.findall(r"It prints `(.*?)`", text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    exec(compile(example.replace("7099", str(port)), "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == f"{output}\n"
