"""pytofu's peers, over TCP: default options, written as their documentation says."""

from collections.abc import Set
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import trio

from benchmarks.contenders import CALLS, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task
from pytofu import Incoming, Peer, Topics, connect, open_ampe, serve
from pytofu.peers.subscriptions import Subscription

_ANY_PORT: Final = "tcp://127.0.0.1:0"
_TOPIC: Final = "benchmarks"


class _Peers:
    subjects: Set[Subject] = CALLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, address)


async def _serve(task: Task, ready: Ready) -> None:
    topics = Topics()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if request.stream is not None:
            await messages.serve(task, request.stream.send, request.stream.__anext__)
        return request.body

    async def publish_signals(peer: Peer) -> None:
        async for message in peer.messages:
            topics.publish(_TOPIC, message.body)

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(
            partial(serve, handler, _ANY_PORT, on_peer=publish_signals, topics=topics)
        )
        ready(address)


async def _run(task: Task, address: str) -> Figures:
    async with connect(address) as peer:
        match task.work.subject:
            case Subject.STREAM:
                async with peer.stream() as stream:
                    return await messages.work(task, messages.TRIO, stream.send, stream.__anext__)
            case Subject.FAN_OUT:
                return await _hear(task, peer, address)
            case _:
                return await messages.call(task, messages.TRIO, partial(_call, peer))


async def _call(peer: Peer, body: bytes) -> bytes:
    return (await peer.call(body)).body


async def _hear(task: Task, publisher: Peer, address: str) -> Figures:
    async with AsyncExitStack() as stack:
        ampe = await stack.enter_async_context(open_ampe())
        subscribers = []
        for _ in range(task.work.channels):
            peer = await stack.enter_async_context(connect(address, ampe=ampe))
            subscription = await stack.enter_async_context(peer.subscribe(_TOPIC))
            subscribers.append(partial(_receive, subscription))
        return await messages.hear(task, messages.TRIO, publisher.signal, subscribers)


async def _receive(subscription: Subscription) -> bytes:
    return (await anext(subscription)).body


CONTENDER: Final = _Peers()
