"""An engine is its own thread's, and its own process's; `update_receiver` is everybody's."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import pytest
import trio

from pytofu import (
    AmpeStatus,
    Holder,
    Message,
    MessageReleasedError,
    OpCode,
    Options,
    ShutdownException,
    TCPServerAddress,
    open_ampe,
)
from pytofu.public.owner import Owner
from tests.resources import nothing_left as nothing_left
from tests.support import App, open_app, open_pair

pytestmark = pytest.mark.usefixtures("nothing_left")

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
FOREIGN: Final = "was called from a foreign thread"


def step(coroutine: Any) -> None:
    """Run a coroutine up to where it would wait."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


def calls(app: App, holder: Holder[Message]) -> dict[str, Callable[[], object]]:
    """Everything that can be asked of an engine and a group, but for `update_receiver`."""
    ampe, chnls = app.ampe, app.chnls
    return {
        "get": ampe.get,
        "put": lambda: ampe.put(holder),
        "create": ampe.create,
        "destroy": lambda: step(ampe.destroy(chnls)),
        "open_channel_group": lambda: step(ampe.open_channel_group().__aenter__()),
        "statistics": ampe.statistics,
        "post": lambda: chnls.post(holder),
        "wait_receive": lambda: step(chnls.wait_receive()),
        "async for": lambda: step(aiter(chnls).__anext__()),
        "receive_nowait": chnls.receive_nowait,
        "statistics of a group": chnls.statistics,
    }


def what_they_raise(functions: dict[str, Callable[[], object]]) -> dict[str, str]:
    raised: dict[str, str] = {}
    for name, function in functions.items():
        try:
            function()
            raised[name] = "nothing"
        except RuntimeError as error:
            raised[name] = str(error)
    return raised


# ---------------------------------------------------------------------- threads


async def test_every_call_from_a_foreign_thread_is_refused_and_changes_nothing() -> None:
    async with open_pair(LOCALHOST) as pair:
        app = pair.client.app
        holder = app.message(OpCode.REQUEST, pair.client.number, body=b"mine")
        before = app.ampe.statistics()
        raised = await trio.to_thread.run_sync(what_they_raise, calls(app, holder))
        assert {name for name, text in raised.items() if FOREIGN not in text} == set()
        assert "trio.from_thread.run_sync(post" in raised["post"]
        assert app.ampe.statistics() == before
        app.chnls.post(holder)
        assert (await pair.server.app.event()).body == b"mine"


async def test_the_receiver_is_reached_from_any_thread() -> None:
    async with open_app() as app:

        def from_outside() -> None:
            message = Message()
            message.set_payload(b"from a thread")
            holder = Holder(message)
            app.chnls.update_receiver(holder)
            assert holder.is_empty()
            with pytest.raises(MessageReleasedError):
                _ = message.payload
            app.chnls.update_receiver(Holder())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, from_outside)
            with_body, without = await app.event(), await app.event()
        assert (with_body.body, with_body.status) == (b"from a thread", AmpeStatus.RECEIVER_UPDATE)
        assert without.status is AmpeStatus.RECEIVER_UPDATE


async def test_a_message_of_the_pool_is_charged_until_the_receiver_gives_it_back() -> None:
    async with open_app(Options(initial_pool_msgs=4, max_pool_msgs=4)) as app:
        holder = app.message(OpCode.SIGNAL)
        await trio.to_thread.run_sync(app.chnls.update_receiver, holder)
        received = await app.receive()
        assert app.ampe.statistics().pool_free == 3
        app.ampe.put(Holder(received))
        assert app.ampe.statistics().pool_free == 4


async def test_what_comes_too_late_from_a_thread_is_given_back() -> None:
    async with open_ampe(Options(initial_pool_msgs=4, max_pool_msgs=4)) as ampe:
        chnls = ampe.create()
        holder = Holder(ampe.get())
        thread = threading.Thread(target=chnls.update_receiver, args=(holder,))
        thread.start()
        thread.join()  # Trio has had no turn
        await ampe.destroy(chnls)
        await trio.testing.wait_all_tasks_blocked()
        assert ampe.statistics().pool_free == 4
        with pytest.raises(ShutdownException):
            await trio.to_thread.run_sync(chnls.update_receiver, Holder[Message]())


def test_when_the_run_has_ended_in_between_the_message_stays() -> None:
    async def leave_behind() -> App:
        async with open_app() as app:
            return app

    app = trio.run(leave_behind)
    app.chnls._group.closing = False  # as a thread may have seen it
    holder = Holder(Message())
    raised: list[BaseException] = []

    def from_outside() -> None:
        for what in (holder, Holder[Message]()):
            try:
                app.chnls.update_receiver(what)
            except ShutdownException as error:
                raised.append(error)

    thread = threading.Thread(target=from_outside)
    thread.start()
    thread.join()
    assert len(raised) == 2
    assert holder.unwrap().payload == b""


# ---------------------------------------------------------------------- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
async def test_a_forked_child_is_refused_everything(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_app() as app:
        owner = app.chnls._owner
        owner.check("post")
        forked = Owner()
        forked.lose()  # what happens to all of them in a forked child
        app.chnls._owner = app.ampe._owner = forked
        try:
            functions = calls(app, Holder())
            functions["update_receiver"] = lambda: app.chnls.update_receiver(Holder())
            raised = what_they_raise(functions)
        finally:
            app.chnls._owner = app.ampe._owner = owner
        assert {name for name, text in raised.items() if "the engine stays" not in text} == set()


FORKING: Final = """
import os, sys, trio
from pytofu import open_ampe

async def main():
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        child = os.fork()
        if not child:
            try:
                ampe.get()
            except RuntimeError as error:
                print("child:", "the engine stays with the parent" in str(error), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print("parent:", ampe.get() is not None)

trio.run(main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
async def test_forking_takes_the_engine_from_the_child_alone() -> None:
    process = await trio.run_process(
        [sys.executable, "-c", FORKING], capture_stdout=True, capture_stderr=True
    )
    assert process.stdout.decode().splitlines() == ["child: True", "parent: True"]


# ---------------------------------------------------------------------- Trio


def test_without_trio_there_is_no_engine() -> None:
    async def main() -> None:
        async with open_ampe():
            pass

    with pytest.raises(RuntimeError, match=r"trio\.run\(main\)"):
        asyncio.run(main())


async def test_an_engine_is_entered_once() -> None:
    manager = open_ampe()
    async with manager:
        with pytest.raises(RuntimeError, match="entered before"):
            await manager.__aenter__()
    with pytest.raises(RuntimeError, match="entered before"):
        await manager.__aenter__()
