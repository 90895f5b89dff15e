"""gRPC on asyncio: calls are unary, messages one bidirectional stream, read and written by its
`read` and `write`, and what is published a stream for each subscriber.

Generic handlers carry the bytes as they are, so that no protobuf is in the way. gRPC sets
TCP_NODELAY. Over TLS it has a library of its own, which speaks 1.3 with itself.
"""

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
from grpc import aio

from benchmarks.certificates import HOST, Certificates
from benchmarks.contenders import CALLS, MESSAGES, ONLY_TLS, Ready, messages
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task

_SERVICE: Final = "benchmarks.Messages"
_EXCHANGE: Final = f"/{_SERVICE}/Exchange"
_ECHO: Final = f"/{_SERVICE}/Echo"
_PUBLISH: Final = f"/{_SERVICE}/Publish"
_SUBSCRIBE: Final = f"/{_SERVICE}/Subscribe"
_OPTIONS: Final = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
"""With the second each channel has a connection of its own."""


class _Grpc:
    subjects: Set[Subject] = MESSAGES | CALLS | {Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        asyncio.run(_serve(task, ready))

    def run(self, task: Task, address: str) -> Figures:
        return asyncio.run(_run(task, address))


class _GrpcTLS:
    subjects: Set[Subject] = ONLY_TLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        made = Certificates.of(task)
        asyncio.run(_serve(task, ready, grpc.ssl_server_credentials([(made.key, made.chain)])))

    def run(self, task: Task, address: str) -> Figures:
        trusted = Certificates.of(task).authority
        return asyncio.run(_run_over_tls(task, address, grpc.ssl_channel_credentials(trusted)))


async def _serve(task: Task, ready: Ready, credentials: Any = None) -> None:
    queues: dict[asyncio.Queue[bytes], None] = {}

    async def exchange(_: Any, context: Any) -> None:
        await messages.serve(task, context.write, context.read)

    async def echo(request: bytes, context: Any) -> bytes:
        return request

    async def publish(_: Any, context: Any) -> None:
        while True:
            message = await context.read()
            for queue in queues:
                queue.put_nowait(message)

    async def subscribe(_: bytes, context: Any) -> AsyncIterator[bytes]:
        queue = asyncio.Queue[bytes]()
        queues[queue] = None
        yield b""
        while True:
            yield await queue.get()

    server = aio.server()
    handlers = {
        "Exchange": grpc.stream_stream_rpc_method_handler(exchange),
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Publish": grpc.stream_stream_rpc_method_handler(publish),
        "Subscribe": grpc.unary_stream_rpc_method_handler(subscribe),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    anywhere = f"{HOST}:0"
    if credentials is None:
        port = server.add_insecure_port(anywhere)
    else:
        port = server.add_secure_port(anywhere, credentials)
    await server.start()
    ready(f"{HOST}:{port}")
    await server.wait_for_termination()


async def _run(task: Task, address: str) -> Figures:
    async with aio.insecure_channel(address, options=_OPTIONS) as channel:
        match task.work.subject:
            case Subject.CALL:
                return await messages.call(task, messages.ASYNCIO, channel.unary_unary(_ECHO))
            case Subject.FAN_OUT:
                return await _hear(task, channel, address)
            case _:
                return await _exchange(task, channel)


async def _run_over_tls(task: Task, address: str, credentials: Any) -> Figures:
    async with aio.secure_channel(address, credentials, options=_OPTIONS) as channel:
        return await _exchange(task, channel)


async def _exchange(task: Task, channel: Any) -> Figures:
    call = channel.stream_stream(_EXCHANGE)()
    figures = await messages.work(task, messages.ASYNCIO, call.write, call.read)
    call.cancel()
    return figures


async def _hear(task: Task, channel: Any, address: str) -> Figures:
    publisher = channel.stream_stream(_PUBLISH)()
    async with AsyncExitStack() as stack:
        subscribers = []
        for _ in range(task.work.channels):
            another = aio.insecure_channel(address, options=_OPTIONS)
            await stack.enter_async_context(another)
            call = another.unary_stream(_SUBSCRIBE)(b"")
            assert await call.read() == b""  # it is subscribed
            subscribers.append(call.read)
        figures = await messages.hear(task, messages.ASYNCIO, publisher.write, subscribers)
        publisher.cancel()
        return figures


CONTENDER: Final = _Grpc()
TLS: Final = _GrpcTLS()
