"""What clients of `serve-files` may do, and that none of them delays another."""

import hashlib
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import AmpeStatus, Holder, Message, OpCode
from pytofu.cli import uploads
from pytofu.cli.endpoints import Target
from pytofu.cli.put import put
from pytofu.cli.receiving import Incoming
from pytofu.cli.uploads import Client, Limits, Storage
from tests.cli.peers import Printed, fails, file_server, greet
from tests.support import App, RawPeer, hello, open_app

BEGIN = (("file", "x"), ("size", "2"))
END = (("sha256", hashlib.sha256(b"ab").hexdigest()),)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


def begin(app: App, number: int, message_id: int, name: str = "x") -> None:
    """Begin to send a file of two bytes."""
    headers = (("file", name), ("size", "2"))
    app.post(OpCode.REQUEST, number, message_id, headers=headers, body=b"ab", more=True)


async def error(app: App) -> str:
    """The next message, which says why a file was refused."""
    event = await app.event()
    ((name, reason),) = event.headers
    assert (event.opcode, name) == (OpCode.RESPONSE, "error")
    return reason


async def test_a_file_that_is_too_large(inbox: Path, tmp_path: Path) -> None:
    for size in (10, 11):
        (tmp_path / str(size)).write_bytes(bytes(size))
    async with file_server(inbox, Printed().output, limits=Limits(max_size=10)) as address:
        await put(tmp_path / "10", Target(address), "10", Printed().output)
        with fails("it has 11 bytes, and 10 are the most here"):
            await put(tmp_path / "11", Target(address), "11", Printed().output)
    assert os.listdir(inbox) == ["10"]


async def test_too_many_at_a_time(inbox: Path) -> None:
    limits = Limits(max_uploads=2)
    async with file_server(inbox, Printed().output, limits=limits) as address, open_app() as app:
        one, two, three = [await greet(app, address) for _ in range(3)]
        begin(app, one, 1, "one")
        begin(app, two, 1, "missing/two")  # refused, so that it does not count
        assert "no such directory" in await error(app)
        begin(app, two, 2, "two")
        app.post(OpCode.REQUEST, two, 3)  # which ends the second one
        assert "has to name it" in await error(app)
        begin(app, two, 4, "two")
        app.post(OpCode.REQUEST, three, 5)
        assert "has to name it" in await error(app)
        await trio.testing.wait_all_tasks_blocked()
        begin(app, three, 1, "three")
        assert await error(app) == "2 files on the way already: try again later"
        app.post(OpCode.REQUEST, one, 1, headers=END)
        assert (await app.event()).headers == END
        begin(app, three, 2, "three")
        app.post(OpCode.REQUEST, three, 2, headers=END)
        assert (await app.event()).headers == END


async def test_a_client_whose_file_is_stuck_delays_nobody(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Incoming.write
    stuck, free = trio.Event(), threading.Event()

    def write_or_wait(incoming: Incoming, part: bytes) -> None:
        if incoming.name == "x":
            trio.from_thread.run_sync(stuck.set)
            free.wait()
        write(incoming, part)

    monkeypatch.setattr(Incoming, "write", write_or_wait)
    (tmp_path / "other").write_bytes(b"content")
    async with file_server(inbox, Printed().output) as address, open_app() as app:
        number = await greet(app, address)
        begin(app, number, 1)
        await stuck.wait()
        try:
            await put(tmp_path / "other", Target(address), "other", Printed().output)
        finally:
            free.set()
        app.post(OpCode.REQUEST, number, 1, headers=END)
        assert (await app.event()).headers == END
    assert sorted(os.listdir(inbox)) == ["other", "x"]


async def test_too_much_from_one_client(inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that the engine does not hold back in time is given up."""
    monkeypatch.setattr(uploads, "_WAITING", 2)
    stuck, free = trio.Event(), threading.Event()

    def write(incoming: Incoming, part: bytes) -> None:
        trio.from_thread.run_sync(stuck.set)
        free.wait()

    monkeypatch.setattr(Incoming, "write", write)
    log = Printed()
    async with file_server(inbox, log.output) as address, open_app() as app:
        number = await greet(app, address)
        begin(app, number, 1)
        await stuck.wait()
        for _ in range(3):
            app.post(OpCode.REQUEST, number, 1, body=b"a", more=True)
        await app.events_until_closed(number)
        free.set()
    assert os.listdir(inbox) == []
    assert log.records[-2]["event"] == "refused"


async def test_what_was_waiting_goes_back_to_the_pool(inbox: Path) -> None:
    async with open_app() as app:
        storage = Storage(inbox, Printed().output, Limits(), overwrite=False)
        client = Client(app.ampe, app.chnls, 1, storage)
        before = app.ampe.statistics()
        for message_id in (1, 2):
            client.received(app.message(OpCode.REQUEST, 1, message_id))
        assert app.ampe.statistics() != before
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.run()
        assert app.ampe.statistics() == before


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Awaitable[None]]:
    """Waits until a server has begun so many times to wait for a client's next message."""
    begun = 0
    step = trio.Event()
    real = Client._next

    async def following(client: Client) -> Holder[Message] | None:
        nonlocal begun, step
        begun += 1
        step.set()
        step = trio.Event()
        return await real(client)

    async def until(times: int) -> None:
        while begun < times:
            await step.wait()
        await trio.testing.wait_all_tasks_blocked()

    monkeypatch.setattr(Client, "_next", following)
    return until


async def test_a_quiet_client_is_told_and_sent_away(
    inbox: Path, mock_clock: trio.testing.MockClock, waits: Callable[[int], Awaitable[None]]
) -> None:
    log = Printed()
    limits = Limits(idle_timeout=7.5)
    async with file_server(inbox, log.output, limits=limits) as address, open_app() as app:
        number = await greet(app, address)
        begin(app, number, 1)
        await waits(2)
        mock_clock.jump(7.4)
        app.post(OpCode.REQUEST, number, 1, more=True)
        await waits(3)
        mock_clock.jump(7.4)
        assert await app.rest() == []
        mock_clock.jump(0.1)
        assert await error(app) == "nothing came for 7.5 s"
        event = await app.event()
        assert event.opcode is OpCode.BYE_REQUEST
        app.post(OpCode.REQUEST, number, 2)  # too late
        app.post(OpCode.BYE_RESPONSE, number, event.message_id)
        assert (await app.events_until_closed(number))[-1].reason is AmpeStatus.SUCCESS
    assert [record["event"] for record in log.records] == ["listening", "refused", "summary"]
    assert os.listdir(inbox) == []


async def test_a_quiet_client_that_does_not_answer_is_disconnected(
    inbox: Path, mock_clock: trio.testing.MockClock, waits: Callable[[int], Awaitable[None]]
) -> None:
    async with file_server(inbox, Printed().output) as address:
        raw = await RawPeer.connect(address)
        with raw:
            await raw.send(hello())
            assert (await raw.receive_frame()).opcode is OpCode.HELLO_RESPONSE
            await waits(1)
            mock_clock.jump(60)
            assert (await raw.receive_frame()).opcode is OpCode.BYE_REQUEST
            mock_clock.jump(5)
            assert (await raw.ending())[0] == b""
