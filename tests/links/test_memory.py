"""Links within one process: as sockets, but between threads and without descriptors."""

import errno
import gc
import os
import threading
from contextlib import ExitStack, suppress
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pytofu.links import memory
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Listening, Wait
from pytofu.links.by_scheme import begin_connect, begin_listen, connect
from pytofu.links.memory import CAPACITY, MemoryLink
from pytofu.values.address import MemoryClientAddress, MemoryServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError
from tests.links.ends import (
    Kind,
    Pair,
    accept,
    accepted,
    connected,
    ending,
    failed,
    fill,
    listening,
    opened,
    printed_by,
)
from tests.support import PATIENCE

HERE: Final = MemoryServerAddress("here")
THERE: Final = MemoryClientAddress("here")


@pytest.fixture
def kind() -> Kind:
    """All pairs here are of this kind."""
    return "mem"


class Wakes:
    """Counts the calls of a `wake`."""

    def __init__(self, end: Link | Listening) -> None:
        self._count = 0
        end.on_ready(self._wake)

    def _wake(self) -> None:
        self._count += 1

    def pop(self) -> int:
        """How many there were since the last time."""
        count, self._count = self._count, 0
        return count


# ---------------------------------------------------------------------- names


def test_a_name_that_nobody_has() -> None:
    text = f"ECONNREFUSED, {os.strerror(errno.ECONNREFUSED)}: 'here'"
    assert begin_connect(THERE) == LinkError(AmpeError.CONNECT_FAILED, text)


def test_a_name_that_is_taken() -> None:
    text = f"EADDRINUSE, {os.strerror(errno.EADDRINUSE)}: 'here'"
    with listening(HERE) as listener:
        assert listener.address == HERE
        taken = LinkError(AmpeError.LISTEN_FAILED, text)
        assert begin_listen(HERE, reuse_port=True) == taken


def test_no_name() -> None:
    error = failed(begin_connect(MemoryClientAddress("")))
    assert error == LinkError(AmpeError.INVALID_ADDRESS, "no name to connect to")
    error = failed(begin_listen(MemoryServerAddress(""), reuse_port=False))
    assert error == LinkError(AmpeError.INVALID_ADDRESS, "no name to listen at")


def test_closing_again_does_not_take_the_name_from_its_next_owner() -> None:
    with listening(HERE) as first:
        first.close()
        with listening(HERE) as second:
            first.close()
            with connected(THERE):
                accept(second).close(reset=True)
    assert memory._listeners == {}


def test_both_sides_are_in_this_process(pair: Pair) -> None:
    assert [link.peer() for link in pair] == [PeerInfo(pid=os.getpid(), scheme="mem")] * 2
    assert [link.fileno() for link in pair] == [-1, -1]


# ---------------------------------------------------------------------- the backlog


async def test_a_backlog_that_is_full_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(memory, "BACKLOG", 2)
    links: list[Link] = []

    async def client() -> None:
        links.append(opened(await connect(THERE)))

    with listening(HERE) as listener, connected(THERE), connected(THERE):
        assert begin_connect(THERE) is None
        nursery.start_soon(client)
        await trio.sleep(1)
        assert links == []
        accept(listener).close(reset=True)
        await trio.sleep(1)
        links.pop().close(reset=True)


async def test_waiting_for_room_ends_when_the_listener_does(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(memory, "BACKLOG", 1)
    found: list[object] = []

    async def client() -> None:
        found.append(await connect(THERE))

    with listening(HERE), connected(THERE):
        nursery.start_soon(client)
        await wait_all_tasks_blocked()
    await trio.sleep(1)
    assert failed(found[0]).error is AmpeError.CONNECT_FAILED


async def test_waiting_for_room_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BACKLOG", 0)
    with listening(HERE), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, THERE)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


# ---------------------------------------------------------------------- a bounded buffer


def test_what_is_on_the_way_is_bounded_each_way(pair: Pair) -> None:
    one, other = pair
    for sender, receiver in (pair, pair[::-1]):
        assert sender.send(bytes(CAPACITY - 1)) == CAPACITY - 1
        assert sender.send(b"abc") == 1
        assert sender.send(b"bc") is Wait.WRITABLE
        assert receiver.receive(10) == bytes(10)
        assert sender.send(memoryview(bytes(20))) == 10
    assert ending_of(one, other) == (bytes(CAPACITY - 11) + b"a" + bytes(10), PEER_CLOSED)


def ending_of(one: Link, other: Link) -> tuple[bytes, LinkError]:
    one.end()
    return ending(other)


def test_bytes_and_ends_that_wait_are_buffered(pair: Pair) -> None:
    one, other = pair
    assert not other.buffered
    one.send(b"ab")
    assert other.buffered
    other.receive(1)
    assert other.buffered
    other.receive(1)
    assert not other.buffered
    one.end()
    assert other.buffered
    assert not one.buffered


# ---------------------------------------------------------------------- waking


def test_who_waits_for_bytes_is_woken_by_the_first_of_them(pair: Pair) -> None:
    one, other = pair
    wakes, own = Wakes(other), Wakes(one)
    one.send(b"ab")
    assert wakes.pop() == 1
    one.send(b"c")
    assert wakes.pop() == 0  # `buffered` says so
    assert other.receive(9) == b"abc"
    one.send(b"d")
    assert wakes.pop() == 1
    assert own.pop() == 0


def test_who_waits_for_room_is_woken_when_there_is_some(pair: Pair) -> None:
    one, other = pair
    fill(one)
    wakes = Wakes(one)
    other.receive(1)
    assert wakes.pop() == 1
    other.receive(1)
    assert wakes.pop() == 0
    one.send(b"ab")
    assert one.send(b"c") is Wait.WRITABLE
    other.receive(CAPACITY)
    assert wakes.pop() == 1


