"""Socket files that are private, ours alone, and gone when we are."""

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytofu.links import socket_file
from pytofu.links.by_scheme import begin_listen, listen
from pytofu.values.address import UDSClientAddress, UDSServerAddress
from pytofu.values.status import AmpeError
from tests.links.ends import (
    accept,
    accepted,
    connected,
    failed,
    linux_only,
    listening,
    no_more_files,
    printed_by,
    received,
)

TAKEN = f"EADDRINUSE, {os.strerror(errno.EADDRINUSE)}"


def refused(path: str) -> str:
    """Why nobody can listen at a path."""
    error = failed(begin_listen(UDSServerAddress(path), reuse_port=False))
    assert error.error is AmpeError.LISTEN_FAILED
    return error.detail


def dead_socket(path: str, kind: int = socket.SOCK_STREAM) -> None:
    """Leave a socket file that no process has any more."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(path)


def files_beside(path: str) -> list[str]:
    return sorted(os.listdir(os.path.dirname(path)))


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_file_is_private_and_goes_with_the_listener(path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        with listening(UDSServerAddress(path)) as listener:
            assert listener.address == UDSServerAddress(path)
            status = os.lstat(path)
            assert stat.S_ISSOCK(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o600
    finally:
        os.umask(before)
    assert files_beside(path) == []


def test_where_a_socket_has_no_mode_its_file_gets_one(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fchmod(*args: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fchmod", fchmod)
    with listening(UDSServerAddress(path)):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600


def test_listening_that_fails_half_way_leaves_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(*args: object) -> None:
        raise PermissionError(errno.EPERM, "not today")

    monkeypatch.setattr(socket.socket, "listen", listen)
    assert refused(path) == f"EPERM, not today: {path!r}"
    assert files_beside(path) == []


def test_a_file_that_was_replaced_at_once_is_not_touched(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As who may write to the folder could, to have the mode of his file's target changed."""
    bind = socket_file._bind

    def bind_and_lose(sock: socket.socket, path: str) -> None:
        bind(sock, path)
        os.unlink(path)
        Path(path).write_text("precious")

    monkeypatch.setattr(socket_file, "_bind", bind_and_lose)
    assert refused(path) == f"ENOTSOCK, the socket file was replaced: {path!r}"
    assert Path(path).read_text() == "precious"
    assert stat.S_IMODE(os.lstat(path).st_mode) != 0o600


def test_a_relative_path_is_removed_from_wherever_the_program_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "s").write_text("precious")
    monkeypatch.chdir(here)
    with listening(UDSServerAddress("s")) as listener:
        assert listener.address == UDSServerAddress("s")
        os.chdir(there)
    assert os.listdir(here) == []
    assert (there / "s").read_text() == "precious"


def test_a_relative_path_may_be_short_where_the_absolute_one_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with listening(UDSServerAddress("s")) as listener, connected(UDSClientAddress("s")):
        accept(listener).close(reset=True)
    assert os.listdir(deep) == []


