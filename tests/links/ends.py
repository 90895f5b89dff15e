"""What the tests of the links share: both ends of connections, and waiting for sockets.

Nothing here is async: what a link waits for is waited for by `select`, and a memory link never
has to wait for what the same thread has done.
"""

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import pytest
import trio

from pytofu.links.base import Link, LinkError, Listening, Wait
from pytofu.links.by_scheme import begin_connect, begin_listen
from pytofu.links.settings import TCPSettings
from pytofu.values.address import (
    Address,
    MemoryClientAddress,
    MemoryServerAddress,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
)
from tests.support import PATIENCE

type Kind = Literal["tcp", "tcp6", "uds", "mem"]
type Pair = tuple[Link, Link]


def has_ipv6() -> bool:
    """Whether ::1 can be used here."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6: Final = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
linux_only: Final = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this")

KINDS: Final = ("tcp", pytest.param("tcp6", marks=needs_ipv6), "uds", "mem")
SOCKETS: Final = KINDS[:-1]
LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
DEFAULT: Final = TCPSettings()


def server_at(kind: Kind, folder: Path) -> Address:
    """A new address to listen at."""
    match kind:
        case "tcp":
            return LOCALHOST
        case "tcp6":
            return TCPServerAddress("::1", 0)
        case "uds":
            return UDSServerAddress(folder / "s")
        case "mem":
            return MemoryServerAddress(str(folder))


def client_of(address: Address) -> Address:
    """How to connect to who listens there."""
    match address:
        case TCPServerAddress(host, port):
            return TCPClientAddress(host, port)
        case UDSServerAddress(path):
            return UDSClientAddress(path)
        case MemoryServerAddress(name):
            return MemoryClientAddress(name)
        case _:
            raise AssertionError(f"nobody listens at {address}")


def wait(end: Link | Listening, what: Wait = Wait.READABLE) -> None:
    """Wait for a socket to be ready."""
    number = end.fileno()
    assert number >= 0, "this is not going to change by waiting"
    wanted = ([number], []) if what is Wait.READABLE else ([], [number])
    assert any(select.select(*wanted, [], PATIENCE)), "nothing happened"


def opened(found: Link | LinkError | None) -> Link:
    """A link that was begun, when it is connected."""
    assert isinstance(found, Link), found
    while (state := found.open()) is Wait.WRITABLE:
        wait(found, Wait.WRITABLE)
    assert state is None, state
    return found


def failed(found: object) -> LinkError:
    """What went wrong; also what goes wrong only while a connection is made, which is closed."""
    if isinstance(found, Link):
        link, found = found, found.open()
        while found is Wait.WRITABLE:
            wait(link, Wait.WRITABLE)
            found = link.open()
        link.close(reset=True)
    assert isinstance(found, LinkError), found
    return found


@contextlib.contextmanager
def connected(address: Address, settings: TCPSettings = DEFAULT) -> Iterator[Link]:
    """A connection, reset in the end."""
    link = opened(begin_connect(address, settings=settings))
    try:
        yield link
    finally:
        link.close(reset=True)


@contextlib.contextmanager
def listening(
    address: Address, *, reuse_port: bool = False, settings: TCPSettings = DEFAULT
) -> Iterator[Listening]:
    """The only listening at an address."""
    found = begin_listen(address, reuse_port=reuse_port, settings=settings)
    assert isinstance(found, list), found
    (one,) = found
    try:
        yield one
    finally:
        one.close()


def port_of(listening: Listening) -> int:
    """The TCP port it listens on."""
    assert isinstance(listening.address, TCPServerAddress)
    return listening.address.port


def accept(listening: Listening) -> Link:
    """The next connection."""
    found = listening.accept()
    while found is Wait.READABLE:
        wait(listening)
        found = listening.accept()
    assert isinstance(found, Link), found
    return found


@contextlib.contextmanager
def accepted(listening: Listening) -> Iterator[Link]:
    """The next connection, reset in the end."""
    link = accept(listening)
    try:
        yield link
    finally:
        link.close(reset=True)


def received(link: Link, count: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < count:
        more = link.receive(count - len(data))
        if more is Wait.READABLE:
            wait(link)
        else:
            assert isinstance(more, bytes), more
            assert more
            data += more
    return data


def ending(link: Link) -> tuple[bytes, LinkError]:
    """Everything up to the end, and the end."""
    data = b""
    while True:
        more = link.receive(1 << 16)
        if isinstance(more, LinkError):
            return data, more
        if isinstance(more, bytes):
            data += more
        else:
            wait(link)


def fill(link: Link) -> bytes:
    """Send until no more is taken; what was."""
    block = bytes(range(251)) * 1000
    taken = b""
    while True:
        sent = link.send(block)
        if sent is Wait.WRITABLE:
            return taken
        assert isinstance(sent, int), sent
        assert sent > 0
        taken += block[:sent]


def option(end: Link | Listening, level: int, name: int) -> int:
    """A socket option of an end."""
    with contextlib.closing(socket.socket(fileno=os.dup(end.fileno()))) as sock:
        return sock.getsockopt(level, name)


type Resolves = Callable[..., None]
"""`resolves("127.0.0.1", ...)`: from now on, every name stands for these."""


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, without asking anybody, or none."""

    def __init__(self, *hosts: str | OSError) -> None:
        self._hosts = hosts

    async def getaddrinfo(self, host: object, port: object, *args: object) -> list[object]:  # type: ignore[override]
        found: list[object] = []
        for ip in self._hosts:
            if isinstance(ip, OSError):
                raise ip
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            rest = (0, 0) if ":" in ip else ()
            number = int(str(port or 0))
            found.append((family, socket.SOCK_STREAM, 6, "", (ip, number, *rest)))
        return found

    async def getnameinfo(self, *args: object) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


@contextlib.contextmanager
def no_more_files(but: int = 0) -> Iterator[None]:
    """The process cannot open another file, but so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    *free, first_too_many = (os.dup(0) for _ in range(but + 1))  # always the lowest that is free
    for number in (*free, first_too_many):
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_too_many, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def printed_by(program: str, *arguments: str, **environment: str) -> list[str]:
    """What a Python program prints, line by line: for what needs a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()