@pytest.mark.parametrize("how", ["end", "close", "reset"])
def test_who_waits_is_woken_by_the_end(pair: Pair, how: str) -> None:
    one, other = pair
    wakes = Wakes(other)
    if how == "end":
        one.end()
    else:
        one.close(reset=how == "reset")
    assert wakes.pop() == 1


def test_who_asks_to_be_woken_for_what_is_there_is_woken_at_once(pair: Pair) -> None:
    one, other = pair
    assert Wakes(other).pop() == 0
    one.send(b"x")
    assert Wakes(other).pop() == 1
    other.receive(1)
    assert Wakes(other).pop() == 0
    one.end()
    assert Wakes(other).pop() == 1


def test_who_has_closed_is_woken_no_more(pair: Pair) -> None:
    one, other = pair
    wakes = Wakes(one)
    one.close(reset=False)
    other.end()
    other.close(reset=False)
    assert wakes.pop() == 0


def test_a_listener_is_woken_by_connections() -> None:
    with listening(HERE) as listener, ExitStack() as stack:
        wakes = Wakes(listener)
        assert listener.fileno() == -1
        assert wakes.pop() == 0
        assert not listener.buffered
        stack.enter_context(connected(THERE))
        assert wakes.pop() == 1
        assert Wakes(listener).pop() == 1
        assert listener.buffered
        stack.enter_context(accepted(listener))
        assert not listener.buffered
        assert listener.accept() is Wait.READABLE


# ---------------------------------------------------------------------- sending in vain


def test_a_reset_throws_away_what_was_on_the_way_to_who_resets(pair: Pair) -> None:
    one, other = pair
    other.send(b"never read")
    one.close(reset=True)
    assert other.send(b"x") == PEER_CLOSED
    data, end = ending(other)
    assert (data, end.error) == (b"", AmpeError.COMMUNICATION_FAILED)


def test_an_end_that_was_said_stays_orderly_when_the_link_is_closed(pair: Pair) -> None:
    one, other = pair
    one.end()
    one.close(reset=False)
    assert ending(other) == (b"", PEER_CLOSED)


def test_links_that_are_closed_leave_nothing_to_the_garbage_collector() -> None:
    gc.collect()
    for link in MemoryLink.pair():
        link.close(reset=False)
    del link
    assert gc.collect() == 0


# ---------------------------------------------------------------------- between threads


async def ready(wakes: trio.MemoryReceiveChannel[None]) -> None:
    with trio.fail_after(PATIENCE):
        await wakes.receive()


def woken(link: Link | Listening) -> trio.MemoryReceiveChannel[None]:
    """Gets something whenever the link is woken, from whatever thread."""
    token = trio.lowlevel.current_trio_token()
    send, receive = trio.open_memory_channel[None](1)

    def put() -> None:
        with suppress(trio.WouldBlock):  # the last has not been noticed yet
            send.send_nowait(None)

    link.on_ready(lambda: token.run_sync_soon(put, idempotent=True))
    return receive


async def pump(link: Link, data: bytes) -> bytes:
    """Send all of it and say the end; receive what the other side sends, up to its end."""
    wakes = woken(link)
    view = memoryview(data)
    got = bytearray()
    over = False
    while view or not over:
        if view:
            sent = link.send(view[:10_007])
            if isinstance(sent, int):
                view = view[sent:]
                if not view:
                    link.end()
                continue
            assert sent is Wait.WRITABLE
        more = PEER_CLOSED if over else link.receive(7001)
        if isinstance(more, bytes):
            got += more
        elif more == PEER_CLOSED:
            over = True
            if view:
                await ready(wakes)
        else:
            assert more is Wait.READABLE
            await ready(wakes)
    link.close(reset=False)
    return bytes(got)


def test_two_trio_runs_in_two_threads_exchange_bytes() -> None:
    sizes = 1_000_003, 700_001
    there, back = (bytes(range(256)) * (size // 256 + 1) for size in sizes)
    got: list[bytes] = []
    is_listening = threading.Event()

    async def server() -> None:
        with listening(HERE) as listener:
            wakes = woken(listener)
            is_listening.set()
            await ready(wakes)
            with accepted(listener) as link:
                got.append(await pump(link, back))

    async def client() -> None:
        with connected(THERE) as link:
            got.append(await pump(link, there))

    thread = threading.Thread(target=trio.run, args=[server])
    thread.start()
    assert is_listening.wait(PATIENCE)
    trio.run(client)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert sorted(got, key=len) == [back, there]


# ---------------------------------------------------------------------- forked children


def test_in_a_forked_child_nobody_listens() -> None:
    program = """
import os
from pytofu.links import memory
from pytofu.links.by_scheme import *
from pytofu.values.address import *
here, there = MemoryServerAddress("n"), MemoryClientAddress("n")
[listener] = begin_listen(here, reuse_port=False)
with memory._lock:  # as another thread may hold it
    pid = os.fork()
if not pid:
    ok = begin_connect(there).error.name == "CONNECT_FAILED"
    listener.close()
    [own] = begin_listen(here, reuse_port=False)
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(begin_connect(there).open())
"""
    assert printed_by(program) == ["0", "None"]


def test_the_names_of_the_parent_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_listeners", {})
    monkeypatch.setattr(memory, "_lock", memory._lock)
    begin_listen(HERE, reuse_port=False)
    with memory._lock:
        memory._forget_the_parent()
    assert failed(begin_connect(THERE)).error is AmpeError.CONNECT_FAILED
