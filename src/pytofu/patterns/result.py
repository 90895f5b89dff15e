"""Errors as values: `Result[T, E]` is `Ok[T]` or `Err[E]`.

Inside the library a function that can fail returns a `Result`; exceptions are for callers
outside (see `pytofu.public.boundary`). Take a result apart with `match`, which type checkers
narrow::

    match result:
        case Ok(value):
            ...
        case Err(error):
            ...

Source: pattern guide, section 11.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, Generic, Literal, Never, TypeVar, cast, overload

import attrs

from pytofu.patterns.arguments import must_be_callable, wrong_type

# Old-style and explicit: a Result[int, E] has to be a Result[int | None, E] too, and the variance
# of an attrs class is not inferred right everywhere (mypy; pyright on Python 3.13 and later).
_T_co = TypeVar("_T_co", covariant=True)
_E_co = TypeVar("_E_co", covariant=True)


class ResultUnwrapError(Exception):
    """`unwrap()` was called on an `Err`: a bug. Source: pattern guide, section 11."""


@attrs.frozen
class Ok(Generic[_T_co]):  # noqa: UP046
    """The success variant of a `Result`. Source: pattern guide, section 11."""

    value: _T_co

    def is_ok(self) -> Literal[True]:
        """Return True. Does not narrow for type checkers: use `match` or `isinstance`."""
        return True

    def is_err(self) -> Literal[False]:
        """Return False. Does not narrow for type checkers: use `match` or `isinstance`."""
        return False

    def unwrap(self) -> _T_co:
        """Return the value."""
        return self.value

    def unwrap_or(self, default: object) -> _T_co:
        """Return the value; the default is not needed."""
        return self.value

    def map[U](self, func: Callable[[_T_co], U]) -> "Ok[U]":
        """Return `Ok(func(value))`."""
        return Ok(func(self.value))

    def map_err(self, func: Callable[[Any], object]) -> "Ok[_T_co]":
        """Return this result; there is no error to map."""
        return self

    def and_then[U, F](self, func: "Callable[[_T_co], Result[U, F]]") -> "Result[U, F]":
        """Return `func(value)`, the next step, which may itself fail."""
        return func(self.value)


@attrs.frozen
class Err(Generic[_E_co]):  # noqa: UP046
    """The error variant of a `Result`. Source: pattern guide, section 11."""

    error: _E_co

    def is_ok(self) -> Literal[False]:
        """Return False. Does not narrow for type checkers: use `match` or `isinstance`."""
        return False

    def is_err(self) -> Literal[True]:
        """Return True. Does not narrow for type checkers: use `match` or `isinstance`."""
        return True

    def unwrap(self) -> Never:
        """Raise `ResultUnwrapError` naming the error."""
        raise ResultUnwrapError(f"Called unwrap on Err: {self.error!r}")

    def unwrap_or[D](self, default: D) -> D:
        """Return the default."""
        return default

    def map(self, func: Callable[[Any], object]) -> "Err[_E_co]":
        """Return this result; there is no value to map."""
        return self

    def map_err[F](self, func: Callable[[_E_co], F]) -> "Err[F]":
        """Return `Err(func(error))`."""
        return Err(func(self.error))

    def and_then(self, func: Callable[[Any], object]) -> "Err[_E_co]":
        """Return this result; there is no next step after an error."""
        return self


type Result[T, E] = Ok[T] | Err[E]
"""A success value or an error value. Source: pattern guide, section 11."""

OK: Final[Ok[None]] = Ok(None)
"""The one `Ok(None)`, shared so that success without a value costs no allocation."""


def no_result(what: str, given: Never) -> TypeError:
    """The exception for something that is neither `Ok` nor `Err`; typed to be unreachable."""
    return wrong_type(what, "a Result, Ok or Err", given)


class _PropagateError(Exception):
    """Carries an error from `try_result` up to the nearest `with_error_propagation`.

    Seen by anyone else, it means that the decorator is missing: its text says so.
    """

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error
        super().__init__(error)

    def __str__(self) -> str:
        return (
            f"try_result() met Err({self.error!r}) outside a function decorated "
            "with @with_error_propagation"
        )


def try_result[T](result: Result[T, object]) -> T:
    """Return the value of an `Ok`; make the enclosing function return an `Err`.

    Zig's `try`. The enclosing function has to be decorated with `with_error_propagation`;
    otherwise an internal exception that says so escapes. It travels as an exception, which
    costs time: on a hot path write the `match` out. Use it in the decorated function itself,
    not in a task which that function starts (a nursery would wrap it into a group).
    Source: pattern guide, section 11 (error propagation).
    """
    match result:
        case Ok(value):
            return value
        case Err(error):
            raise _PropagateError(error)
        case _:
            raise no_result("try_result", result)


@overload
def with_error_propagation[**P, T, E](
    func: Callable[P, Coroutine[Any, Any, Result[T, E]]],
) -> Callable[P, Coroutine[Any, Any, Result[T, E]]]: ...
@overload
def with_error_propagation[**P, T, E](
    func: Callable[P, Result[T, E]],
) -> Callable[P, Result[T, E]]: ...
def with_error_propagation(func: Callable[..., Any]) -> Callable[..., Any]:
    """Let `try_result` work in the decorated function, which may be plain or async.

    The error of a failed `try_result` becomes the function's own `Err(error)`; all other
    exceptions, cancellation among them, pass untouched. The nearest decorated function on the
    call stack takes the error. Source: pattern guide, section 11 (error propagation).
    """
    must_be_callable("with_error_propagation", func)
    if inspect.iscoroutinefunction(func):
        async_func = cast("Callable[..., Coroutine[Any, Any, Any]]", func)

        @wraps(func)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return await async_func(*args, **kwargs)
            except _PropagateError as failure:
                return Err(failure.error)

        return async_wrapper

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except _PropagateError as failure:
            return Err(failure.error)

    return wrapper


def catch_or[T, D](result: Result[T, object], default: D) -> T | D:
    """Return the value of an `Ok`, or the default. Zig's `expr catch default`.

    Source: pattern guide, section 11 (error handling).
    """
    match result:
        case Ok(value):
            return value
        case Err():
            return default
        case _:
            raise no_result("catch_or", result)


def catch_with[T, U, E, F](
    result: Result[T, E], handler: Callable[[E], Result[U, F]]
) -> Result[T | U, F]:
    """Return an `Ok` as it is; give the error of an `Err` to the handler and return its result.

    Zig's `expr catch |err| { ... }`. Source: pattern guide, section 11 (error handling).
    """
    match result:
        case Ok():
            return result
        case Err(error):
            return handler(error)
        case _:
            raise no_result("catch_with", result)
