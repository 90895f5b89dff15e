"""Files that are none, and inputs that never end."""

import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytofu.cli.inputs import open_regular, read_input
from pytofu.cli.running import CommandError


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


SPECIAL: list[tuple[Callable[[Path], None], str]] = [
    (os.mkdir, "a directory"),
    (os.mkfifo, "a named pipe"),
    (_socket, "a socket"),
    (lambda path: path.symlink_to("/dev/zero"), "a device"),
]


@pytest.mark.parametrize(("make", "what"), SPECIAL)
def test_what_is_no_regular_file(make: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    """Said at once: opening a named pipe would wait for somebody who writes."""
    make(tmp_path / "x")
    with pytest.raises(CommandError, match=f"{tmp_path}/x is {what}, not a regular file"):
        open_regular(tmp_path / "x")


def test_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    with open_regular(tmp_path / "x") as file:
        assert file.read() == b"content"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "y")


@pytest.mark.parametrize(("make", "what"), [SPECIAL[0], SPECIAL[2]])
def test_what_cannot_be_read(make: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(CommandError, match=f"{tmp_path}/x is {what}"):
        read_input(str(tmp_path / "x"), 10)


def test_a_named_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"content",))
    writer.start()
    assert read_input(str(path), 10) == b"content"
    writer.join()


def test_what_never_ends_is_given_up() -> None:
    with pytest.raises(CommandError, match="/dev/zero has more than 10 bytes"):
        read_input("/dev/zero", 10)


def test_a_regular_file_may_have_any_size(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(5_000_000))
    assert read_input(str(tmp_path / "x"), 10) == bytes(5_000_000)


def test_standard_input_without_anything_to_read_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading does not block, what is not there yet is not the end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(reader) as stdin, open(writer, "wb", buffering=0) as other:
        other.write(b"content")
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(OSError, match="standard input") as caught:
            read_input("-", 10)
    assert isinstance(caught.value, BlockingIOError)
