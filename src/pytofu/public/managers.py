"""The blocks of an `async with` that are opened here."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, override

import trio


def block[**P, T](
    function: Callable[P, AsyncGenerator[T]],
) -> Callable[P, AbstractAsyncContextManager[T, None]]:
    """`asynccontextmanager`, with Ctrl-C kept out of the ways in and out.

    KeyboardInterrupt between the end of a program's block and the generator's turn would leave the
    generator, and its nursery, to Python's garbage collection. The block itself is not protected.
    """
    make = asynccontextmanager(trio.lowlevel.enable_ki_protection(function))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T, None]:
        return _Block(make(*args, **kwargs), function.__qualname__)

    return call


class _Block[T](AbstractAsyncContextManager[T, None]):
    """One block, to be entered once."""

    __slots__ = ("_entered", "_manager", "_what")

    def __init__(self, manager: AbstractAsyncContextManager[T], what: str) -> None:
        self._manager = manager
        self._what = what
        self._entered = False

    @override
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> T:
        if self._entered:
            raise RuntimeError(
                f"this {self._what}() was entered before, and is one block's: call it for each"
            )
        self._entered = True
        return await self._manager.__aenter__()

    @override
    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._manager.__aexit__(exc_type, exc, traceback)

    # Type checkers are to see that it cannot be awaited.
    if not TYPE_CHECKING:  # pragma: no branch

        def __await__(self) -> NoReturn:
            raise not_awaited(self._what)


def not_awaited(what: str) -> TypeError:
    """For who awaits a block that is to be entered."""
    name = what.rpartition(".")[2]
    return TypeError(f"{name}() is not awaited, but entered: `async with {name}(...) as it:`")
