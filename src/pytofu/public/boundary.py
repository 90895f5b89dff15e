"""The boundary: inside errors are values, outside they are exceptions.

Source: pattern guide, section 12.
"""

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, cast, overload

from pytofu.patterns.arguments import must_be_callable
from pytofu.patterns.result import Err, Ok, Result, no_result
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError


@overload
def public_api[**P, T](
    func: Callable[P, Coroutine[Any, Any, Result[T, AmpeError]]],
) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def public_api[**P, T](func: Callable[P, Result[T, AmpeError]]) -> Callable[P, T]: ...
def public_api(func: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that returns a `Result` return the value or raise the error.

    `Ok(value)` is returned as `value`; `Err(error)` is raised as the `AmpeException` of that
    error (`AmpeException.from_error`). For plain and async functions and methods; name,
    docstring and signature stay. Exceptions of the function itself, cancellation among them,
    pass untouched. Source: pattern guide, section 12 (boundary decorator).
    """
    must_be_callable("public_api", func)
    if inspect.iscoroutinefunction(func):
        async_func = cast("Callable[..., Coroutine[Any, Any, Any]]", func)

        @wraps(func)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            return _value_or_raise(await async_func(*args, **kwargs))

        return async_wrapper

    @wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _value_or_raise(func(*args, **kwargs))

    return wrapper


def _value_or_raise[T](result: Result[T, AmpeError]) -> T:
    match result:
        case Ok(value):
            return value
        case Err(error):
            raise AmpeException.from_error(error)
        case _:
            raise no_result("public_api", result)
