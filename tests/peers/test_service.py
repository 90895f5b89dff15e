"""Services and proxies: typed methods between peers (peers/service.py, proxy.py, methods.py)."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import attrs
import pytest

from pytofu import Codec, Incoming, Peer, RemoteError, Reply, Service
from tests.peers.pairs import connected


@dataclass
class Point:
    x: int
    y: int = 0


@attrs.define
class Box:
    corners: list[Point]


class Calculator(Protocol):
    """What both sides know."""

    async def add(self, a: int, b: int = 1) -> int: ...
    async def box(self, *, corner: Point, times: int = 1) -> Box: ...
    async def nothing(self) -> None: ...
    async def divide(self, a: float, b: float) -> float: ...
    async def who(self) -> str: ...
    async def wrong(self) -> int: ...
    async def missing(self) -> None: ...


class Refused(Exception):
    pass


def service(*codecs: Codec) -> Service:
    """The calculator's."""
    found = Service(
        codecs=codecs or (Codec.json(),),
        errors={ZeroDivisionError: "OUT_OF_RANGE", Refused: "PERMISSION_DENIED"},
    )

    @found.method
    async def add(a: int, b: int = 1) -> int:
        return a + b

    @found.method(name="box")
    async def make_box(*, corner: Point, times: int = 1) -> Box:
        return Box([corner] * times)

    @found.method
    async def nothing() -> None:
        return None

    @found.method
    async def divide(a: float, b: float) -> float:
        if a < 0:
            raise Refused("below zero")
        return a / b

    @found.method
    async def who(caller: Peer) -> str:
        return caller.info["name"]

    @found.method
    async def wrong() -> str:
        return "no number"

    return found


CODECS = ["json", "msgspec_json", "msgpack"]


