"""What holds for sockets of every kind: errors of the system, forks, signals."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import attrs
import pytest

from pytofu.links import sockets
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Wait
from pytofu.links.by_scheme import begin_connect, begin_listen
from pytofu.links.settings import TCPSettings
from pytofu.links.sockets import failure, in_forked_children
from pytofu.links.tcp import TCPLink, TCPListening
from pytofu.links.uds import UDSLink
from pytofu.values.address import Address, TCPServerAddress
from pytofu.values.status import AmpeError
from tests.links.ends import (
    SOCKETS,
    client_of,
    connected,
    failed,
    listening,
    no_more_files,
    printed_by,
)

SETTINGS = TCPSettings()


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# ---------------------------------------------------------------------- errors as values


def test_an_error_names_its_number_and_says_what_the_system_says_and_of_what() -> None:
    error = failure(AmpeError.LISTEN_FAILED, system_error(errno.EADDRINUSE), "'/s'")
    assert error.error is AmpeError.LISTEN_FAILED
    assert error.detail == f"EADDRINUSE, {os.strerror(errno.EADDRINUSE)}: '/s'"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (OSError(99999, "new"), "99999, new"),
        (OSError("no number"), "no number"),
        (ValueError("no system's error"), "no system's error"),
        (socket.gaierror(socket.EAI_NONAME, "who?"), "EAI_NONAME, who?"),
    ],
)
def test_errors_of_other_kinds(error: Exception, detail: str) -> None:
    assert failure(AmpeError.CONNECT_FAILED, error) == LinkError(AmpeError.CONNECT_FAILED, detail)


# ---------------------------------------------------------------------- a socket that fails


@attrs.define(eq=False)
class Broken:
    """A socket whose every operation fails in one way."""

    error: OSError

    def fileno(self) -> int:
        return -1

    def recv(self, *args: object) -> bytes:
        raise self.error

    send = shutdown = recv

    def close(self) -> None:
        pass


def broken_link(number: int) -> Link:
    return TCPLink(cast("socket.socket", Broken(system_error(number))))


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTUNREACH])
def test_a_connection_that_broke_says_how_and_stays_broken(number: int) -> None:
    name = errno.errorcode[number]
    expected = LinkError(AmpeError.COMMUNICATION_FAILED, f"{name}, {os.strerror(number)}")
    assert broken_link(number).receive(1) == expected
    assert broken_link(number).send(b"x") == expected
    assert broken_link(number).end() == expected


def test_after_its_orderly_end_a_connection_is_not_broken() -> None:
    assert broken_link(errno.EPIPE).receive(1) == PEER_CLOSED


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOTCONN, errno.ESHUTDOWN])
def test_that_there_is_no_connection_to_send_on_says_nothing_of_why(number: int) -> None:
    assert broken_link(number).send(b"x") == PEER_CLOSED
    assert broken_link(number).end() == PEER_CLOSED


def test_the_first_error_is_the_one_that_counts() -> None:
    sock = Broken(system_error(errno.ETIMEDOUT))
    link = TCPLink(cast("socket.socket", sock))
    first = link.send(b"x")
    sock.error = system_error(errno.EPIPE)
    assert link.receive(1) == link.send(b"x") == link.end() == first


@pytest.mark.parametrize("size", [16, 100_000])
@pytest.mark.parametrize("first", ["receive", "send"])
def test_a_reset_is_told_by_whatever_comes_first_and_then_by_all(first: str, size: int) -> None:
    """The system's own error: what a socket that only plays one cannot show."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        sock, _ = server.accept()
    sock.setblocking(False)
    link = TCPLink(sock)
    assert link.receive(size) is Wait.READABLE
    while link.send(b"x" * size) is not Wait.WRITABLE:
        pass
    peer.close()  # with much unread: that is a reset
    acts: list[Callable[[], object]] = [
        partial(link.receive, size),
        partial(link.send, b"x" * size),
    ]
    if first == "send":
        acts.reverse()
    reset = f"ECONNRESET, {os.strerror(errno.ECONNRESET)}"
    assert [act() for act in acts] == [LinkError(AmpeError.COMMUNICATION_FAILED, reset)] * 2
    link.close(reset=True)