@linux_only  # elsewhere a program's folder cannot be removed
def test_in_a_folder_that_is_gone_only_absolute_paths_work(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert refused("s").startswith("ENOENT, ")
    with listening(UDSServerAddress(path)):
        pass


def test_somebody_elses_socket_file_stays(path: str) -> None:
    with listening(UDSServerAddress(path)):
        os.unlink(path)
        other = socket.socket(socket.AF_UNIX)
        other.bind(path)
        other.listen()
    with other, connected(UDSClientAddress(path)):
        pass
    os.unlink(path)


def test_a_file_that_is_gone_is_not_missed(path: str) -> None:
    with listening(UDSServerAddress(path)):
        os.unlink(path)


def test_a_folder_that_is_no_longer_there_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with listening(UDSServerAddress(tmp_path / "d/s")):
        os.rename(tmp_path / "d", tmp_path / "e")
        (tmp_path / "d").touch()  # where a folder was is a file: ENOTDIR
    os.unlink(tmp_path / "e/s")


def test_closing_twice_is_harmless(path: str) -> None:
    with listening(UDSServerAddress(path)) as listener:
        listener.close()
        Path(path).touch()
    assert files_beside(path) == ["s"]


async def test_listening_needs_no_waiting(path: str) -> None:
    found = await listen(UDSServerAddress(path), reuse_port=True)
    assert isinstance(found, list)
    found[0].close()


# ---------------------------------------------------------------------- what lies there already


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_dead_socket_file_is_replaced(path: str, kind: int) -> None:
    dead_socket(path, kind)
    with listening(UDSServerAddress(path)) as listener, connected(UDSClientAddress(path)):
        accept(listener).close(reset=True)
        assert files_beside(path) == ["s"]
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert files_beside(path) == []


@pytest.mark.parametrize("what", ["file", "folder", "link", "dead link", "pipe"])
def test_what_is_no_socket_is_not_touched(path: str, tmp_path: Path, what: str) -> None:
    """A link could lead to somebody else's dead socket, or be moved before it is followed."""
    target = tmp_path / "target"
    match what:
        case "file":
            Path(path).write_text("precious")
        case "folder":
            os.mkdir(path)
        case "pipe":
            os.mkfifo(path)
        case _:
            os.symlink(target, path)
            if what == "link":
                dead_socket(str(target))
    before = os.lstat(path)
    assert refused(path) == f"{TAKEN}, what lies there is no socket: {path!r}"
    assert os.lstat(path) == before
    assert target.is_socket() is (what == "link")
    target.unlink(missing_ok=True)
    assert set(files_beside(path)) == {"s"}


def test_a_live_listener_is_asked_without_being_connected_to(path: str) -> None:
    with listening(UDSServerAddress(path)) as listener:
        assert refused(path) == f"{TAKEN}, a socket lives there: {path!r}"
        with connected(UDSClientAddress(path)) as client:
            client.send(b"first")
            with accepted(listener) as server:
                assert received(server, 5) == b"first"


def test_a_socket_that_does_not_listen_yet_lives_too(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        assert refused(path) == f"{TAKEN}, a socket lives there: {path!r}"
    os.unlink(path)


def test_a_live_datagram_socket_is_refused(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        assert refused(path) == f"{TAKEN}, a socket lives there: {path!r}"
    os.unlink(path)


def test_a_datagram_socket_that_may_not_be_asked_is_refused(path: str, tmp_path: Path) -> None:
    """It has a peer: nobody else may connect to it, not even to ask whether it lives."""
    peer_path = str(tmp_path / "peer")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(path)
        peer.bind(peer_path)
        sock.connect(peer_path)
        assert repr(path) in refused(path)
    os.unlink(path)
    os.unlink(peer_path)


def test_without_descriptors_no_file_is_taken_for_dead(path: str) -> None:
    dead_socket(path)
    for enough in range(3):  # for nothing; for the socket; for the lock too, but not to ask
        with no_more_files(but=enough):
            assert refused(path) == f"EMFILE, {os.strerror(errno.EMFILE)}: {path!r}"
        assert files_beside(path) == ["s"]
    with no_more_files(but=3), listening(UDSServerAddress(path)):
        pass


def test_a_folder_that_does_not_exist(path: str) -> None:
    text = f"ENOENT, {os.strerror(errno.ENOENT)}"
    assert refused(f"{path}/s") == f"{text}: {f'{path}/s'!r}"


# ---------------------------------------------------------------------- two servers at once


def lock_of(path: str) -> str:
    return path + socket_file._LOCK_SUFFIX


def test_while_one_server_replaces_a_dead_file_the_other_is_told(path: str) -> None:
    dead_socket(path)
    with open(lock_of(path), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refused(path) == f"{TAKEN}, another server is just starting there: {path!r}"
        assert files_beside(path) == ["s", "s.pytofu-lock"]
    with listening(UDSServerAddress(path)):  # the lock of who died is no lock
        assert files_beside(path) == ["s"]


@pytest.mark.parametrize("again", [False, True])
def test_the_lock_of_a_file_that_is_no_longer_there_is_none(
    path: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder has finished between our opening it and our locking it."""
    dead_socket(path)
    flock = fcntl.flock

    def flock_too_late(file: int, how: int) -> None:
        flock(file, how)
        os.unlink(lock_of(path))
        if again:
            Path(lock_of(path)).touch()

    monkeypatch.setattr(fcntl, "flock", flock_too_late)
    assert refused(path) == f"{TAKEN}, another server is just starting there: {path!r}"
    assert ("s.pytofu-lock" in files_beside(path)) is again
    monkeypatch.undo()
    with listening(UDSServerAddress(path)):
        assert files_beside(path) == ["s"]


@pytest.mark.parametrize("what", ["link", "folder"])
def test_a_lock_that_is_somebodys_trap_is_not_walked_into(
    path: str, tmp_path: Path, what: str
) -> None:
    dead_socket(path)
    target = tmp_path / "target"
    if what == "link":
        os.symlink(target, lock_of(path))
    else:
        os.mkdir(lock_of(path))
    assert repr(path) in refused(path)
    assert not target.exists()
    os.unlink(path)


def test_a_lock_that_cannot_be_removed_does_no_harm(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_socket(path)
    unlink = os.unlink

    def unlink_own(name: str) -> None:
        if name == lock_of(path):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(name)

    monkeypatch.setattr(os, "unlink", unlink_own)
    for _ in range(2):
        with listening(UDSServerAddress(path)):
            pass
        dead_socket(path)
    unlink(path)


def test_a_dead_file_that_is_gone_when_the_lock_is_there(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_socket(path)
    flock = fcntl.flock

    def flock_and_remove(file: int, how: int) -> None:
        flock(file, how)
        os.unlink(path)

    monkeypatch.setattr(fcntl, "flock", flock_and_remove)
    with listening(UDSServerAddress(path)):
        pass


RACE = """
import os, sys, time
from pytofu.links.by_scheme import *
from pytofu.links.base import *
from pytofu.values.address import *
remove = os.unlink
def unlink_late(path, **how):  # as on a busy machine
    time.sleep(0.002)
    remove(path, **how)
os.unlink = unlink_late
for round in range(20):
    sys.stdin.readline()
    found = begin_listen(UDSServerAddress(f"{sys.argv[1]}/{round}"), reuse_port=False)
    print(isinstance(found, list), flush=True)
    sys.stdin.readline()
    if isinstance(found, list):
        found[0].close()
"""


def test_of_two_servers_that_find_a_dead_file_one_wins(tmp_path: Path) -> None:
    """In processes of their own, started together as far as that can be done."""
    for number in range(20):
        dead_socket(str(tmp_path / str(number)))
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for _ in range(2)
        ]
        for _ in range(20):
            for server in servers:
                assert server.stdin is not None
                server.stdin.write("\n")
            listens = [server.stdout.readline() for server in servers if server.stdout]
            assert sorted(listens) == ["False\n", "True\n"]
            for server in servers:
                assert server.stdin is not None
                server.stdin.write("\n")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------- forked children


def test_a_forked_child_removes_no_file_of_its_parent(path: str) -> None:
    program = """
import os, sys
from pytofu.links.by_scheme import *
from pytofu.values.address import *
[listener] = begin_listen(UDSServerAddress(sys.argv[1]), reuse_port=False)
if not (pid := os.fork()):
    listener.close()
    os._exit(0)
os.waitpid(pid, 0)
print(os.path.exists(sys.argv[1]))
listener.close()
print(os.path.exists(sys.argv[1]))
"""
    assert printed_by(program, path) == ["True", "False"]
