"""`Service`: typed functions as the methods that peers call."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, overload

import attrs

from pytofu.patterns.arguments import must_be, must_be_callable
from pytofu.patterns.result import Err
from pytofu.peers.arguments import must_be_error, must_be_optional
from pytofu.peers.codec import Codec
from pytofu.peers.ctrl_c import coroutine_of
from pytofu.peers.errors import RemoteError
from pytofu.peers.incoming import Incoming, Reply
from pytofu.peers.methods import Method, method_of
from pytofu.peers.peer import Peer
from pytofu.peers.wire import CODES, CONTENT_TYPE, METHOD
from pytofu.values.text_headers import TextHeaders


@attrs.frozen
class _Registered:
    method: Method
    function: Callable[..., Awaitable[Any]]
    peer_name: str
    """Of the parameter that is given the peer; empty for none."""


class Service:
    """A handler for `serve` and `connect`, made of typed async functions.

    Arguments and results are what the annotations say, written by the codec that the request
    names in its `content-type`: one of `codecs`, or the first if it names none. `errors` are the
    exceptions that callers are told of, each with its code; any other is INTERNAL, and logged. A
    request that fits no method, or not its annotations, is the caller's error, and not logged.
    """

    def __init__(
        self,
        *,
        codecs: Sequence[Codec] = (Codec.json(),),
        errors: Mapping[type[Exception], str] | None = None,
    ) -> None:
        must_be("a Service's codecs", "Codecs", Collection, codecs, "codecs=[Codec.json()]")
        if not codecs:
            raise ValueError("a service needs a codec")
        for codec in codecs:
            must_be("a Service's codecs", "Codecs", Codec, codec, "codecs=[Codec.json()]")
        must_be_optional("a Service's errors", "a mapping of exceptions to codes", Mapping, errors)
        for kind in errors or {}:
            must_be_error("a Service's errors", kind)
        if unknown := set((errors or {}).values()) - CODES:
            wrong, codes = ", ".join(sorted(unknown)), ", ".join(sorted(CODES))
            raise ValueError(f"not a code: {wrong}; the codes are {codes}")
        self._codecs = {codec.content_type: codec for codec in reversed(codecs)}
        self._first = codecs[0]
        self._errors = dict(errors or {})
        self._methods: dict[str, _Registered] = {}

    @overload
    def method[F: Callable[..., Awaitable[Any]]](self, function: F, *, name: str = "") -> F: ...
    @overload
    def method[F: Callable[..., Awaitable[Any]]](self, *, name: str = "") -> Callable[[F], F]: ...
    def method(self, function: Any = None, *, name: str = "") -> Any:
        """Register an async function, or a bound method: `@service.method`.

        It is called by its own name, or by `name`. A parameter that is annotated as `Peer` is
        given the peer that calls. Raises TypeError for what cannot travel (a parameter or a
        result without annotation), and ValueError for a name that is taken.
        """
        if function is None:
            return partial(self.method, name=name)
        must_be_callable("Service.method", function)
        must_be("the name of a method", "text", str, name)
        name = name or function.__name__
        if isinstance(TextHeaders().try_append(METHOD, name), Err):
            raise ValueError(f"no header can carry the name of a method {name!r}")
        if name in self._methods:
            raise ValueError(f"there is a method {name!r} already")
        parameters = inspect.signature(function, eval_str=True).parameters
        peers = [one.name for one in parameters.values() if one.annotation is Peer]
        if len(peers) > 1:
            raise TypeError(f"{name}: one parameter for the peer is enough")
        method = method_of(function, name, *peers)
        self._methods[name] = _Registered(method, function, "".join(peers))
        return function

    async def __call__(self, peer: Peer, request: Incoming) -> Reply:
        """Answer a request; for `serve` and `connect`."""
        registered = self._methods.get(request.method)
        if registered is None:
            raise RemoteError("UNIMPLEMENTED", f"no method {request.method!r} here")
        if request.stream is not None:
            raise RemoteError("UNIMPLEMENTED", f"{request.method!r} is no stream: call it")
        codec = self._codec(request)
        try:
            arguments = codec.decode(request.body, registered.method.arguments)
        except ValueError as error:
            raise RemoteError("INVALID_ARGUMENT", str(error)) from None
        names = registered.method.signature.parameters
        given = {name: getattr(arguments, name) for name in names}
        if registered.peer_name:
            given[registered.peer_name] = peer
        try:
            result = await coroutine_of(registered.function, registered.function(**given))
        except tuple(self._errors) as error:
            code = next(code for kind, code in self._errors.items() if isinstance(error, kind))
            raise RemoteError(code, str(error)) from error
        return Reply(codec.encode(result), {CONTENT_TYPE: codec.content_type})

    def _codec(self, request: Incoming) -> Codec:
        content_type = request.headers.get(CONTENT_TYPE)
        if content_type is None:
            return self._first
        codec = self._codecs.get(content_type)
        if codec is None:
            known = ", ".join(sorted(self._codecs))
            text = f"content-type {content_type!r:.80} is not known here, but {known}"
            raise RemoteError("INVALID_ARGUMENT", text)
        return codec
