"""Calls: the caller's side while it waits, and how a handler is run for a request."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from pytofu.patterns.arguments import must_be
from pytofu.peers.arguments import payload
from pytofu.peers.assembly import Assembly, Budget
from pytofu.peers.ctrl_c import run_program
from pytofu.peers.errors import RemoteError, error_lines, error_of
from pytofu.peers.incoming import NO_HEADERS, Incoming, Reply
from pytofu.peers.wire import (
    METHOD,
    TIMEOUT,
    Headers,
    checked,
    timeout_text,
    user_headers,
)
from pytofu.values.message import Message

log: Final = logging.getLogger("pytofu.peers")

type Respond = Callable[[Incoming], Awaitable[bytes | Reply | None]]
"""A handler, bound to the peer it answers."""

_ENDLESS: Final = 10.0**12
"""On Trio's clock: a deadline after this is none."""


class Call:
    """The caller's side of a call: parts come in, one answer or one error comes out."""

    __slots__ = ("_answer", "_assembly", "_budget", "_caller", "_error", "_headers")

    def __init__(self, budget: Budget) -> None:
        self._caller: trio.lowlevel.Task | None = None  # while it sleeps
        self._budget = budget
        self._assembly: Assembly | None = None
        self._headers: Headers = {}
        self._answer: Incoming | None = None
        self._error: Exception | None = None

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a part of the answer, or all of it."""
        if self._over:
            return
        body = message.payload
        if message.has_more() or self._assembly is not None:
            if self._assembly is None:
                self._assembly = Assembly(self._budget)
                self._headers = headers
            self._assembly.add(body)
            if self._assembly.too_long:
                self.fail(RemoteError("RESOURCE_EXHAUSTED", "the answer is too long"))
                return
            if message.has_more():
                return
            body = self._assembly.take()
        else:
            self._headers = headers
        error = error_of(headers, body)
        if error is not None:
            self.fail(error)
            return
        self._answer = Incoming(body, user_headers(self._headers) if self._headers else {})
        self._wake_caller()

    def fail(self, error: Exception) -> None:
        """There will be no answer; the first word stays."""
        if not self._over:
            self._error = error
            self._wake_caller()

    @property
    def _over(self) -> bool:
        return self._answer is not None or self._error is not None

    def _wake_caller(self) -> None:
        if self._caller is not None:
            trio.lowlevel.reschedule(self._caller)
            self._caller = None

    async def wait(self) -> None:
        """Until there is an outcome; for one task. A checkpoint."""
        # As an Event would, less what an Event costs.
        if self._over:
            await trio.lowlevel.checkpoint()
        else:
            self._caller = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._caller = None
        return trio.lowlevel.Abort.SUCCEEDED

    def drop(self) -> None:
        """Nobody waits any more."""
        if self._assembly is not None:
            self._assembly.drop()

    def outcome(self) -> Incoming:
        """The answer; raises what came instead."""
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer


def request_lines(method: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of a request. Raises `TypeError` and ValueError, as `checked`."""
    lines = [(METHOD, method)] if method else []
    must_be("the method", "text", str, method)
    if headers is not NO_HEADERS:
        lines.extend(checked("headers", headers).items())
    return lines


def add_timeout(lines: list[tuple[str, str]]) -> float:
    """Let the deadline of the caller's cancel scopes travel; returns it, on Trio's clock."""
    deadline = trio.current_effective_deadline()
    if deadline < _ENDLESS:
        lines.append((TIMEOUT, timeout_text(deadline - trio.current_time())))
    return deadline


class Result:
    """What a handler made of a request: headers and a body to send."""

    __slots__ = ("body", "lines")

    def __init__(self, lines: list[tuple[str, str]], body: bytes) -> None:
        self.lines: list[tuple[str, str]] = lines
        self.body: bytes = body

    @classmethod
    def of_error(cls, error: RemoteError) -> "Result":
        """An answer that says the error."""
        return cls(error_lines(error), error.body)


async def respond(handler: Respond, request: Incoming, longest: int) -> Result:
    """Run the handler; whatever it raises becomes an answer.

    All but declared errors are logged, and the caller learns nothing of the inside.
    """
    try:
        reply = await run_program(handler, request)
        if isinstance(reply, Reply):
            lines, body = list(checked("the headers of a Reply", reply.headers).items()), reply.body
        else:
            lines, body = [], b"" if reply is None else reply
        body = payload("what a handler returns", body)
        if len(body) > longest:
            raise ValueError(f"an answer of {len(body)} bytes: {longest} are the most")
    except RemoteError as error:
        return Result.of_error(error)
    except Exception:
        return failed(request.method)
    return Result(lines, body)


def failed(method: str) -> Result:
    """The answer for a handler that failed, with what is being handled in the log."""
    log.exception("the handler failed: method %r", method)
    return Result.of_error(RemoteError("INTERNAL", "the handler failed"))