# ---------------------------------------------------------------------- accepting


class Queue:
    """A listening socket, as far as accepting sees it; errors where it is told."""

    def __init__(self, *outcomes: socket.socket | OSError) -> None:
        self._outcomes = list(outcomes)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def accept(self) -> tuple[socket.socket, str]:
        outcome = self._outcomes.pop(0) if self._outcomes else BlockingIOError()
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, "somebody"


def queue(*outcomes: socket.socket | OSError) -> TCPListening:
    return TCPListening(cast("socket.socket", Queue(*outcomes)), SETTINGS)


@pytest.fixture
def two_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    ],
    ids=errno.errorcode.get,
)
def test_an_error_of_one_connection_costs_only_that_one(
    number: int, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    one, other = two_ends
    error = system_error(number)
    listener = queue(error, one, error, error, other)
    for sock in two_ends:
        link = listener.accept()
        assert isinstance(link, Link)
        assert link.fileno() == sock.fileno()
        assert not sock.getblocking()
    assert listener.accept() is Wait.READABLE


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get
)
def test_when_the_system_has_no_more_accepting_may_go_on_later(
    number: int, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    listener = queue(system_error(number), two_ends[0])
    detail = f"{errno.errorcode[number]}, {os.strerror(number)}"
    assert listener.accept() == LinkError(AmpeError.ALLOCATION_FAILED, detail)
    assert isinstance(listener.accept(), Link)


def test_a_listening_socket_that_is_broken_says_so() -> None:
    detail = f"EBADF, {os.strerror(errno.EBADF)}"
    error = queue(system_error(errno.EBADF)).accept()
    assert error == LinkError(AmpeError.ACCEPT_FAILED, detail)


class Dropped(socket.socket):
    """A connection that was reset before it was accepted, as some systems report it."""

    def setsockopt(self, *args: object) -> None:
        raise system_error(errno.EINVAL)

    def getsockopt(self, *args: object) -> int:  # type: ignore[override]
        raise system_error(errno.EINVAL)

    def getpeername(self) -> str:
        raise system_error(errno.ENOTCONN)


def test_a_connection_that_was_reset_while_it_waited_does_no_harm() -> None:
    with Dropped() as dropped, socket.socket() as other:
        listener = queue(dropped, other)
        for sock in (dropped, other):
            link = listener.accept()
            assert isinstance(link, Link)
            assert link.fileno() == sock.fileno()


# ---------------------------------------------------------------------- no descriptors left


@pytest.mark.parametrize("kind", SOCKETS, indirect=True)
def test_without_descriptors_nothing_works_and_everything_says_why(address: Address) -> None:
    text = f"EMFILE, {os.strerror(errno.EMFILE)}"
    with listening(address) as listener, connected(client_of(listener.address)) as client:
        with no_more_files():
            connecting = failed(begin_connect(client_of(listener.address)))
            accepting = listener.accept()
            again = failed(begin_listen(listener.address, reuse_port=False))
        assert connecting.error is AmpeError.CONNECT_FAILED
        assert again.error is AmpeError.LISTEN_FAILED
        assert connecting.detail.startswith(f"{text}: ")
        assert again.detail.startswith(f"{text}: ")
        assert accepting == LinkError(AmpeError.ALLOCATION_FAILED, text)
        server = listener.accept()
        assert isinstance(server, Link)
        assert server.send(b"x") == 1
        server.close(reset=True)
        assert client.fileno() >= 0


# ---------------------------------------------------------------------- forks and signals

FORK = """
import os, socket, sys, time
from pytofu.links.base import *
from pytofu.links.by_scheme import *
from pytofu.values.address import *

class Child:
    '''A forked process that does something with its copies and then holds on to them.'''
    def __init__(self, work):
        self.pipe, told = os.pipe()
        ready, said = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(told)
            try:
                work()
                os.write(said, b'!')
            except BaseException as error:
                os.write(said, repr(error).encode())
            os.read(self.pipe, 1)  # until the parent ends
            os._exit(0)
        self.told = told
        os.close(said)
        self.said = os.read(ready, 1000)
        assert self.said == b'!', self.said

    def end(self):
        os.close(self.told)
        os.waitpid(self.pid, 0)

path = sys.argv[1]
tcp = path == 'tcp'
address = TCPServerAddress('127.0.0.1', 0) if tcp else UDSServerAddress(path)
[listener] = begin_listen(address, reuse_port=False)
bound = listener.address
where = TCPClientAddress(bound.host, bound.port) if tcp else UDSClientAddress(path)
client = begin_connect(where)
assert client.open() is None
server = listener.accept()
def close_all():
    for link in client, server:
        link.close(reset=True)
    listener.close()
"""


@pytest.fixture(params=["tcp", "uds"])
def where(request: pytest.FixtureRequest, path: str) -> str:
    """What the programs above listen at: their first argument."""
    return "tcp" if request.param == "tcp" else path


@pytest.mark.parametrize("reset", [False, True])
def test_a_childs_copy_does_not_keep_a_connection_open(where: str, reset: bool) -> None:
    program = f"""{FORK}
child = Child(lambda: None)
server.close(reset={reset})
while (end := client.receive(1)) is Wait.READABLE:
    time.sleep(0.001)
print(end.error.name)
child.end()
client.close(reset=True)
listener.close()
"""
    expected = "COMMUNICATION_FAILED" if reset and where == "tcp" else "PEER_DISCONNECTED"
    assert printed_by(program, where) == [expected]


def test_a_childs_copy_does_not_keep_a_listener_open(where: str) -> None:
    program = f"""{FORK}
child = Child(lambda: None)
listener.close()
found = begin_connect(where)
print((found if isinstance(found, LinkError) else found.open()).error.name)
child.end()
[listener] = begin_listen(listener.address, reuse_port=False)
close_all()
"""
    assert printed_by(program, where) == [
        "CONNECT_FAILED" if where == "tcp" else "UDS_PATH_NOT_FOUND"
    ]


def test_a_child_that_closes_everything_closes_nothing_of_its_parents(where: str) -> None:
    program = f"""{FORK}
child = Child(close_all)
server.send(b'still here')
while (data := client.receive(99)) is Wait.READABLE:
    time.sleep(0.001)
print(data)
another = begin_connect(where)
print(another.open())
another.close(reset=True)
child.end()
close_all()
"""
    assert printed_by(program, where) == ["b'still here'", "None"]


def test_a_child_can_listen_and_connect_itself(where: str) -> None:
    program = f"""{FORK}
def work():
    [own] = begin_listen(address if tcp else UDSServerAddress(path + '2'), reuse_port=False)
    assert own.accept() is Wait.READABLE
    own.close()
Child(work).end()
print(client.send(b'x'))
close_all()
"""
    assert printed_by(program, where) == ["1"]


def test_a_childs_copies_are_closed_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    one, other = two_ends
    link = UDSLink(one)
    monkeypatch.setattr(sockets, "_open", {link})
    sockets._close_copies()
    assert link.fileno() == one.fileno() == -1
    assert isinstance(link.receive(1), LinkError)  # and nothing of whoever has the number now
    assert isinstance(link.send(b"x"), LinkError)
    assert other.recv(1) == b""


def test_where_python_cannot_fork_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    in_forked_children(sys.exit)


def test_a_peer_that_closes_does_not_kill_a_program_that_has_sigpipe_back(
    monkeypatch: pytest.MonkeyPatch, two_ends: tuple[socket.socket, socket.socket]
) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        one, other = two_ends
        link = UDSLink(one)
        other.close()
        assert link.send(b"x") == PEER_CLOSED
    finally:
        signal.signal(signal.SIGPIPE, before)


def test_addresses_are_shown_as_they_were_bound() -> None:
    assert queue().address == TCPServerAddress("127.0.0.1", 1)
