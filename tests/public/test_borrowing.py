"""Borrowing: the first error of a block is the one that leaves it."""

from typing import Any

import pytest
import trio

from pytofu import AllocationStrategy, Ampe, Holder, Message, MessageReleasedError, borrowed_message
from tests.support import open_app


class OwnError(BaseException):
    """What a block is left by."""


@pytest.mark.parametrize("error", [ValueError("the first"), OwnError(), KeyboardInterrupt()])
async def test_the_first_error_is_not_hidden(error: BaseException) -> None:
    async with open_app() as app:

        def fail(holder: Holder[Message]) -> None:
            app.ampe.put(Holder(holder.unwrap()))  # a second owner
            raise error

        with pytest.raises(type(error)) as caught, borrowed_message(app.ampe) as holder:
            fail(holder)
        assert caught.value is error
        (note,) = error.__notes__
        assert note.startswith("the borrowed message could not be put back: this message was")
        assert error.__context__ is None


async def test_without_another_error_it_is_raised() -> None:
    async with open_app() as app:
        with pytest.raises(MessageReleasedError), borrowed_message(app.ampe) as holder:
            app.ampe.put(Holder(holder.unwrap()))


async def test_a_block_left_in_another_thread_keeps_its_error_too() -> None:
    async with open_app() as app:
        borrowed = borrowed_message(app.ampe)
        borrowed.__enter__()

        def leave() -> None:
            with borrowed_left_by(borrowed):
                raise ValueError("the first")

        with pytest.raises(ValueError, match="the first") as caught:
            await trio.to_thread.run_sync(leave)
        assert (
            "could not be put back: Ampe.put was called in the thread" in caught.value.__notes__[0]
        )
        assert not borrowed.is_empty()
        app.ampe.put(borrowed)


class borrowed_left_by:
    """Leaves what another has entered."""

    def __init__(self, borrowed: borrowed_message) -> None:
        self._borrowed = borrowed

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        self._borrowed.__exit__(*exc)


async def test_what_holds_a_message_cannot_be_entered_again() -> None:
    async with open_app() as app:
        borrowed = borrowed_message(app.ampe)
        with borrowed as holder:
            message = holder.unwrap()
            with pytest.raises(RuntimeError, match=r"borrowed_message holds <Message .*already"):
                borrowed.__enter__()
            assert holder.unwrap() is message
        with borrowed as holder:  # once it is empty it may be
            assert isinstance(holder.unwrap(), Message)


class Noted(borrowed_message):
    """One with something of its own."""

    def __init__(self, ampe: Ampe, note: str) -> None:
        super().__init__(ampe, strategy=AllocationStrategy.POOL_ONLY)
        self.note = note


async def test_it_is_made_with_a_strategy_by_place_or_by_name_and_can_be_subclassed() -> None:
    async with open_app() as app:
        strategy, free = AllocationStrategy.POOL_ONLY, app.ampe.statistics().pool_free
        made = [
            borrowed_message(app.ampe, strategy),
            borrowed_message(app.ampe, strategy=strategy),
            borrowed_message(strategy=strategy, ampe=app.ampe),
            Noted(app.ampe, "seen"),
            borrowed_message(app.ampe),  # which adds to the pool
        ]
        assert all(borrowed.is_empty() for borrowed in made)
        taken = [app.ampe.get() for _ in range(free)]
        lent = []
        for borrowed in made:
            with borrowed as holder:
                lent.append(not holder.is_empty())
        assert lent == [False, False, False, False, True]
        for message in taken:
            app.ampe.put(Holder(message))


@pytest.mark.parametrize("names", [(), ("no",)])
@pytest.mark.parametrize("count", [0, 3])
async def test_it_is_made_with_an_engine_and_at_most_a_strategy(
    count: int, names: tuple[str, ...]
) -> None:
    make: Any = borrowed_message
    async with open_app() as app:
        with pytest.raises(TypeError):
            make(*[app.ampe] * count, **dict.fromkeys(names))
