"""Calls from where an engine does not belong: other threads, forked children, no Trio."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pytofu import (
    AmpeStatus,
    Holder,
    Message,
    OpCode,
    ShutdownException,
    TCPServerAddress,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
)
from pytofu.public import belonging
from tests.resources import nothing_left as nothing_left
from tests.support import App, Pair, address_headers, from_app, open_app, open_pair

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)

type Misuse = Callable[[App, Holder[Message]], object]

CALLS: Final[dict[str, Misuse]] = {
    "Ampe.get": lambda app, holder: app.ampe.get(),
    "Ampe.put": lambda app, holder: app.ampe.put(holder),
    "Ampe.create": lambda app, holder: app.ampe.create(),
    "Ampe.destroy": lambda app, holder: run(app.ampe.destroy, app.chnls),
    "Ampe.statistics": lambda app, holder: app.ampe.statistics(),
    "ChannelGroup.post": lambda app, holder: app.chnls.post(holder),
    "ChannelGroup.send": lambda app, holder: run(app.chnls.send, holder),
    "ChannelGroup.wait_receive": lambda app, holder: run(app.chnls.wait_receive),
    "ChannelGroup.receive_nowait": lambda app, holder: app.chnls.receive_nowait(),
    "ChannelGroup.queued_bytes": lambda app, holder: app.chnls.queued_bytes(1),
    "ChannelGroup.peer": lambda app, holder: app.chnls.peer(1),
    "ChannelGroup.statistics": lambda app, holder: app.chnls.statistics(),
    "async for over a ChannelGroup": lambda app, holder: run(aiter(app.chnls).__anext__),
}


def run(function: Callable[..., Awaitable[object]], *args: object) -> object:
    """In a Trio run of this thread's own, if there can be one."""
    coroutine: Any = function(*args)
    try:
        return coroutine.send(None)
    finally:
        coroutine.close()


def outcome(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except BaseException as error:
        return error
    return None


async def in_python_thread(call: Callable[[], object]) -> BaseException | None:
    outcomes: list[BaseException | None] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(call)), name="stranger")
    thread.start()
    while thread.is_alive():
        await trio.lowlevel.checkpoint()
    return outcomes[0]


async def in_trio_thread(call: Callable[[], object]) -> BaseException | None:
    return await trio.to_thread.run_sync(outcome, call)


def in_other_run(call: Callable[[], object]) -> BaseException | None:
    async def main() -> BaseException | None:
        return outcome(call)

    return trio.run(main)


async def in_other_trio(call: Callable[[], object]) -> BaseException | None:
    return await trio.to_thread.run_sync(in_other_run, call)


THREADS: Final = [in_python_thread, in_trio_thread, in_other_trio]


async def goes_on(pair: Pair) -> None:
    """Both ends can still talk, over this channel."""
    posted = pair.client.post(OpCode.REQUEST, body=b"still there")
    assert await pair.server.app.event() == from_app(
        OpCode.REQUEST, pair.server.number, posted.message_id, body=b"still there"
    )


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("thread", THREADS)
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_from_another_thread_changes_nothing(
    name: str, thread: Callable[[Callable[[], object]], Awaitable[BaseException | None]]
) -> None:
    async with open_pair(LOCALHOST) as pair:
        app = pair.client.app
        await wait_all_tasks_blocked()
        holder = app.message(OpCode.SIGNAL, pair.client.number, body=b"from the wrong thread")
        before = app.ampe.statistics(), app.chnls.statistics(), holder.unwrap().to_bytes()
        error = await thread(lambda: CALLS[name](app, holder))
        assert isinstance(error, RuntimeError)
        text = str(error)
        assert text.startswith(f"{name} was called in the thread ")
        assert "trio.from_thread.run_sync" in text
        assert "Threads and forks" in text
        after = app.ampe.statistics(), app.chnls.statistics(), holder.unwrap().to_bytes()
        assert after == before
        app.ampe.put(holder)
        await goes_on(pair)


