"""Calls: the caller's side while it waits, what a request says, and what answers it."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import must_be
from pytofu.peers.arguments import payload
from pytofu.peers.assembly import Assembly, Budget
from pytofu.peers.errors import RemoteError, error_lines, error_of, single
from pytofu.peers.incoming import NO_HEADERS, Incoming, Reply
from pytofu.peers.wire import (
    METHOD,
    TIMEOUT,
    Headers,
    checked,
    encoded,
    timeout_text,
    user_headers,
)
from pytofu.values.header import MORE_BIT
from pytofu.values.message import Message

log: Final = logging.getLogger("pytofu.peers")

type Respond = Callable[[Incoming], Awaitable[bytes | Reply | None]]
"""A handler, bound to the peer it answers."""

_ENDLESS: Final = 10.0**12
"""On Trio's clock: a deadline after this is none."""


class Call:
    """The caller's side of a call: parts come in, one answer or one error comes out."""

    __slots__ = (
        "_assembly",
        "_budget",
        "_caller",
        "_headers",
        "answer",
        "deadline",
        "error",
        "ident",
    )

    def __init__(self, budget: Budget, ident: int, deadline: float) -> None:
        self.ident: int = ident
        self.deadline: float = deadline
        """The caller's, on Trio's clock, when the request was sent."""
        self.answer: Incoming | None = None
        self.error: Exception | None = None
        """What came instead of an answer."""
        self._budget = budget
        self._caller: trio.lowlevel.Task | None = None  # while it sleeps
        self._assembly: Assembly | None = None
        self._headers = NO_HEADERS  # of an answer in parts

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a part of the answer, or all of it."""
        if self.answer is not None or self.error is not None:
            return
        body = message.payload
        more = message.header.proto_byte & MORE_BIT
        first = headers
        if more or self._assembly is not None:
            if self._assembly is None:
                self._assembly = Assembly(self._budget)
                self._headers = headers
            whole = self._assembly.add(body, last=not more)
            if whole is None:
                if self._assembly.too_long:
                    self.fail(RemoteError("RESOURCE_EXHAUSTED", "the answer is too long"))
                return
            body, first = whole, self._headers
        if headers and (error := error_of(headers, body)) is not None:
            self.fail(error)
            return
        self.answer = Incoming(body, user_headers(first) if first else {})
        self._wake_caller()

    def fail(self, error: Exception) -> None:
        """There will be no answer; the first word stays."""
        if self.answer is None and self.error is None:
            self.error = error
            self._wake_caller()

    def _wake_caller(self) -> None:
        if self._caller is not None:
            trio.lowlevel.reschedule(self._caller)
            self._caller = None

    # As an Event would, less what an Event costs, and the coroutine of its `wait`.

    def puts_to_sleep(self, caller: trio.lowlevel.Task) -> bool:
        """Whether there is no outcome yet: then there will be, and it wakes this task."""
        if self.answer is not None or self.error is not None:
            return False
        self._caller = caller
        return True

    def stop_waking(self, _: object) -> trio.lowlevel.Abort:
        """The task is woken by something else."""
        self._caller = None
        return trio.lowlevel.Abort.SUCCEEDED

    def drop(self) -> None:
        """Nobody waits any more."""
        if self._assembly is not None:
            self._assembly.drop()


if compiled and not TYPE_CHECKING:
    Call = twin(Call)


@lru_cache(256)
def _encoded_once(name: str, value: str) -> bytes:
    return encoded((name, value))


def request_lines(method: str, headers: Mapping[str, str]) -> bytes:
    """The headers of a request. Raises as `checked` and `encoded`."""
    if type(method) is not str:
        must_be("the method", "text", str, method)
    lines = _encoded_once(METHOD, method) if method else b""
    if headers is not NO_HEADERS:
        lines += encoded(*checked("headers", headers).items())
    return lines


def timeout_line(deadline: float) -> bytes:
    """Lets a deadline travel, on Trio's clock: that of the caller's cancel scopes."""
    if deadline >= _ENDLESS:
        return b""
    return _encoded_once(TIMEOUT, timeout_text(deadline - trio.current_time()))


type Result = tuple[bytes, bytes]
"""What a handler made of a request: headers and a body to send."""


def result_of(reply: bytes | Reply | None, longest: int) -> Result:
    """What a handler has returned. Raises what a wrong handler deserves."""
    lines = b""
    if isinstance(reply, Reply):
        lines = encoded(*checked("the headers of a Reply", reply.headers).items())
        reply = reply.body
    body = b"" if reply is None else payload("what a handler returns", reply)
    if len(body) > longest:
        raise ValueError(f"an answer of {len(body)} bytes: {longest} are the most")
    return lines, body


if compiled and not TYPE_CHECKING:
    result_of = twin(result_of)


def result_of_error(error: Exception, method: str) -> Result:
    """What a handler has raised, which is being handled.

    All but declared errors are logged, and the caller learns nothing of the inside.
    """
    error = single(error)
    if not isinstance(error, RemoteError):
        log.exception("the handler failed: method %r", method)
        error = RemoteError("INTERNAL", "the handler failed")
    return error_lines(error), error.body