@pytest.mark.parametrize("name", CODECS)
async def test_methods_by_a_proxy(name: str) -> None:
    if name != "json":
        pytest.importorskip("msgspec")
    codec: Codec = getattr(Codec, name)()
    async with connected(service(Codec.json(), codec), client={"hello": {"name": "me"}}) as both:
        calculator = both.client.proxy(Calculator, codec=codec)
        assert await calculator.add(1, 2) == 3
        assert await calculator.add(a=1) == 2
        assert await calculator.box(corner=Point(1, 2), times=2) == Box([Point(1, 2)] * 2)
        await calculator.nothing()
        assert await calculator.who() == "me"
        with pytest.raises(RemoteError, match="INTERNAL: the answer of wrong is not of its type: "):
            await calculator.wrong()
        with pytest.raises(TypeError):
            await calculator.add()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("a", "b", "error"), [(1, 0, "OUT_OF_RANGE: "), (-1, 1, "PERMISSION_DENIED: below zero")]
)
async def test_declared_errors(
    a: float, b: float, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(service()) as both:
        with pytest.raises(RemoteError, match=error):
            await both.client.proxy(Calculator).divide(a, b)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "body", "content_type", "error"),
    [
        ("add", b"{", None, "INVALID_ARGUMENT: the body is not JSON: "),
        ("add", b'{"a": "1"}', None, "INVALID_ARGUMENT: a: expected int, got '1'"),
        ("add", b"{}", "application/json", "INVALID_ARGUMENT: a: is missing"),
        ("add", b'{"a": 1, "c": 1}', None, "INVALID_ARGUMENT: c: is not known"),
        ("add", b"", "text/plain", "INVALID_ARGUMENT: content-type 'text/plain' is not known"),
        ("subtract", b"", None, "UNIMPLEMENTED: no method 'subtract' here"),
        ("", b"", None, "UNIMPLEMENTED: no method '' here"),
    ],
)
async def test_a_wrong_request_is_the_callers_error_and_not_logged(
    method: str, body: bytes, content_type: str | None, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with connected(service()) as both:
        with pytest.raises(RemoteError, match=error):
            await both.client.call(body, headers, method=method)
        with pytest.raises(RemoteError, match="UNIMPLEMENTED: 'add' is no stream: call it"):
            async with both.client.stream(method="add") as stream:
                await stream.finish()
    assert caplog.records == []


async def test_a_method_that_is_not_async(caplog: pytest.LogCaptureFixture) -> None:
    def plain() -> int:
        return 1

    class Plain(Protocol):
        async def plain(self) -> int: ...

    found, method = Service(), cast(Any, plain)
    found.method(method)
    async with connected(found) as both:
        with pytest.raises(RemoteError, match="INTERNAL"):
            await both.client.proxy(Plain).plain()
    assert ".plain at " in caplog.text
    assert "is no async function: it returned int, 1" in caplog.text


async def test_a_proxy_of_a_method_without_self() -> None:
    class Selfless:
        async def count() -> int:  # type: ignore[misc]
            raise AssertionError

    async with connected() as both:
        with pytest.raises(TypeError, match=r"count\(\): a method of a class takes self"):
            both.client.proxy(Selfless)


async def test_a_proxy_of_methods_that_are_not_there() -> None:
    async with connected(service()) as both:
        with pytest.raises(RemoteError, match="UNIMPLEMENTED: no method 'missing'"):
            await both.client.proxy(Calculator).missing()
        with pytest.raises(TypeError, match="Calculator has no method subtract"):
            both.client.proxy(Calculator, idempotent={"subtract"})


async def test_which_calls_are_idempotent() -> None:
    class Noting(Peer):
        async def call(  # type: ignore[override]
            self, body: bytes, headers: Any, *, method: str, idempotent: bool
        ) -> Incoming:
            noted.append((method, idempotent))
            return Incoming(b"null")

    noted: list[tuple[str, bool]] = []

    class Both(Protocol):
        async def once(self) -> None: ...
        async def often(self) -> None: ...

    async with connected() as both:
        proxy = Noting(both.client._link).proxy(Both, idempotent={"often"})
        await proxy.once()
        await proxy.often()
    assert noted == [("once", False), ("often", True)]


async def test_methods_of_an_object() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        async def up(self, by: int = 1) -> int:
            self.count += by
            return self.count

    class Up(Protocol):
        async def up(self, by: int = 1) -> int: ...

    found = Service()
    found.method(Counter().up)
    async with connected(found) as both:
        up = both.client.proxy(Up)
        assert [await up.up(), await up.up(5)] == [1, 6]


async def test_a_service_beside_other_handlers() -> None:
    found = service()

    async def handler(peer: Peer, request: Incoming) -> Reply:
        return await found(peer, request) if request.method else Reply(b"plain")

    async with connected(handler) as both:
        assert (await both.client.call()).body == b"plain"
        assert await both.client.proxy(Calculator).add(1) == 2


def test_what_cannot_be_registered() -> None:
    found = Service()

    async def no_annotation(a) -> None:  # type: ignore[no-untyped-def]
        raise AssertionError

    async def no_result(a: int):  # type: ignore[no-untyped-def]
        raise AssertionError

    async def starred(*a: int) -> None:
        raise AssertionError

    async def positional(a: int, /) -> None:
        raise AssertionError

    async def two_peers(a: Peer, b: Peer) -> None:
        raise AssertionError

    for function in (no_annotation, no_result, starred, positional, two_peers):
        with pytest.raises(TypeError, match=function.__name__):
            found.method(function)
    found.method(test_a_service_beside_other_handlers)
    with pytest.raises(ValueError, match="already"):
        found.method(test_a_service_beside_other_handlers)
    with pytest.raises(ValueError, match="needs a codec"):
        Service(codecs=())
    with pytest.raises(ValueError, match="not a code: WHAT; the codes are ABORTED, "):
        Service(errors={KeyError: "WHAT"})


async def test_structs() -> None:
    msgspec = pytest.importorskip("msgspec")
    Item = msgspec.defstruct("Item", [("name", str)])

    found = Service(codecs=[Codec.msgpack()])

    async def twice(item):  # type: ignore[no-untyped-def]
        return Item(item.name * 2)

    twice.__annotations__ = {"item": Item, "return": Item}
    found.method(twice)

    class Twice:
        async def twice(self, item): ...  # type: ignore[no-untyped-def]

    Twice.twice.__annotations__ = {"item": Item, "return": Item}
    async with connected(found) as both:
        proxy = both.client.proxy(Twice, codec=Codec.msgpack())
        assert await proxy.twice(Item("a")) == Item("aa")  # type: ignore[no-untyped-call]
