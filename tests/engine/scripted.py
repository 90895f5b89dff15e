"""Links and listeners that do what the test says: no socket, no peer."""

from collections import deque
from collections.abc import Callable
from typing import Final

import pytest
from trio.testing import wait_all_tasks_blocked

from pytofu import Address, AmpeError, OpCode, UDSClientAddress, UDSServerAddress
from pytofu.engine import listener, opening
from pytofu.links.base import PEER_CLOSED, Link, LinkError, Listening, Wait
from pytofu.values.peer_info import PeerInfo
from tests.support import App, End, address_headers, frame, hello

NOWHERE: Final = UDSClientAddress("nowhere")
HERE: Final = UDSServerAddress("here")
BROKEN: Final = LinkError(AmpeError.COMMUNICATION_FAILED, "it broke")

LINK_METHODS: Final = (
    *("fileno", "on_ready", "open", "receive", "buffered", "send", "end", "close", "acknowledge"),
)
ENDLESS: Final = 1 << 40


class DefectError(Exception):
    """What only a defect raises."""


class ScriptedLink(Link):
    """A link without a descriptor. It is open, silent, and takes everything, unless told."""

    def __init__(self, *arrived: bytes | LinkError, capacity: int = ENDLESS) -> None:
        self.arrived: deque[bytes | LinkError] = deque(arrived)
        self.capacity = capacity  # bytes that it still takes
        self.at_once = ENDLESS  # of them, in one `send`
        self.opens: deque[Wait | LinkError] = deque()  # the answers of `open` before None
        self.ends: deque[Wait | LinkError] = deque()  # the answers of `end` before None
        self.polite = True  # whether the peer closes when it is told that nothing more comes
        self.refuses: LinkError | None = None  # the answer of `send`
        self.full = Wait.WRITABLE  # what it waits for when it takes nothing
        self.host = ""
        self.has_more = False  # whether it is `buffered`
        self.asked: list[int] = []  # sizes that `receive` was asked for
        self.sent = b""
        self.sends = 0
        self.said_end = 0
        self.acknowledged = 0
        self.closed: str | None = None
        self.defects: set[str] = set()  # the methods that raise
        self.wake: Callable[[], None] = lambda: None

    def _call(self, method: str) -> None:
        if method in self.defects:
            raise DefectError(method)
        assert self.closed is None or method == "fileno"

    def fileno(self) -> int:
        self._call("fileno")
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        self._call("on_ready")
        self.wake = wake
        if self.arrived:
            wake()

    def open(self) -> Wait | LinkError | None:
        self._call("open")
        return self.opens.popleft() if self.opens else None

    def receive(self, size: int) -> bytes | Wait | LinkError:
        self._call("receive")
        self.asked.append(size)
        if not self.arrived:
            return Wait.READABLE
        data = self.arrived[0]
        if isinstance(data, LinkError):
            return data  # an end stays one
        self.arrived.popleft()
        if len(data) > size:
            self.arrived.appendleft(data[size:])
        return data[:size]

    @property
    def buffered(self) -> bool:
        self._call("buffered")
        return self.has_more

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        self._call("send")
        self.sends += 1
        if self.refuses is not None:
            return self.refuses
        count = min(len(data), self.capacity, self.at_once)
        if not count:
            return self.full
        self.capacity -= count
        self.sent += data[:count]
        return count

    def end(self) -> Wait | LinkError | None:
        self._call("end")
        self.said_end += 1
        if self.ends:
            return self.ends.popleft()
        if self.polite:
            self.arrived.append(PEER_CLOSED)
            self.wake()
        return None

    def close(self, *, reset: bool) -> None:
        assert self.closed is None
        self.closed = "reset" if reset else "orderly"
        if "close" in self.defects:
            raise DefectError("close")

    def peer(self) -> PeerInfo:
        self._call("peer")
        return PeerInfo(self.host)

    def acknowledge(self) -> None:
        self._call("acknowledge")
        self.acknowledged += 1

    # ------------------------------------------------------------------ for the test

    async def go_on(self) -> None:
        """It may go on: say so, and wait until that has been done."""
        self.wake()
        await wait_all_tasks_blocked()

    async def bring(self, *data: bytes | LinkError) -> None:
        """Something arrives, and is read as far as it is."""
        self.arrived.extend(data)
        for _ in data:
            await self.go_on()

    async def take(self, count: int = ENDLESS) -> None:
        """It takes so many bytes more."""
        self.capacity = count
        await self.go_on()


