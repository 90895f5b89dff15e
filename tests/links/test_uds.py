"""Unix sockets: paths, and files that nobody else's server loses."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu.links.base import Link, LinkError
from pytofu.links.by_scheme import begin_connect, begin_listen, connect
from pytofu.links.settings import TCPSettings
from pytofu.values.address import UDSClientAddress, UDSServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError
from tests.links.ends import (
    accept,
    accepted,
    connected,
    failed,
    linux_only,
    listening,
    opened,
    printed_by,
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


# ---------------------------------------------------------------------- connecting


def test_a_path_that_does_not_exist(path: str) -> None:
    text = f"ENOENT, {os.strerror(errno.ENOENT)}"
    for missing in (path, f"{path}/s"):
        error = failed(begin_connect(UDSClientAddress(missing)))
        assert error == LinkError(AmpeError.UDS_PATH_NOT_FOUND, f"{text}: {missing!r}")


def test_a_path_where_nobody_listens(path: str) -> None:
    text = f"ECONNREFUSED, {os.strerror(errno.ECONNREFUSED)}: {path!r}"
    dead_socket(path)
    assert failed(begin_connect(UDSClientAddress(path))).detail == text
    os.unlink(path)
    Path(path).touch()
    error = failed(begin_connect(UDSClientAddress(path)))
    assert error == LinkError(AmpeError.CONNECT_FAILED, text)
    error = failed(begin_connect(UDSClientAddress(f"{path}/s")))
    text = f"ENOTDIR, {os.strerror(errno.ENOTDIR)}"
    assert error == LinkError(AmpeError.CONNECT_FAILED, f"{text}: {f'{path}/s'!r}")


@pytest.mark.parametrize("path", ["", "a\0b", "\0abstract"])
def test_what_is_no_path(path: str) -> None:
    expected = LinkError(AmpeError.INVALID_ADDRESS, f"not a path: {path!r}")
    assert begin_connect(UDSClientAddress(path)) == expected
    assert begin_listen(UDSServerAddress(path), reuse_port=False) == expected


def test_a_path_that_is_too_long_for_the_system(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 108))
    for found in (
        begin_connect(UDSClientAddress(path)),
        begin_listen(UDSServerAddress(path), reuse_port=False),
    ):
        error = failed(found)
        assert error.error is AmpeError.INVALID_ADDRESS
        assert error.detail == f"AF_UNIX path too long: {path!r}"


def test_a_system_without_unix_sockets(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    expected = LinkError(AmpeError.INVALID_ADDRESS, "no Unix sockets on this system")
    assert begin_connect(UDSClientAddress(path)) == expected
    assert begin_listen(UDSServerAddress(path), reuse_port=False) == expected


@linux_only  # other file systems take no such names
def test_a_path_whose_bytes_are_no_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xc3")
    with listening(UDSServerAddress(path)) as listener, connected(UDSClientAddress(path)):
        assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xc3"]
        accept(listener).close(reset=True)
    assert os.listdir(tmp_path) == []


def test_a_path_that_is_no_text_at_all() -> None:
    for found in (
        begin_connect(UDSClientAddress("/\ud800")),
        begin_listen(UDSServerAddress("/\ud800"), reuse_port=False),
    ):
        error = failed(found)
        assert error.error is AmpeError.INVALID_ADDRESS
        assert error.detail.endswith(": '/\\ud800'")


def test_a_path_that_the_file_system_encoding_cannot_express(tmp_path: Path) -> None:
    program = """
import sys
from pytofu.links.by_scheme import *
from pytofu.values.address import *
path = sys.argv[1] + "/\\u0436"
listening = begin_listen(UDSServerAddress(path), reuse_port=False)
for found in listening, begin_connect(UDSClientAddress(path)):
    print(found.error.name, ascii(found.detail))
"""
    environment = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    printed = printed_by(program, str(tmp_path), **environment)
    assert len(printed) == 2
    for line in printed:
        assert line.startswith("INVALID_ADDRESS \"'ascii' codec can't encode")


# ---------------------------------------------------------------------- a listener without room


@pytest.fixture
def busy(path: str) -> Iterator[socket.socket]:
    """A listener on `path` that has no room for another connection."""
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as stack:
        busy.bind(path)
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        yield busy
    os.unlink(path)


async def test_a_busy_listener_is_waited_for(
    busy: socket.socket, path: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    assert begin_connect(UDSClientAddress(path)) is None
    links: list[Link] = []

    async def client() -> None:
        links.append(opened(await connect(UDSClientAddress(path))))

    nursery.start_soon(client)
    await trio.sleep(1)
    assert links == []
    busy.accept()[0].close()
    await trio.sleep(1)
    links.pop().close(reset=True)


async def test_waiting_for_a_busy_listener_can_be_cancelled(busy: socket.socket, path: str) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, UDSClientAddress(path))
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_a_busy_listener_that_goes_away_is_no_longer_waited_for(
    busy: socket.socket, path: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    found: list[object] = []

    async def client() -> None:
        found.append(await connect(UDSClientAddress(path)))

    nursery.start_soon(client)
    await wait_all_tasks_blocked()
    busy.close()
    await trio.sleep(1)
    assert failed(found[0]).error is AmpeError.CONNECT_FAILED


def test_the_path_of_a_busy_listener_is_refused(busy: socket.socket, path: str) -> None:
    assert refused(path) == f"{TAKEN}, a socket lives there: {path!r}"
    assert os.path.exists(path)


# ---------------------------------------------------------------------- who is there


@linux_only
def test_each_side_knows_the_process_and_the_user_of_the_other(path: str) -> None:
    with (
        listening(UDSServerAddress(path)) as listener,
        connected(UDSClientAddress(path)) as client,
        accepted(listener) as server,
    ):
        us = PeerInfo(pid=os.getpid(), uid=os.getuid(), gid=os.getgid(), scheme="uds")
        assert client.peer() == server.peer() == us
        client.close(reset=True)
        assert server.peer() == us
        assert client.peer() == PeerInfo(scheme="uds")


@linux_only  # other systems have other factors
def test_buffers_have_the_size_that_was_asked_for_at_both_ends(path: str) -> None:
    settings = TCPSettings(send_buffer=20_000)
    with (
        listening(UDSServerAddress(path), settings=settings) as listener,
        connected(UDSClientAddress(path), settings) as client,
        accepted(listener) as server,
    ):
        for link in (client, server):
            with socket.socket(fileno=os.dup(link.fileno())) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 40_000
