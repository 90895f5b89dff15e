"""Ctrl-C on any line: it ends the program, in time, and is what comes out."""

import itertools

import trio
import trio.lowlevel

from pytofu import Backoff, Incoming, NotSent, Peer, RemoteError, Topics, Unanswered, connect, serve
from tests.ctrl_c import CtrlC
from tests.leaks import open_files

CONSEQUENCES = (NotSent, Unanswered, RemoteError)
"""What others may find when a handler, or the connection, has gone."""


async def handle(peer: Peer, request: Incoming) -> bytes:
    if request.stream is not None:
        async for item in request.stream:
            await request.stream.send(item)
    elif request.body == b"ask back":
        return (await peer.call(b"from the handler")).body
    elif request.body == b"wait":
        await trio.lowlevel.checkpoint()
    return request.body


async def use_everything() -> None:
    """A server and a client in one program, which do all that peers can do."""
    topics = Topics()
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(lambda task_status: serving(topics, task_status))
        for reconnect in (None, Backoff()):
            async with connect(address, handle, reconnect=reconnect, heartbeat=60) as peer:
                for body in (b"", b"wait", b"ask back", bytes(70_000)):
                    assert (await peer.call(body)).body == body or body == b"ask back"
                with trio.move_on_after(0):
                    await peer.call(b"never")
                async with peer.stream() as stream:
                    await stream.send(b"item")
                    assert await anext(stream) == b"item"
                    await stream.finish()
                async with peer.subscribe("news.>") as messages:
                    topics.publish("news.today", b"rain")
                    await topics.send("news.tomorrow", b"sun")
                    assert (await anext(messages)).body == b"rain"
                await peer.signal(b"a signal")
        nursery.cancel_scope.cancel()


async def serving(topics: Topics, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
    await serve(handle, "mem://ctrl-c", topics=topics, task_status=task_status)


def test_ctrl_c_on_any_line() -> None:
    files = open_files()
    for at in itertools.count():
        ctrl_c = CtrlC(at)
        with ctrl_c.armed():
            try:
                trio.run(use_everything)
            except* KeyboardInterrupt:
                assert ctrl_c.where is not None
            except* CONSEQUENCES:
                assert ctrl_c.where is not None
            except* BaseException as error:
                error.add_note(f"Ctrl-C at {ctrl_c.where}")
                raise
        assert open_files() == files, ctrl_c.where
        if ctrl_c.where is None:
            assert at > 0
            break


async def test_the_programs_own_functions_can_be_interrupted() -> None:
    protected = {}

    async def on_peer(peer: Peer) -> None:
        protected["on_peer"] = trio.lowlevel.currently_ki_protected()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        protected["handler"] = trio.lowlevel.currently_ki_protected()
        return b""

    async def serving(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        await serve(handler, "mem://ctrl-c", on_peer=on_peer, task_status=task_status)

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serving)
        for reconnect in (None, Backoff()):
            async with connect(address, on_peer=on_peer, reconnect=reconnect) as peer:
                protected["block"] = trio.lowlevel.currently_ki_protected()
                await peer.call()
                async with peer.stream():
                    protected["inner block"] = trio.lowlevel.currently_ki_protected()
            assert protected == dict.fromkeys(("block", "inner block", "on_peer", "handler"), False)
            protected.clear()
        nursery.cancel_scope.cancel()