class ScriptedListening(Listening):
    """Something that accepts what the test says."""

    def __init__(self, *waiting: Link | LinkError) -> None:
        self.waiting: deque[Link | LinkError] = deque(waiting)
        self.accepts = 0
        self.closed = False
        self.defects: set[str] = set()
        self.wake: Callable[[], None] = lambda: None

    def _call(self, method: str) -> None:
        if method in self.defects:
            raise DefectError(method)

    @property
    def address(self) -> Address:
        self._call("address")
        return HERE

    def fileno(self) -> int:
        self._call("fileno")
        return -1

    def on_ready(self, wake: Callable[[], None]) -> None:
        self._call("on_ready")
        self.wake = wake
        if self.waiting:
            wake()

    @property
    def buffered(self) -> bool:
        return bool(self.waiting)

    def accept(self) -> Link | Wait | LinkError:
        self._call("accept")
        assert not self.closed
        self.accepts += 1
        return self.waiting.popleft() if self.waiting else Wait.READABLE

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self._call("close")

    async def bring(self, *waiting: Link | LinkError) -> None:
        """Connections come, and are accepted as far as they are."""
        self.waiting.extend(waiting)
        self.wake()
        await wait_all_tasks_blocked()


def connects_over(monkeypatch: pytest.MonkeyPatch, link: Link | LinkError | None) -> None:
    """Let connecting anywhere give this link."""
    monkeypatch.setattr(opening, "begin_connect", lambda address, **settings: link)


def listens_at(monkeypatch: pytest.MonkeyPatch, *doors: Listening) -> None:
    """Let listening anywhere be at these doors."""
    monkeypatch.setattr(listener, "begin_listen", lambda address, **settings: list(doors))


async def open_listener(app: App, message_id: int = 5) -> End:
    """A listener at what `listens_at` has set."""
    header = app.post(OpCode.WELCOME_REQUEST, 0, message_id, headers=address_headers(HERE))
    assert (await app.event()).opcode is OpCode.WELCOME_RESPONSE
    return End(app, header.channel_number, message_id)


def connect(app: App, link: Link | LinkError | None, monkeypatch: pytest.MonkeyPatch) -> End:
    """Post a HelloRequest that will go over this link; connecting begins behind the turn."""
    connects_over(monkeypatch, link)
    header = app.post(OpCode.HELLO_REQUEST, 0, 77, headers=address_headers(NOWHERE))
    return End(app, header.channel_number, 77)


async def open_client(app: App, link: ScriptedLink, monkeypatch: pytest.MonkeyPatch) -> End:
    """A channel that has connected and been answered; what it has sent is forgotten."""
    end = connect(app, link, monkeypatch)
    await wait_all_tasks_blocked()
    await link.bring(frame(OpCode.HELLO_RESPONSE, 77))
    assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
    link.sent = b""
    return end


async def open_server(app: App, link: ScriptedLink) -> End:
    """A channel that was accepted and has answered; what it has sent is forgotten."""
    app.chnls._group.accept(link)
    await link.bring(hello(77))
    event = await app.event()
    assert event.opcode is OpCode.HELLO_REQUEST
    end = End(app, event.channel, 77)
    end.post(OpCode.HELLO_RESPONSE, 77)
    await wait_all_tasks_blocked()
    link.sent = b""
    return end


async def open_end(app: App, side: str, link: ScriptedLink, monkeypatch: pytest.MonkeyPatch) -> End:
    """`open_client` or `open_server`."""
    if side == "client":
        return await open_client(app, link, monkeypatch)
    return await open_server(app, link)


def signals(end: End, first: int, last: int, *, body: bytes = b"") -> bytes:
    """Signals of this channel, from one message_id to another, as they go over the wire."""
    return b"".join(
        frame(OpCode.SIGNAL, number, channel=end.number, body=body)
        for number in range(first, last + 1)
    )
