import inspect
from typing import assert_type

import pytest
import trio
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pytofu.public.borrowing import borrowed_message, with_pool_message
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.errors import NullMessageException, ShutdownException
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.status import AmpeError


class FakeAmpe:
    """A pool of a fixed number of messages, which says what was put back."""

    def __init__(self, pooled: int = 1, *, shut_down: bool = False) -> None:
        self.pooled = pooled
        self.shut_down = shut_down
        self.asked: list[AllocationStrategy] = []
        self.back: list[Message] = []

    def get(self, strategy: AllocationStrategy = AllocationStrategy.ALWAYS) -> Message | None:
        self.asked.append(strategy)
        if self.shut_down:
            raise ShutdownException(AmpeError.SHUTDOWN_STARTED)
        if not self.pooled and strategy is AllocationStrategy.POOL_ONLY:
            return None
        self.pooled -= 1
        return Message()

    def put(self, holder: Holder[Message]) -> None:
        message = holder.take()
        if message is not None:
            self.back.append(message)


class TestHolder:
    def test_empty(self) -> None:
        holder = Holder[int]()
        assert holder.is_empty()
        assert holder.value is None
        assert holder.take() is None

    def test_take_invalidates(self) -> None:
        holder = Holder(7)
        assert not holder.is_empty()
        assert holder.value == 7
        taken = holder.take()
        assert_type(taken, int | None)
        assert taken == 7
        assert holder.is_empty()
        assert holder.take() is None

    def test_set_and_clear(self) -> None:
        holder = Holder(7)
        holder.set(8)
        assert holder.value == 8
        holder.clear()
        assert holder.is_empty()
        holder.set(9)
        holder.set(None)
        assert holder.is_empty()

    @pytest.mark.parametrize("value", [0, "", b"", False])
    def test_false_values_are_values(self, value: object) -> None:
        holder = Holder(value)
        assert not holder.is_empty()
        assert holder.take() is value

    def test_nothing_can_be_added(self) -> None:
        holder = Holder(7)
        with pytest.raises(AttributeError):
            holder.other = 8  # type: ignore[attr-defined]
        assert Holder.__slots__ == ("_value",)

    def test_repr(self) -> None:
        assert repr(Holder("x")) == "<Holder of 'x'>"
        assert repr(Holder[str]()) == "<Holder, empty>"


class OneOwner(RuleBasedStateMachine):
    """A value handed from holder to holder is in exactly one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.value = object()
        self.holders = [Holder(self.value), Holder[object](), Holder[object]()]

    @rule()
    def hand_on(self) -> None:
        owner = next(i for i, holder in enumerate(self.holders) if not holder.is_empty())
        self.holders[(owner + 1) % len(self.holders)].set(self.holders[owner].take())

    @rule()
    def take_from_the_empty_ones(self) -> None:
        assert [holder.take() for holder in self.holders if holder.is_empty()] == [None, None]

    @invariant()
    def exactly_one_has_it(self) -> None:
        assert [holder.value for holder in self.holders].count(self.value) == 1


TestOneOwner = OneOwner.TestCase


class TestBorrowedMessage:
    def test_goes_back(self) -> None:
        ampe = FakeAmpe()
        with borrowed_message(ampe) as holder:
            assert_type(holder, Holder[Message])
            message = holder.value
            assert message is not None
            assert ampe.back == []
        assert ampe.back == [message]
        assert holder.is_empty()
        assert ampe.asked == [AllocationStrategy.ALWAYS]

    def test_what_was_given_away_does_not(self) -> None:
        ampe = FakeAmpe()
        with borrowed_message(ampe) as holder:
            holder.clear()
        assert ampe.back == []

    def test_pool_only_may_give_an_empty_holder(self) -> None:
        ampe = FakeAmpe(pooled=0)
        with borrowed_message(ampe, AllocationStrategy.POOL_ONLY) as holder:
            assert holder.is_empty()
        assert ampe.back == []

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_goes_back_on_an_exception_which_passes(self, error: type[BaseException]) -> None:
        ampe = FakeAmpe()
        with pytest.raises(error), borrowed_message(ampe):
            raise error
        assert len(ampe.back) == 1

    async def test_goes_back_on_cancellation(self) -> None:
        ampe = FakeAmpe()
        with trio.move_on_after(0) as scope, borrowed_message(ampe):
            await trio.Event().wait()
        assert scope.cancelled_caught
        assert len(ampe.back) == 1

    def test_an_error_of_get_passes_and_puts_nothing_back(self) -> None:
        ampe = FakeAmpe(shut_down=True)
        with pytest.raises(ShutdownException), borrowed_message(ampe):
            pytest.fail("entered")
        assert ampe.back == []


class Handler:
    def __init__(self, ampe: FakeAmpe) -> None:
        self.ampe = ampe
        self.seen: Message | None = None

    @with_pool_message
    def process(self, holder: Holder[Message], size: int, *, keep: bool = False) -> int:
        """Process plainly."""
        self.seen = holder.take() if keep else holder.value
        return 100 // size

    @with_pool_message
    async def process_async(self, holder: Holder[Message], size: int, *, keep: bool = False) -> int:
        """Process with a checkpoint."""
        self.seen = holder.take() if keep else holder.value
        await trio.lowlevel.checkpoint()
        return 100 // size


class TestWithPoolMessage:
    async def test_goes_back(self) -> None:
        handler = Handler(FakeAmpe())
        result = handler.process(5)
        assert_type(result, int)
        assert result == 20
        assert handler.ampe.back == [handler.seen]
        result = await handler.process_async(size=4)
        assert_type(result, int)
        assert result == 25
        assert handler.ampe.back[1:] == [handler.seen]
        assert handler.ampe.asked == [AllocationStrategy.ALWAYS] * 2

    async def test_what_was_given_away_does_not(self) -> None:
        handler = Handler(FakeAmpe())
        handler.process(5, keep=True)
        await handler.process_async(5, keep=True)
        assert handler.seen is not None
        assert handler.ampe.back == []

    async def test_goes_back_on_an_exception_which_passes(self) -> None:
        handler = Handler(FakeAmpe())
        with pytest.raises(ZeroDivisionError):
            handler.process(0)
        with pytest.raises(ZeroDivisionError):
            await handler.process_async(0)
        assert len(handler.ampe.back) == 2

    async def test_async_keeps_it_until_the_end_and_gives_it_back_on_cancellation(self) -> None:
        handler = Handler(FakeAmpe())
        with trio.CancelScope() as scope:
            scope.cancel()
            await handler.process_async(5)
        assert scope.cancelled_caught
        assert handler.ampe.back == [handler.seen]

    async def test_an_error_of_get_passes(self) -> None:
        handler = Handler(FakeAmpe(shut_down=True))
        with pytest.raises(ShutdownException):
            handler.process(5)
        with pytest.raises(ShutdownException):
            await handler.process_async(5)
        assert handler.ampe.back == []

    def test_name_and_docstring_stay(self) -> None:
        assert Handler.process.__name__ == "process"
        assert Handler.process.__doc__ == "Process plainly."
        assert Handler.process_async.__name__ == "process_async"
        assert inspect.iscoroutinefunction(Handler.process_async)
        assert not inspect.iscoroutinefunction(Handler.process)


def test_unwrap_gives_the_value_and_keeps_it() -> None:
    holder = Holder("value")
    assert holder.unwrap() == "value"
    assert holder.value == "value"


def test_unwrap_of_an_empty_holder_raises() -> None:
    holder: Holder[str] = Holder()
    with pytest.raises(NullMessageException):
        holder.unwrap()
