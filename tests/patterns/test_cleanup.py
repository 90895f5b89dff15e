# ruff: noqa: PT012 (what is tested is a whole block and how it is left)
import functools
import logging
from collections.abc import Callable

import pytest
import trio

from pytofu.patterns.cleanup import ErrDefer, log_on_error


class Interrupted(BaseException):
    """Stands for what is no Exception and must never be swallowed."""


class Log:
    """Registers as plain and as async cleanups, and says in which order they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def plain(self, name: str, *, error: BaseException | None = None) -> None:
        self.ran.append(name)
        if error is not None:
            raise error

    async def waiting(self, name: str, *, error: BaseException | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.plain(name, error=error)


@pytest.fixture
def log() -> Log:
    return Log()


def fail(error: BaseException) -> None:
    raise error


class TestPlain:
    def test_last_one_first_on_an_exception(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"), ErrDefer() as cleanup:
            cleanup.register(log.plain, "first")
            cleanup.register(log.plain, name="second")
            fail(ValueError("why"))
        assert log.ran == ["second", "first"]

    def test_only_what_was_registered_before(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"), ErrDefer() as cleanup:
            cleanup.register(log.plain, "before")
            fail(ValueError("why"))
            cleanup.register(log.plain, "after")
        assert log.ran == ["before"]

    def test_nothing_on_a_normal_end(self, log: Log) -> None:
        with ErrDefer() as cleanup:
            cleanup.register(log.plain, "never")
        assert log.ran == []

    def test_nothing_on_return(self, log: Log) -> None:
        def create() -> int:
            with ErrDefer() as cleanup:
                cleanup.register(log.plain, "never")
                return 3

        assert create() == 3
        assert log.ran == []

    def test_success_hands_over(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"), ErrDefer() as cleanup:
            cleanup.register(log.plain, "handed over")
            cleanup.success()
            cleanup.register(log.plain, "acquired later")
            fail(ValueError("why"))
        assert log.ran == ["acquired later"]

    def test_no_exception_is_suppressed(self) -> None:
        assert ErrDefer().__exit__(ValueError, ValueError(), None) is None  # type: ignore[func-returns-value]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(), GeneratorExit()])
    def test_any_exception_counts(self, log: Log, error: BaseException) -> None:
        with pytest.raises(type(error)), ErrDefer() as cleanup:
            cleanup.register(log.plain, "ran")
            fail(error)
        assert log.ran == ["ran"]

    def test_nested(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"), ErrDefer() as outer:
            outer.register(log.plain, "outer")
            with ErrDefer() as inner:
                inner.register(log.plain, "inner, done")
            with ErrDefer() as inner:
                inner.register(log.plain, "inner")
                fail(ValueError("why"))
        assert log.ran == ["inner", "outer"]

    def test_used_again_it_starts_empty(self, log: Log) -> None:
        cleanup = ErrDefer()
        with cleanup:
            cleanup.register(log.plain, "of the first block")
        for _ in range(2):
            with pytest.raises(ValueError, match="why"), cleanup:
                cleanup.register(log.plain, "of its own block")
                fail(ValueError("why"))
        assert log.ran == ["of its own block"] * 2

    def test_a_failing_cleanup_is_logged_and_masks_nothing(
        self, log: Log, caplog: pytest.LogCaptureFixture
    ) -> None:
        original = ValueError("why")
        with pytest.raises(ValueError, match="why") as raised, ErrDefer() as cleanup:
            cleanup.register(log.plain, "first")
            cleanup.register(log.plain, "second", error=OSError("cleanup broke"))
            cleanup.register(log.plain, "third")
            fail(original)
        assert raised.value is original
        assert log.ran == ["third", "second", "first"]
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("pytofu.patterns.cleanup", logging.ERROR)
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "cleanup broke"

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), Interrupted()])
    def test_what_is_no_exception_is_raised_after_the_rest_has_run(
        self, log: Log, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        original = ValueError("why")
        with pytest.raises(type(error)) as raised, ErrDefer() as cleanup:
            cleanup.register(log.plain, "first")
            cleanup.register(log.plain, "second", error=error)
            fail(original)
        assert raised.value is error
        assert raised.value.__context__ is original
        assert log.ran == ["second", "first"]
        assert caplog.records == []

    def test_several_of_them_come_as_a_group(self, log: Log) -> None:
        errors = [KeyboardInterrupt(), Interrupted()]
        with pytest.raises(BaseExceptionGroup) as raised, ErrDefer() as cleanup:
            for error in reversed(errors):
                cleanup.register(log.plain, "ran", error=error)
            fail(ValueError("why"))
        assert list(raised.value.exceptions) == errors
        assert log.ran == ["ran", "ran"]

    @pytest.mark.parametrize("wrap", [lambda func: func, functools.partial])
    def test_async_cleanups_are_refused(
        self, log: Log, wrap: Callable[[Callable[..., object]], Callable[..., object]]
    ) -> None:
        with pytest.raises(TypeError, match="async with"), ErrDefer() as cleanup:
            cleanup.register(log.plain, "first")
            cleanup.register(wrap(log.waiting), "never")
        assert log.ran == ["first"]


class TestAsync:
    async def test_plain_and_async_last_one_first(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"):
            async with ErrDefer() as cleanup:
                cleanup.register(log.plain, "first")
                cleanup.register(log.waiting, "second")
                cleanup.register(log.plain, name="third")
                fail(ValueError("why"))
        assert log.ran == ["third", "second", "first"]

    async def test_nothing_on_a_normal_end(self, log: Log) -> None:
        async with ErrDefer() as cleanup:
            cleanup.register(log.waiting, "never")
        assert log.ran == []

    async def test_success_hands_over(self, log: Log) -> None:
        with pytest.raises(ValueError, match="why"):
            async with ErrDefer() as cleanup:
                cleanup.register(log.waiting, "handed over")
                cleanup.success()
                fail(ValueError("why"))
        assert log.ran == []

    async def test_registered_before_it_was_entered(self, log: Log) -> None:
        cleanup = ErrDefer()
        cleanup.register(log.waiting, "ran")
        with pytest.raises(ValueError, match="why"):
            async with cleanup:
                fail(ValueError("why"))
        assert log.ran == ["ran"]

    async def test_a_failing_cleanup_is_logged_and_masks_nothing(
        self, log: Log, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(ValueError, match="why"):
            async with ErrDefer() as cleanup:
                cleanup.register(log.waiting, "first")
                cleanup.register(log.waiting, "second", error=OSError("cleanup broke"))
                cleanup.register(log.plain, "third", error=OSError("this one too"))
                fail(ValueError("why"))
        assert log.ran == ["third", "second", "first"]
        assert len(caplog.records) == 2

    async def test_cancellation_runs_cleanups_and_goes_on(self, log: Log) -> None:
        with trio.move_on_after(0) as scope:
            async with ErrDefer() as cleanup:
                cleanup.register(log.plain, "ran")
                await trio.Event().wait()
        assert scope.cancelled_caught
        assert log.ran == ["ran"]

    async def test_a_cancelled_cleanup_is_not_swallowed_and_the_rest_runs(
        self, log: Log, caplog: pytest.LogCaptureFixture
    ) -> None:
        with trio.CancelScope() as scope:
            async with ErrDefer() as cleanup:
                cleanup.register(log.plain, "plain")
                cleanup.register(log.waiting, "not shielded")
                scope.cancel()
                fail(ValueError("why"))
        assert scope.cancelled_caught
        assert log.ran == ["plain"]
        assert caplog.records == []

    async def test_several_cancelled_cleanups_are_one_cancellation(self, log: Log) -> None:
        with trio.CancelScope() as scope:
            async with ErrDefer() as cleanup:
                cleanup.register(log.waiting, "not shielded")
                cleanup.register(log.waiting, "not shielded either")
                scope.cancel()
                await trio.Event().wait()
        assert scope.cancelled_caught
        assert log.ran == []

    async def test_an_interrupt_beside_a_cancellation_survives(self, log: Log) -> None:
        with pytest.raises(BaseExceptionGroup) as raised, trio.CancelScope() as scope:
            async with ErrDefer() as cleanup:
                cleanup.register(log.waiting, "not shielded")
                cleanup.register(log.plain, "ran", error=Interrupted())
                scope.cancel()
                fail(ValueError("why"))
        assert [type(error) for error in raised.value.exceptions] == [Interrupted]
        assert log.ran == ["ran"]

    async def test_a_shielded_cleanup_may_wait(self, log: Log) -> None:
        async def shielded() -> None:
            with trio.CancelScope(shield=True):
                await log.waiting("shielded")

        with trio.move_on_after(0) as scope:
            async with ErrDefer() as cleanup:
                cleanup.register(shielded)
                await trio.Event().wait()
        assert scope.cancelled_caught
        assert log.ran == ["shielded"]


class TestLogOnError:
    def test_logs_and_passes_on(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(ValueError, match="why"), log_on_error("illegal", header=7, size=0):
            fail(ValueError("why"))
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("pytofu.patterns.cleanup", logging.ERROR)
        assert record.getMessage() == "illegal: {'header': 7, 'size': 0}, error=why"

    def test_silent_without_an_error(self, caplog: pytest.LogCaptureFixture) -> None:
        with log_on_error("illegal", header=7):
            pass
        assert caplog.records == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted()])
    def test_silent_about_interrupts(
        self, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        with pytest.raises(type(error)), log_on_error("illegal"):
            fail(error)
        assert caplog.records == []

    async def test_silent_about_cancellation(self, caplog: pytest.LogCaptureFixture) -> None:
        with trio.move_on_after(0) as scope, log_on_error("illegal"):
            await trio.Event().wait()
        assert scope.cancelled_caught
        assert caplog.records == []
