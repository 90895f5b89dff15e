"""Ctrl-C is for the program's own functions: it is not raised in the middle of what peers do.

KeyboardInterrupt in the midst of starting a task or of counting what is under way would leave that
half done, and Trio's own books as well. So everything that programs call here is `protected`, and
so are the tasks; then Trio raises it in the main task, at its next checkpoint. The functions that
a program gives are run as they would be without us.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pytofu.patterns.arguments import shown

protected: Final = trio.lowlevel.enable_ki_protection


@trio.lowlevel.enable_ki_protection
async def run_protected[*Ts](task: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
    """Run a task of ours."""
    await task(*args)


@trio.lowlevel.enable_ki_protection
async def run_program[*Ts, T](function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run a function of the program's. Raises `TypeError` if it is no async function."""
    awaitable = function(*args)
    coroutine = awaitable if inspect.iscoroutine(awaitable) else None
    if coroutine is None and not inspect.isawaitable(awaitable):
        raise TypeError(f"{function!r} is no async function: it returned {shown(awaitable)}")
    try:
        return await _unprotected(awaitable)
    finally:
        if coroutine is not None:
            coroutine.close()  # in case Ctrl-C came before it could begin


@trio.lowlevel.disable_ki_protection
async def _unprotected[T](awaitable: Awaitable[T]) -> T:
    return await awaitable
