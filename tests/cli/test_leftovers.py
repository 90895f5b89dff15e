"""What a killed server leaves, and what only looks like it."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytofu.cli.leftovers import (
    create,
    is_temporary,
    lasting_name,
    remove_leftovers,
    take_up,
    temporary_name,
)
from pytofu.cli.receiving import Incoming
from tests.cli.peers import Printed, file_server

LEFT = ".pytofu-0123456789abcdef.part"


def test_names() -> None:
    assert is_temporary(temporary_name())
    assert temporary_name() != temporary_name()
    for name in (
        "",
        "x",
        f"x{LEFT}",
        f"{LEFT}x",
        LEFT.upper(),
        LEFT.replace("0", "g"),
        f"{LEFT}\n",
    ):
        assert not is_temporary(name)


def test_what_is_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "sub" / "sub").mkdir(parents=True)
    for folder in ("", "sub", "sub/sub"):
        (tmp_path / folder / LEFT).write_bytes(b"left")
        (tmp_path / folder / "file").write_bytes(b"file")
    assert remove_leftovers(tmp_path) == (3, 0)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"] * 3
    assert remove_leftovers(tmp_path) == (0, 0)


def test_files_on_their_way_stay(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path, "a", 1, overwrite=False)
    assert remove_leftovers(tmp_path) == (0, 0)
    incoming.discard()
    assert os.listdir(tmp_path) == []


def test_what_only_has_such_a_name_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / LEFT).write_bytes(b"of somebody else")
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    (inside / LEFT).symlink_to(outside / LEFT)
    (inside / LEFT.replace("0", "1")).mkdir()
    os.mkfifo(inside / LEFT.replace("0", "2"))
    reader = os.open(inside / LEFT.replace("0", "2"), os.O_RDONLY | os.O_NONBLOCK)
    assert remove_leftovers(inside) == (0, 0)
    os.close(reader)
    assert len(os.listdir(inside)) == 4
    assert (outside / LEFT).read_bytes() == b"of somebody else"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert remove_leftovers(outside) == (0, 0)
    assert (outside / LEFT).exists()


def test_a_new_file_that_was_taken_for_left_over_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server may look just between its creation and its lock."""
    flock = fcntl.flock
    removed: list[int] = []

    def look_and_lock(file: int, operation: int) -> None:
        if not removed:
            monkeypatch.setattr(fcntl, "flock", flock)
            removed.append(remove_leftovers(tmp_path)[0])
        flock(file, operation)

    directory = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(fcntl, "flock", look_and_lock)
    file = create(LEFT, directory)
    assert removed == [1]
    assert os.path.samestat(os.fstat(file), os.stat(tmp_path / LEFT))
    assert remove_leftovers(tmp_path) == (0, 0)
    os.close(file)
    os.close(directory)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    incoming = Incoming(tmp_path, "a", 0, overwrite=False)
    assert remove_leftovers(tmp_path) == (0, 0)
    incoming.discard()


_UPLOAD = """
import sys
from pathlib import Path
from pytofu.cli.receiving import Incoming
incoming = Incoming(Path(sys.argv[1]), "a", 9, overwrite=False)
incoming.write(b"1234")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A directory with what a process has left that was killed during an upload."""
    command = [sys.executable, "-c", _UPLOAD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        assert remove_leftovers(tmp_path) == (0, 0)
        other.kill()
    assert [is_temporary(name) for name in os.listdir(tmp_path)] == [True]
    return tmp_path


async def test_after_a_server_was_killed(left: Path) -> None:
    log = Printed()
    async with file_server(left, log.output):
        await log.file.until('"tidied"')
    assert os.listdir(left) == []
    assert log.records[1] == {"event": "tidied", "files": 1}


# ---------------------------------------------------------------------- to be gone on with

LASTING = lasting_name("a", 9, "0" * 64)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """The directory, open."""
    directory = os.open(tmp_path, os.O_RDONLY)
    yield directory
    os.close(directory)


def test_the_name_says_which_file_it_is() -> None:
    assert is_temporary(LASTING)
    assert lasting_name("a", 9, "0" * 64) == LASTING
    others = [("b", 9, "0" * 64), ("a", 8, "0" * 64), ("a", 9, "1" * 64), ("\udcff", 9, "0" * 64)]
    assert LASTING not in {lasting_name(*other) for other in others}


def test_it_stays_for_a_time(tmp_path: Path) -> None:
    (tmp_path / LASTING).touch()
    (tmp_path / LEFT).touch()
    assert remove_leftovers(tmp_path, keep=60, most=9) == (1, 1)
    assert os.listdir(tmp_path) == [LASTING]
    old = time.time() - 61
    os.utime(tmp_path / LASTING, (old, old))
    assert remove_leftovers(tmp_path, keep=60, most=9) == (1, 0)
    assert os.listdir(tmp_path) == []


def test_there_are_not_too_many(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / lasting_name("a", number, "")).touch()
    assert remove_leftovers(tmp_path, keep=60, most=2) == (3, 2)
    assert len(os.listdir(tmp_path)) == 2


def test_only_one_goes_on_with_it(tmp_path: Path, directory: int) -> None:
    (tmp_path / LASTING).write_bytes(b"left")
    file = take_up(LASTING, directory)
    assert file is not None
    assert os.read(file, 9) == b"left"
    assert take_up(LASTING, directory) is None
    assert remove_leftovers(tmp_path) == (0, 0)
    os.close(file)
    os.unlink(tmp_path / LASTING)
    (tmp_path / LASTING).mkdir()
    assert take_up(LASTING, directory) is None


def test_what_is_not_ours_is_not_gone_on_with(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/dev/fd"))
    for make in (_symlink, os.mkfifo, _link):
        make(tmp_path / LASTING)
        assert take_up(LASTING, directory) is None
        os.unlink(tmp_path / LASTING)
    assert not (tmp_path / "outside").exists()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert take_up(LASTING, directory) is None
    assert len(os.listdir("/dev/fd")) == before


def _symlink(path: Path) -> None:
    path.symlink_to("outside")


def _link(path: Path) -> None:
    """As a server that was killed while it gave the file its name."""
    (path.parent / "stored").touch()
    os.link(path.parent / "stored", path)
