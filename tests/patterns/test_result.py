import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any, assert_type, cast

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pytofu.patterns.result import (
    OK,
    Err,
    Ok,
    Result,
    ResultUnwrapError,
    catch_or,
    catch_with,
    try_result,
    with_error_propagation,
)
from pytofu.values.status import AmpeError

type Number = Result[int, AmpeError]

errors = st.sampled_from(AmpeError)
results: st.SearchStrategy[Number] = st.one_of(
    st.builds(Ok[int], st.integers()), st.builds(Err[AmpeError], errors)
)


def half(number: int) -> Number:
    return Err(AmpeError.NOT_ALLOWED) if number % 2 else Ok(number // 2)


def less_ten(number: int) -> Number:
    return Ok(number - 10) if number >= 10 else Err(AmpeError.PROCESSING_FAILED)


class TestVariants:
    def test_ok(self) -> None:
        result = Ok(7)
        assert result.is_ok()
        assert not result.is_err()
        assert result.unwrap() == result.value == 7
        assert result.unwrap_or(8) == 7

    def test_err(self) -> None:
        result = Err(AmpeError.POOL_EMPTY)
        assert result.is_err()
        assert not result.is_ok()
        assert result.unwrap_or(8) == 8
        assert result.error is AmpeError.POOL_EMPTY

    def test_unwrap_of_an_err_names_the_error(self) -> None:
        result: Number = Err(AmpeError.POOL_EMPTY)
        with pytest.raises(ResultUnwrapError, match=r"unwrap on Err: .*POOL_EMPTY"):
            result.unwrap()

    def test_frozen_and_slotted(self) -> None:
        for result, name in ((Ok(1), "value"), (Err(1), "error")):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(result, name, 2)
            assert not hasattr(result, "__dict__")

    def test_equality_tells_the_variants_apart(self) -> None:
        assert Ok(1) == Ok(1) != Ok(2)
        assert Err(1) == Err(1) != Err(2)
        assert cast(object, Ok(1)) != Err(1)
        assert len({Ok(1), Ok(1), Err(1)}) == 2

    @given(results)
    def test_pickle_and_copy(self, result: Number) -> None:
        assert pickle.loads(pickle.dumps(result)) == result
        assert copy.copy(result) == copy.deepcopy(result) == result

    def test_the_shared_ok(self) -> None:
        shared: Result[None, AmpeError] = OK
        assert shared == Ok(None)

    def test_match_narrows(self) -> None:
        def name(result: Number) -> str:
            match result:
                case Ok(value):
                    assert_type(value, int)
                    return f"value {value}"
                case Err(AmpeError.POOL_EMPTY):
                    return "empty"
                case Err(error):
                    assert_type(error, AmpeError)
                    return error.name

        assert name(Ok(3)) == "value 3"
        assert name(Err(AmpeError.POOL_EMPTY)) == "empty"
        assert name(Err(AmpeError.SEND_FAILED)) == "SEND_FAILED"

    def test_isinstance_narrows(self) -> None:
        result: Number = half(4)
        if isinstance(result, Err):
            pytest.fail(result.error.name)
        assert_type(result.value, int)

    def test_covariant(self) -> None:
        result = half(4)
        wider: Result[int | None, AmpeError | str] = result
        assert wider is result


class TestLaws:
    @given(st.integers())
    def test_left_identity(self, number: int) -> None:
        assert Ok(number).and_then(half) == half(number)

    @given(results)
    def test_right_identity(self, result: Number) -> None:
        chained = result.and_then(lambda number: Ok(number))
        assert chained == result

    @given(results)
    def test_associativity(self, result: Number) -> None:
        one_by_one = result.and_then(half).and_then(less_ten)
        assert one_by_one == result.and_then(lambda number: half(number).and_then(less_ten))

    @given(results)
    def test_map_keeps_identity_and_composition(self, result: Number) -> None:
        assert result.map(lambda number: number) == result
        text: Result[str, AmpeError] = result.map(abs).map(str)
        assert text == result.map(lambda number: str(abs(number)))

    @given(results)
    def test_map_err_touches_errors_only(self, result: Number) -> None:
        named: Result[int, str] = result.map_err(lambda error: error.name)
        match result:
            case Ok():
                assert named is result
            case Err(error):
                assert named == Err(error.name)

    @given(errors)
    def test_nothing_happens_to_an_err(self, error: AmpeError) -> None:
        result = Err(error)
        assert result.map(pytest.fail) is result
        assert result.and_then(pytest.fail) is result

    @given(results, st.text())
    def test_catch_or_is_unwrap_or(self, result: Number, default: str) -> None:
        caught = catch_or(result, default)
        assert_type(caught, int | str)
        assert caught == result.unwrap_or(default)

    @given(results)
    def test_catch_with(self, result: Number) -> None:
        caught = catch_with(result, lambda error: Err(error.name))
        assert caught == result.map_err(lambda error: error.name)

    def test_catch_with_may_recover(self) -> None:
        def recover(error: AmpeError) -> Result[int | None, AmpeError]:
            return Ok(None) if error is AmpeError.POOL_EMPTY else Err(error)

        assert catch_with(Err(AmpeError.POOL_EMPTY), recover) == OK
        assert catch_with(Err(AmpeError.SEND_FAILED), recover) == Err(AmpeError.SEND_FAILED)
        four = Ok(4)
        assert catch_with(four, recover) is four


@pytest.mark.parametrize(
    "function", [try_result, lambda r: catch_or(r, 1), lambda r: catch_with(r, Err)]
)
def test_what_is_no_result_is_a_bug_not_a_value(function: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="takes a Result, Ok or Err, not NoneType, None"):
        function(None)


@with_error_propagation
def halved_and_less(number: int, *, times: int = 1) -> Number:
    """Halve, then take ten away."""
    for _ in range(times):
        number = try_result(half(number))
        assert_type(number, int)
    return Ok(try_result(less_ten(number)))


@with_error_propagation
async def halved_and_less_async(number: int, *, times: int = 1) -> Number:
    """Halve, then take ten away, with checkpoints."""
    for _ in range(times):
        await trio.lowlevel.checkpoint()
        number = try_result(half(number))
    return Ok(try_result(less_ten(number)))


EXPECTED: list[tuple[int, int, Number]] = [
    (100, 1, Ok(40)),
    (100, 2, Ok(15)),
    (100, 3, Err(AmpeError.NOT_ALLOWED)),
    (12, 1, Err(AmpeError.PROCESSING_FAILED)),
]


class TestPropagation:
    @pytest.mark.parametrize(("number", "times", "expected"), EXPECTED)
    def test_plain(self, number: int, times: int, expected: Number) -> None:
        result = halved_and_less(number, times=times)
        assert_type(result, Result[int, AmpeError])
        assert result == expected

    @pytest.mark.parametrize(("number", "times", "expected"), EXPECTED)
    async def test_async(self, number: int, times: int, expected: Number) -> None:
        result = await halved_and_less_async(number, times=times)
        assert_type(result, Result[int, AmpeError])
        assert result == expected

    def test_name_docstring_and_signature_stay(self) -> None:
        assert halved_and_less.__name__ == "halved_and_less"
        assert halved_and_less.__doc__ == "Halve, then take ten away."
        assert list(inspect.signature(halved_and_less).parameters) == ["number", "times"]
        assert not inspect.iscoroutinefunction(halved_and_less)
        assert halved_and_less_async.__name__ == "halved_and_less_async"
        assert inspect.iscoroutinefunction(halved_and_less_async)

    def test_methods(self) -> None:
        class Counter:
            start = 20

            @with_error_propagation
            def next(self, step: int) -> Number:
                return Ok(self.start + try_result(half(step)))

        assert Counter().next(4) == Ok(22)
        assert Counter().next(3) == Err(AmpeError.NOT_ALLOWED)

    def test_an_inner_error_does_not_leak_through_the_outer_function(self) -> None:
        seen: list[Number] = []

        @with_error_propagation
        def outer() -> Number:
            seen.append(halved_and_less(3))
            return Ok(1)

        assert outer() == Ok(1)
        assert seen == [Err(AmpeError.NOT_ALLOWED)]

    def test_each_level_may_change_the_error(self) -> None:
        @with_error_propagation
        def outer(number: int) -> Result[int, str]:
            return Ok(try_result(halved_and_less(number).map_err(lambda error: error.name)))

        assert outer(3) == Err("NOT_ALLOWED")
        assert outer(100) == Ok(40)

    async def test_plain_inside_async(self) -> None:
        @with_error_propagation
        async def outer(number: int) -> Number:
            await trio.lowlevel.checkpoint()
            return Ok(try_result(halved_and_less(number)) + 1)

        assert await outer(100) == Ok(41)
        assert await outer(3) == Err(AmpeError.NOT_ALLOWED)

    def test_the_nearest_decorated_function_takes_the_error(self) -> None:
        def undecorated(number: int) -> int:
            return try_result(half(number))

        @with_error_propagation
        def inner(number: int) -> Number:
            return Ok(undecorated(number))

        @with_error_propagation
        def outer(number: int) -> Result[bool, AmpeError]:
            return Ok(inner(number).is_err())

        assert outer(3) == Ok(True)
        assert outer(4) == Ok(False)

    def test_without_the_decorator_the_exception_says_so(self) -> None:
        def forgotten() -> Number:
            return Ok(try_result(half(3)))

        with pytest.raises(Exception, match=r"NOT_ALLOWED.*@with_error_propagation") as raised:
            forgotten()
        assert type(raised.value).__module__ == "pytofu.patterns.result"
        copied = pickle.loads(pickle.dumps(raised.value))
        assert str(copied) == str(raised.value)
        assert copied.error is AmpeError.NOT_ALLOWED

    def test_other_exceptions_pass(self) -> None:
        @with_error_propagation
        def broken() -> Number:
            raise KeyError("bug")

        with pytest.raises(KeyError, match="bug"):
            broken()

    async def test_cancellation_passes(self) -> None:
        @with_error_propagation
        async def endless() -> Number:
            await trio.Event().wait()
            return Ok(1)

        with trio.move_on_after(0) as scope:
            await endless()
        assert scope.cancelled_caught
