"""Cleanup that runs only when something went wrong. Source: pattern guide, section 10."""

import inspect
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from pytofu.patterns.arguments import must_be_callable

_LOGGER: Final = logging.getLogger(__name__)


class ErrDefer:
    """Runs registered cleanups, the last one first, if its block is left by an exception.

    Zig's `errdefer`, for functions that acquire several things and hand them to the caller in
    the end::

        with ErrDefer() as cleanup:
            pool = Pool()
            cleanup.register(pool.close)
            start(pool)  # if this raises, pool.close() is called
            cleanup.success()
            return pool

    Any exception counts, cancellation and `GeneratorExit` among them. It is never suppressed.
    An `Exception` of a cleanup is logged and dropped, so that it does not mask the first one.
    What is no `Exception` (`KeyboardInterrupt`, a cancellation) is raised once the other
    cleanups have run too; if there are several of them, as a `BaseExceptionGroup`.

    Under `async with` a cleanup may be async and is awaited, as it is: nothing here shields it.
    In a cancelled scope its first checkpoint therefore raises; a cleanup that has to wait needs
    its own shielded scope with a deadline. Source: pattern guide, section 10.
    """

    __slots__ = ("_cleanups", "_plain")

    def __init__(self) -> None:
        self._cleanups: list[Callable[[], object]] = []
        self._plain = False

    def register[**P](
        self, func: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call `func(*args, **kwargs)` if the block is left by an exception.

        Raises `TypeError` for what cannot be called, and for an async function under plain
        `with`, which could not await it.
        """
        must_be_callable("ErrDefer.register", func)
        if self._plain and inspect.iscoroutinefunction(func):
            raise TypeError(f"{func!r} is async: use `async with ErrDefer()`")
        self._cleanups.append(lambda: func(*args, **kwargs))

    def success(self) -> None:
        """Forget all cleanups: what they were for now belongs to somebody else."""
        self._cleanups.clear()

    def __enter__(self) -> Self:
        self._plain = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.success()
        uncaught: list[BaseException] = []
        while self._cleanups:
            cleanup = self._cleanups.pop()
            try:
                cleanup()
            except BaseException as error:
                _log_or_keep(error, uncaught)
        _raise_uncaught(uncaught)

    async def __aenter__(self) -> Self:
        self._plain = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.success()
        uncaught: list[BaseException] = []
        while self._cleanups:
            cleanup = self._cleanups.pop()
            try:
                outcome = cleanup()
                if inspect.isawaitable(outcome):
                    await outcome
            except BaseException as error:
                _log_or_keep(error, uncaught)
        _raise_uncaught(uncaught)


def _log_or_keep(error: BaseException, uncaught: list[BaseException]) -> None:
    if isinstance(error, Exception):
        _LOGGER.error("a cleanup after an error failed too", exc_info=error)
    else:
        uncaught.append(error)


def _raise_uncaught(uncaught: list[BaseException]) -> None:
    if len(uncaught) == 1:
        raise uncaught.pop()
    if uncaught:
        raise BaseExceptionGroup("cleanups after an error were interrupted", uncaught)


@contextmanager
def log_on_error(message: str, **context: object) -> Generator[None, None, None]:
    """Log the message, the context and the error if the block raises an `Exception`.

    The exception goes on to the caller. Cancellation and `KeyboardInterrupt` are not logged.
    Source: pattern guide, section 10 (diagnostic errdefer).
    """
    try:
        yield
    except Exception as error:
        _LOGGER.error("%s: %s, error=%s", message, context, error)
        raise
