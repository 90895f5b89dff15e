"""One request of the peer, until it is answered."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.peers.assembly import Assembly
from pytofu.peers.calls import Respond
from pytofu.peers.ctrl_c import started
from pytofu.peers.incoming import NO_HEADERS, Incoming, Reply
from pytofu.peers.streams import AcceptedStream
from pytofu.peers.wire import METHOD, TIMEOUT, Headers, read_timeout, user_headers
from pytofu.values.holder import Holder
from pytofu.values.message import Message

NEVER: Final = float("inf")
"""The deadline of what has none."""


class Handling:
    """First its body comes in, then it waits for its turn, then its handler runs."""

    __slots__ = (
        "assembly",
        "body",
        "deadline",
        "given_up",
        "headers",
        "held",
        "ident",
        "running",
        "scope",
        "stream",
    )

    def __init__(self, ident: int, headers: Headers) -> None:
        self.ident: int = ident
        self.headers: Headers = headers
        self.body: bytes = b""
        self.assembly: Assembly | None = None  # of a body that comes in parts
        self.stream: AcceptedStream | None = None
        self.held: Holder[Message] | None = None  # while it waits
        self.running: bool = False
        self.given_up: bool = False
        self.scope: trio.CancelScope | None = None  # around its handler, while that runs
        # The time runs from the beginning, also while it waits for its turn.
        self.deadline: float = (
            trio.current_time() + read_timeout(headers[TIMEOUT]) if TIMEOUT in headers else NEVER
        )

    def is_cut_short(self) -> bool:
        """Of one whose turn has come: whether it is given up, or its time is over."""
        if self.deadline == NEVER:
            return self.given_up
        assert self.scope is not None
        return self.scope.cancel_called

    def start(self, handler: Respond) -> Coroutine[object, object, bytes | Reply | None] | None:
        """Its handler, for `unprotected`; None if it is too late already. Raises as `started`."""
        if self.is_cut_short():
            return None
        headers = self.headers
        request = Incoming(
            self.body if self.assembly is None else self.assembly.take(),
            user_headers(headers) if headers else NO_HEADERS,
            headers.get(METHOD, ""),
            self.stream,
        )
        return started(handler, request)


if compiled and not TYPE_CHECKING:
    Handling = twin(Handling)
