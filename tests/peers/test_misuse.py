"""What programs give to peers by mistake: said at once, by name, before anything has changed."""

import gc
import math
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

import pytest
import trio

from pytofu import (
    Backoff,
    Codec,
    ConnectError,
    Incoming,
    Options,
    Peer,
    RemoteError,
    Reply,
    Service,
    TLSClientAddress,
    Topics,
    connect,
    open_ampe,
    serve,
)

HERE: Final = "mem://misuse"
THINGS: Final[dict[str, Any]] = {
    "text": "text",
    "bytes": b"bytes",
    "None": None,
    "float": 1.5,
    "nan": math.nan,
    "negative": -1,
    "True": True,
    "list": [1],
    "object": object(),
    "class": int,
}
TEXT, NUMBER, SECONDS, BYTES = {"text"}, set[str](), {"float"}, {"bytes"}

type Door = Callable[[Peer, Any], object]


async def handler(peer: Peer, request: Incoming) -> bytes:
    return request.body


async def in_stream(peer: Peer, item: Any) -> None:
    async with peer.stream() as stream:
        await stream.send(item)


class Protocol:
    async def method(self) -> int: ...  # type: ignore[empty-body]


# What each takes of the above; `what` is how the error calls it.
DOORS: Final[list[tuple[str, Door, set[str]]]] = [
    ("connect", lambda _, it: connect(it), set()),
    ("connect's handler", lambda _, it: connect(HERE, it), {"None", "class"}),
    ("connect's hello", lambda _, it: connect(HERE, hello=it), set()),
    ("connect's hello", lambda _, it: connect(HERE, hello={"x": it}), TEXT),
    ("connect's reconnect", lambda _, it: connect(HERE, reconnect=it), {"None"}),
    ("connect's heartbeat", lambda _, it: connect(HERE, heartbeat=it), {"None", "float"}),
    ("connect's on_peer", lambda _, it: connect(HERE, on_peer=it), {"None", "class"}),
    ("connect's tls", lambda _, it: connect(HERE, tls=it), {"None"}),
    ("connect's ampe", lambda _, it: connect(HERE, ampe=it), {"None"}),
    ("serve", lambda _, it: serve(handler, it), set()),
    ("serve's handler", lambda _, it: serve(it, HERE), {"None", "class"}),
    ("serve's admit", lambda _, it: serve(handler, HERE, admit=it), {"None", "class"}),
    ("serve's on_peer", lambda _, it: serve(handler, HERE, on_peer=it), {"None", "class"}),
    ("serve's topics", lambda _, it: serve(handler, HERE, topics=it), {"None"}),
    ("serve's tls", lambda _, it: serve(handler, HERE, tls=it), {"None"}),
    ("serve's ampe", lambda _, it: serve(handler, HERE, ampe=it), {"None"}),
    ("serve's calls_per_peer", lambda _, it: serve(handler, HERE, calls_per_peer=it), NUMBER),
    ("serve's grace", lambda _, it: serve(handler, HERE, grace=it), SECONDS),
    ("body", lambda peer, it: peer.call(it), BYTES),
    ("headers", lambda peer, it: peer.call(b"", it), set()),
    ("headers", lambda peer, it: peer.call(b"", {"x": it}), TEXT),
    ("method", lambda peer, it: peer.call(method=it), TEXT),
    ("body", lambda peer, it: peer.stream(it), BYTES),
    ("headers", lambda peer, it: peer.stream(b"", it), set()),
    ("method", lambda peer, it: peer.stream(method=it), TEXT),
    ("item", in_stream, BYTES),
    ("body", lambda peer, it: peer.signal(it), BYTES),
    ("headers", lambda peer, it: peer.signal(b"", it), set()),
    ("pattern", lambda peer, it: peer.subscribe(it), TEXT),
    ("window", lambda peer, it: peer.subscribe("news", window=it), NUMBER),
    ("drain", lambda peer, it: peer.drain(it), SECONDS),
    ("proxy", lambda peer, it: peer.proxy(it), {"class"}),
    ("codec", lambda peer, it: peer.proxy(Protocol, codec=it), set()),
    ("idempotent", lambda peer, it: peer.proxy(Protocol, idempotent=it), set()),
    ("topic", lambda _, it: Topics().publish(it, b""), TEXT),
    ("body", lambda _, it: Topics().publish("news", it), BYTES),
    ("headers", lambda _, it: Topics().publish("news", b"", it), set()),
    ("keep", lambda _, it: Topics(it), NUMBER),
    ("policy", lambda _, it: Topics(1, it), set()),
    ("first", lambda _, it: Backoff(it), SECONDS),
    ("longest", lambda _, it: Backoff(1, it), SECONDS),
    ("codecs", lambda _, it: Service(codecs=it), set()),
    ("errors", lambda _, it: Service(errors=it), {"None"}),
    ("errors", lambda _, it: Service(errors={it: "NOT_FOUND"}), {"list"}),
    ("Service.method", lambda _, it: Service().method(it), {"None", "class"}),
    ("method", lambda _, it: Service().method(handler, name=it), TEXT),
    ("content_type", lambda _, it: Codec(it, repr, eval), TEXT),  # type: ignore[arg-type]
    ("encode", lambda _, it: Codec("text/x", it, eval), {"class"}),
    ("code", lambda _, it: RemoteError(it), TEXT),
    ("text", lambda _, it: RemoteError("NOT_FOUND", it), TEXT),
]