async def test_the_thread_is_named() -> None:
    async with open_app() as app:
        error = await in_python_thread(app.ampe.get)
    assert "in the thread 'stranger'" in str(error)


@pytest.mark.parametrize("thread", THREADS)
async def test_opening_from_another_thread_changes_nothing(
    thread: Callable[[Callable[[], object]], Awaitable[BaseException | None]],
) -> None:
    async with open_app() as app:
        opener = app.message(OpCode.WELCOME_REQUEST, headers=address_headers(LOCALHOST))
        assert isinstance(await thread(lambda: app.chnls.post(opener)), RuntimeError)
        assert app.ampe.statistics().channels == 0
        assert app.chnls.post(opener).channel_number  # the same message, from the right one


# ---------------------------------------------------------------------- update_receiver


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("thread", THREADS)
@pytest.mark.parametrize("waiting", [False, True])
async def test_any_thread_may_update_the_receiver(
    thread: Callable[[Callable[[], object]], Awaitable[BaseException | None]], waiting: bool
) -> None:
    async with open_app() as app, trio.open_nursery() as nursery:
        events: list[object] = []

        async def receive() -> None:
            events.extend(await app.events(2))

        if waiting:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
        holder = app.message(OpCode.REQUEST, body=b"from a thread")
        message = holder.unwrap()

        def update() -> None:
            app.chnls.update_receiver(Holder())
            app.chnls.update_receiver(holder)

        assert await thread(update) is None
        assert holder.is_empty()
        assert repr(message) == "<Message released>"
        if not waiting:
            nursery.start_soon(receive)
        with trio.fail_after(5):
            while len(events) < 2:
                await trio.lowlevel.checkpoint()
        assert str(events) == (
            "[<SIGNAL(engine, RECEIVER_UPDATE) channel=0 id=0>, "
            "<REQUEST(application, RECEIVER_UPDATE) channel=0 id=0 body=13B:b'from a thread'>]"
        )
        statistics = app.ampe.statistics()
        assert statistics.pool_free == 8192


async def test_many_threads_update_the_receiver_each_in_order() -> None:
    threads, each = 4, 50
    async with open_app() as app:

        def update(thread: int) -> None:
            for number in range(each):
                message = Message(body=bytes([thread, number]))
                app.chnls.update_receiver(Holder(message))

        seen: dict[int, list[int]] = {}
        async with trio.open_nursery() as nursery:
            for thread in range(threads):
                nursery.start_soon(trio.to_thread.run_sync, update, thread)
            for _ in range(threads * each):
                thread, number = (await app.event()).body
                seen.setdefault(thread, []).append(number)
        assert seen == {thread: list(range(each)) for thread in range(threads)}


async def test_an_update_from_a_thread_after_the_end_is_refused() -> None:
    async with open_app() as app:
        chnls = app.ampe.create()
        await app.ampe.destroy(chnls)
        holder = app.message(OpCode.SIGNAL)
        error = await in_trio_thread(lambda: chnls.update_receiver(holder))
        assert isinstance(error, ShutdownException)
        app.ampe.put(holder)


async def test_an_update_on_its_way_is_dropped_with_the_group() -> None:
    async with open_app() as app:
        chnls = app.ampe.create()
        holder = app.message(OpCode.SIGNAL)
        thread = threading.Thread(target=chnls.update_receiver, args=[holder])
        thread.start()
        thread.join()  # Trio's thread had no chance to see it
        assert holder.is_empty()
        await app.ampe.destroy(chnls)
        await wait_all_tasks_blocked()
        assert app.ampe.statistics().pool_free == 8192


def test_an_update_that_finds_no_trio_any_more_stays_with_its_owner() -> None:
    async def main() -> Any:
        async with open_app() as app:
            return app.chnls

    chnls = trio.run(main)
    chnls._group.closing = False  # as for a thread that looked just before it was set
    holder = Holder(Message(body=b"x"))
    errors: list[BaseException | None] = []

    def late() -> None:
        errors.append(outcome(lambda: chnls.update_receiver(holder)))
        errors.append(outcome(lambda: chnls.update_receiver(Holder())))

    thread = threading.Thread(target=late)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [ShutdownException] * 2
    assert holder.unwrap().payload == b"x"


