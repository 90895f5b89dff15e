"""gRPC on asyncio: one bidirectional stream, read and written by its `read` and `write`.

Generic handlers carry the bytes as they are, so that no protobuf is in the way. gRPC sets
TCP_NODELAY.
"""

import asyncio
from collections.abc import Set
from typing import Any, Final

import grpc
from grpc import aio

from benchmarks.contenders import MESSAGES, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task

_SERVICE: Final = "benchmarks.Messages"
_METHOD: Final = "Exchange"


class _Grpc:
    subjects: Set[Subject] = MESSAGES | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


async def _serve(task: Task, ready: Ready) -> None:
    async def exchange(_: Any, context: Any) -> None:
        await messages.serve(task, context.write, context.read)

    server = aio.server()
    handler = grpc.stream_stream_rpc_method_handler(exchange)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready(f"127.0.0.1:{port}")
    await server.wait_for_termination()


async def _run(task: Task, address: str) -> Figures:
    async with aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")()
        figures = await messages.work(task, messages.ASYNCIO, call.write, call.read)
        call.cancel()
        return figures


CONTENDER: Final = _Grpc()
