"""Borrowing: the first error of a block is the one that leaves it."""

from typing import Any

import pytest
import trio

from pytofu import Holder, Message, MessageReleasedError, borrowed_message
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