# ---------------------------------------------------------------------- forked children

WHAT_A_CHILD_DOES: Final = ["calls", "leaves_by_an_error", "leaves_normally", "goes"]


class LeftError(Exception):
    """How a child leaves its parent's blocks."""


@pytest.mark.parametrize("what", WHAT_A_CHILD_DOES)
@pytest.mark.parametrize("led_by_its_task", [False, True])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_takes_nothing_from_its_parent(
    tmp_path: Path, what: str, led_by_its_task: bool
) -> None:
    path = tmp_path / "s"
    parent, child, told = os.getpid(), 0, os.pipe()
    try:
        async with open_pair(UDSServerAddress(path)) as pair:
            if led_by_its_task:
                await wait_all_tasks_blocked()
            child = os.fork()
            if not child:
                app = pair.client.app
                misused = [str(outcome(partial(call, app, Holder()))) for call in CALLS.values()]
                misused.append(str(outcome(partial(app.chnls.update_receiver, Holder()))))
                right = all("in a forked child" in text for text in misused)
                os.write(told[1], b"right" if right else "\n".join(misused).encode()[:4000])
                if what in {"calls", "goes"}:
                    os._exit(0)
                if what == "leaves_by_an_error":
                    raise LeftError
            else:
                assert os.read(told[0], 4000) == b"right"
                if what == "goes":
                    os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)  # noqa: ASYNC222  # it ends whatever Trio does here
                child = 0
                assert path.is_socket()
                for _ in range(3):
                    await goes_on(pair)
                await wait_all_tasks_blocked()
                await goes_on(pair)
    finally:
        if os.getpid() != parent:
            os._exit(0)
        for descriptor in told:
            os.close(descriptor)


@pytest.mark.parametrize("name", [*CALLS, "ChannelGroup.update_receiver"])
async def test_in_a_forked_child_it_says_so(name: str) -> None:
    """As the test above sees it in the child, here where coverage is counted."""
    async with open_app() as app:
        calls = {**CALLS, "ChannelGroup.update_receiver": update}
        belonging._in_forked_child()
        try:
            error = outcome(partial(calls[name], app, Holder()))
        finally:
            app.ampe._thread = app.chnls._thread = belonging.here()
        assert isinstance(error, RuntimeError)
        assert str(error).startswith(f"{name} was called in a forked child process, and the engine")


def update(app: App, holder: Holder[Message]) -> None:
    app.chnls.update_receiver(holder)


# ---------------------------------------------------------------------- no Trio


def test_under_asyncio_it_says_so() -> None:
    async def main() -> None:
        async with open_ampe():
            raise AssertionError

    with pytest.raises(RuntimeError, match="open_ampe needs Trio, and here asyncio runs: start"):
        asyncio.run(main())


def test_without_any_loop_it_says_so() -> None:
    coroutine: Any = open_ampe().__aenter__()
    with pytest.raises(RuntimeError, match="open_ampe needs Trio, and no Trio task runs here: "):
        coroutine.send(None)


def test_what_was_not_entered_can_be_entered_elsewhere() -> None:
    """Nothing of Trio is touched before it runs."""
    opener = open_ampe()

    async def main() -> AmpeStatus:
        async with opener as ampe, ampe.open_channel_group() as chnls:
            chnls.update_receiver(Holder())
            return (await chnls.wait_receive()).status

    assert trio.run(main) is AmpeStatus.RECEIVER_UPDATE


async def test_an_engine_is_entered_once() -> None:
    opener = open_ampe()
    async with opener as ampe:
        with pytest.raises(RuntimeError, match="was entered before, and is one engine's: write"):
            await opener.__aenter__()
        with borrowed_message(ampe) as holder:
            assert not holder.is_empty()
    with pytest.raises(RuntimeError, match="was entered before"):
        await opener.__aenter__()