async def carry_out(made: object) -> None:
    """Whatever it is: enter it, or await it."""
    if isinstance(made, AbstractAsyncContextManager):
        async with made:
            pass
    elif isinstance(made, Awaitable):
        await made


@pytest.mark.parametrize("thing", THINGS.values(), ids=THINGS.keys())
async def test_what_is_wrong_is_said_by_name(thing: object) -> None:
    name = next(name for name, one in THINGS.items() if one is thing)
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, handler, "mem://other")
        async with connect(address) as peer:
            for what, door, right in DOORS:
                if name in right:
                    continue
                with pytest.raises((TypeError, ValueError)) as caught:
                    await carry_out(door(peer, thing))
                assert what in str(caught.value) or "address" in str(caught.value), what
                assert (await peer.call(b"still there")).body == b"still there"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("thing", ["text", 1, [b"list"], 1.5])
async def test_what_a_handler_returns_is_for_its_own_log(
    thing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(peer: Peer, request: Incoming) -> bytes:
        return Reply(thing) if request.body else thing  # type: ignore[return-value]

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, wrong, HERE)
        async with connect(address) as peer:
            for body in (b"", b"as a Reply"):
                with pytest.raises(RemoteError, match="INTERNAL"):
                    await peer.call(body)
        nursery.cancel_scope.cancel()
    assert caplog.text.count("TypeError: what a handler returns takes bytes, not") == 2


async def test_a_handler_that_is_not_async(caplog: pytest.LogCaptureFixture) -> None:
    def plain(peer: Peer, request: Incoming) -> bytes:
        return b""

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, plain, HERE)
        async with connect(address) as peer:
            with pytest.raises(RemoteError, match="INTERNAL"):
                await peer.call()
        nursery.cancel_scope.cancel()
    assert "is no async function: it returned bytes, b''" in caplog.text


async def test_functions_that_take_something_else() -> None:
    async def of_one(request: Incoming) -> bytes:
        return b""

    wrong: Any = of_one
    with pytest.raises(TypeError, match=r"a function of peer and request, not .*of_one\(request"):
        await serve(wrong, HERE)
    wrong = handler
    with pytest.raises(TypeError, match=r"a function of peer, not handler\(peer"):
        async with connect(HERE, on_peer=wrong):
            pytest.fail("it cannot be called")


async def test_a_handler_that_was_called_already() -> None:
    """No warning of Python's comes on top, which would be an error here."""
    wrong: Any = handler
    given = wrong(None, None)
    with pytest.raises(TypeError, match="takes the function itself, not the coroutine"):
        await serve(given, HERE)
    del given
    gc.collect()


async def test_a_handler_whose_parameters_nobody_knows() -> None:
    class Unknown:
        __signature__ = "none"

        async def __call__(self, *args: object) -> bytes:
            return b"answer"

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, Unknown(), HERE)
        async with connect(address) as peer:
            assert (await peer.call()).body == b"answer"
        nursery.cancel_scope.cancel()


async def test_an_awaitable_is_as_good_as_a_coroutine() -> None:
    class Later:
        def __await__(self) -> Any:
            yield from trio.lowlevel.checkpoint().__await__()  # noqa: ASYNC105
            return b"later"

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, lambda peer, request: Later(), HERE)
        async with connect(address) as peer:
            assert (await peer.call()).body == b"later"
        nursery.cancel_scope.cancel()


async def test_bytes_of_all_kinds_travel() -> None:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, handler, HERE)
        async with connect(address) as peer:
            for body in (bytearray(b"body"), memoryview(b"body")):
                assert (await peer.call(body)).body == b"body"  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()


def test_tls_is_still_asked_for() -> None:
    with pytest.raises(TypeError, match=r"tls takes an ssl\.SSLContext, not type"):
        trio.run(
            lambda: connect(TLSClientAddress("localhost"), tls=ssl.SSLContext).__aenter__()  # type: ignore[arg-type]
        )


async def test_a_context_for_what_is_in_clear() -> None:
    context = ssl.create_default_context()
    with pytest.raises(ValueError, match=r"connect has tls=, and tcp://127\.0\.0\.1:1 is in clear"):
        async with connect("tcp://127.0.0.1:1", tls=context):
            pass
    with pytest.raises(ValueError, match=r"serve has tls=, and tcp://127\.0\.0\.1:0 is in clear"):
        await serve(handler, HERE, "tcp://127.0.0.1:0", tls=context)


async def test_a_context_with_what_stays_in_the_machine() -> None:
    context = ssl.create_default_context()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, handler, HERE, tls=context))
        async with connect(HERE, tls=context) as peer:
            assert (await peer.call(b"body")).body == b"body"
        nursery.cancel_scope.cancel()


async def test_no_context_for_what_is_encrypted() -> None:
    with pytest.raises(ValueError, match=r"connect needs tls=, .*, for tls://127\.0\.0\.1:1"):
        async with connect("tls://127.0.0.1:1", reconnect=Backoff()):  # would try for ever
            pass
    with pytest.raises(ValueError, match=r"serve needs tls=, .*, for tls://127\.0\.0\.1:0"):
        await serve(handler, "tls://127.0.0.1:0")


async def test_the_context_may_be_the_engines() -> None:
    async with open_ampe(Options(tls_client=ssl.create_default_context())) as ampe:
        with pytest.raises(ConnectError, match="CONNECT_FAILED"):
            async with connect("tls://127.0.0.1:1", ampe=ampe):
                pass
