"""A peer's methods as methods: the client's side of a service."""

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from pytofu.patterns.arguments import must_be, wrong_type
from pytofu.peers.codec import Codec
from pytofu.peers.errors import RemoteError
from pytofu.peers.incoming import Incoming
from pytofu.peers.methods import Method, method_of
from pytofu.peers.wire import CONTENT_TYPE


class _Call(Protocol):
    def __call__(
        self, body: bytes, headers: dict[str, str], *, method: str, idempotent: bool
    ) -> Awaitable[Incoming]: ...


def make_proxy(call: _Call, protocol: Any, codec: Codec, idempotent: Collection[str]) -> Any:
    """An object with the async methods of `protocol`, each a call to the peer."""
    must_be("Peer.proxy", "a class with async methods", type, protocol)
    must_be("the codec of a proxy", "a Codec", Codec, codec, "Codec.json()")
    must_be("idempotent", "names of methods", Collection, idempotent)
    if isinstance(idempotent, str):
        raise wrong_type("idempotent", "names of methods", idempotent)
    for name in idempotent:
        must_be("a name in idempotent", "text", str, name)
    members = inspect.getmembers(protocol, inspect.iscoroutinefunction)
    functions = {name: function for name, function in members if not name.startswith("_")}
    if unknown := set(idempotent) - functions.keys():
        raise TypeError(f"{protocol.__name__} has no method {', '.join(sorted(unknown))}")
    methods: dict[str, Any] = {
        name: _remote(
            call,
            method_of(function, name, _self_of(function, name)),
            codec,
            name in idempotent,
        )
        for name, function in functions.items()
    }
    return type(f"{protocol.__name__}Proxy", (), {"__slots__": (), **methods})()


def _self_of(function: Callable[..., Any], name: str) -> str:
    """The name of its first parameter, which does not travel. Raises TypeError if it has none."""
    parameters = inspect.signature(function).parameters
    if not parameters:
        raise TypeError(f"{name}(): a method of a class takes self")
    return next(iter(parameters))


def _remote(call: _Call, method: Method, codec: Codec, idempotent: bool) -> Callable[..., Any]:
    headers = {CONTENT_TYPE: codec.content_type}

    async def remote(self: object, /, *args: Any, **kwargs: Any) -> Any:
        given = method.signature.bind(*args, **kwargs).arguments
        body = codec.encode(given)
        answer = await call(body, headers, method=method.name, idempotent=idempotent)
        try:
            return codec.decode(answer.body, method.result)
        except ValueError as error:
            text = f"the answer of {method.name} is not of its type: {error}"
            raise RemoteError("INTERNAL", text) from error

    remote.__name__ = method.name
    return remote
