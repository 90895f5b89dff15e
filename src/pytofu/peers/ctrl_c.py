"""Ctrl-C is for the program's own functions: it is not raised in the middle of what peers do.

KeyboardInterrupt in the midst of starting a task or of counting what is under way would leave that
half done, and Trio's own books as well. So everything that programs call here is `protected`, and
so are the tasks; then Trio raises it in the main task, at its next checkpoint. The functions that
a program gives are run as they would be without us.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
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
    program = started(function, *args)
    try:
        return await unprotected(program)
    finally:
        program.close()  # in case Ctrl-C came before it could begin


def started[*Ts, T](
    function: Callable[[*Ts], Awaitable[T]], *args: *Ts
) -> Coroutine[object, object, T]:
    """A function of the program's, for `unprotected`. Raises `TypeError` if it is not async.

    The coroutine is to be closed: Ctrl-C may come before it can begin.
    """
    return coroutine_of(function, function(*args))


def coroutine_of[T](
    function: Callable[..., Awaitable[T]], awaitable: Awaitable[T]
) -> Coroutine[object, object, T]:
    """What the function has returned, as a coroutine. Raises as `started`."""
    if inspect.iscoroutine(awaitable):
        return awaitable
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"{function!r} is no async function: it returned {shown(awaitable)}")
    return _waiting_for(awaitable)


async def _waiting_for[T](awaitable: Awaitable[T]) -> T:
    return await awaitable


@trio.lowlevel.disable_ki_protection
async def unprotected[T](program: Coroutine[object, object, T]) -> T:
    """Run what the program has written, where Ctrl-C may be raised."""
    return await program
