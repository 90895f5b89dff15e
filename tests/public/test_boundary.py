import inspect
from typing import assert_type

import pytest
import trio

from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.public.boundary import public_api
from pytofu.values.errors import EXCEPTIONS, AmpeException, PoolEmptyException
from pytofu.values.status import AmpeError


@public_api
def length(text: str, *, least: int = 0) -> Result[int, AmpeError]:
    """The length of a text."""
    return Ok(len(text)) if len(text) >= least else Err(AmpeError.POOL_EMPTY)


@public_api
async def length_async(text: str, *, least: int = 0) -> Result[int, AmpeError]:
    """The length of a text, with a checkpoint."""
    await trio.lowlevel.checkpoint()
    return Ok(len(text)) if len(text) >= least else Err(AmpeError.POOL_EMPTY)


class Service:
    def __init__(self, error: AmpeError | None) -> None:
        self._error = error

    @public_api
    def check(self) -> Result[None, AmpeError]:
        return OK if self._error is None else Err(self._error)

    @public_api
    async def check_async(self) -> Result[None, AmpeError]:
        await trio.lowlevel.checkpoint()
        return OK if self._error is None else Err(self._error)

    @classmethod
    @public_api
    def named(cls, name: str) -> Result[str, AmpeError]:
        return Ok(f"{cls.__name__} {name}")


def test_plain_function() -> None:
    value = length("four", least=3)
    assert_type(value, int)
    assert value == 4
    with pytest.raises(PoolEmptyException):
        length("four", least=5)


async def test_async_function() -> None:
    value = await length_async("four", least=3)
    assert_type(value, int)
    assert value == 4
    with pytest.raises(PoolEmptyException):
        await length_async("four", least=5)


async def test_methods() -> None:
    fine, broken = Service(None), Service(AmpeError.SEND_FAILED)
    fine.check()
    await fine.check_async()
    with pytest.raises(AmpeException, match="SEND_FAILED"):
        broken.check()
    with pytest.raises(AmpeException, match="SEND_FAILED"):
        await broken.check_async()
    assert Service.named("one") == "Service one"


@pytest.mark.parametrize("error", AmpeError, ids=lambda error: error.name)
async def test_every_error_is_raised_as_its_own_exception(error: AmpeError) -> None:
    service = Service(error)
    with pytest.raises(EXCEPTIONS[error]) as raised:
        service.check()
    assert type(raised.value) is EXCEPTIONS[error]
    assert raised.value.error_code is error
    assert raised.value.__context__ is None
    with pytest.raises(EXCEPTIONS[error]):
        await service.check_async()


def test_name_docstring_and_signature_stay() -> None:
    for function, name in ((length, "length"), (length_async, "length_async")):
        assert function.__name__ == name
        assert (function.__doc__ or "").startswith("The length of a text")
        assert str(inspect.signature(function)).startswith("(text: str, *, least: int = 0)")
    assert Service.check.__qualname__ == "Service.check"
    assert inspect.iscoroutinefunction(length_async)
    assert not inspect.iscoroutinefunction(length)


async def test_other_exceptions_and_cancellation_pass() -> None:
    @public_api
    def broken() -> Result[int, AmpeError]:
        raise KeyError("bug")

    @public_api
    async def endless() -> Result[int, AmpeError]:
        await trio.Event().wait()
        return Ok(1)

    with pytest.raises(KeyError, match="bug"):
        broken()
    with trio.move_on_after(0) as scope:
        await endless()
    assert scope.cancelled_caught


def test_a_function_that_returns_no_result_is_a_bug() -> None:
    @public_api
    def forgotten() -> Result[int, AmpeError]:
        return 3  # type: ignore[return-value]

    with pytest.raises(TypeError, match="takes a Result, Ok or Err, not int, 3"):
        forgotten()
