"""Borrowing: a message for the length of a block or a call, which goes back at its end.

Source: pattern guide, sections 8 (ownership transfer) and 9 (deferred cleanup).
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, cast

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import must_be_callable, wrong_type
from pytofu.public.interfaces import MessageSource
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.holder import Holder
from pytofu.values.message import Message


class borrowed_message(Holder[Message]):  # reads as the function that it is for its users
    """Borrow a message for a `with` block; what is left in the holder goes back at its end.

    The holder is empty from the start if the pool is and the strategy is POOL_ONLY. Posting it
    inside the block gives the message away: there is then nothing to go back. Entering raises
    what `ampe.get` raises. An exception of the block leaves it as itself; that the message could
    not be put back as well is a note to it. Zig's `get` with `defer put`. Source: pattern guide,
    section 8.
    """

    # Entered once a message, and a class costs less than half of a @contextmanager generator.
    __slots__ = ("_ampe", "_strategy")

    def __init__(
        self, ampe: MessageSource, strategy: AllocationStrategy = AllocationStrategy.ALWAYS
    ) -> None:
        self._value = None
        self._ampe = ampe
        self._strategy = strategy

    def __enter__(self) -> Holder[Message]:
        if self._value is not None:
            raise RuntimeError(
                f"borrowed_message holds {self._value!r} already: enter another one, "
                "with borrowed_message(ampe) as holder"
            )
        try:
            get = self._ampe.get
            _ = self._ampe.put  # a dict has the other one, too
        except AttributeError:
            raise wrong_type("borrowed_message", "an Ampe", self._ampe) from None
        self._value = get(self._strategy)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: object
    ) -> None:
        if self._value is None:
            return
        try:
            self._ampe.put(self)
        except Exception as error:
            if exc is None:
                raise
            exc.add_note(f"the borrowed message could not be put back: {error}")


if compiled and not TYPE_CHECKING:  # the class is Python's: it inherits from one that is
    borrowed_message.__enter__ = twin(borrowed_message.__enter__)
    borrowed_message.__exit__ = twin(borrowed_message.__exit__)


class HasAmpe(Protocol):
    """An object with an engine in its attribute `ampe`. Source: pattern guide, section 9."""

    @property
    def ampe(self) -> MessageSource:
        """Where messages come from."""
        ...


def with_pool_message[S: HasAmpe, **P, R](
    method: Callable[Concatenate[S, Holder[Message], P], R],
) -> Callable[Concatenate[S, P], R]:
    """Call a method with a borrowed message, in a holder, as its first argument.

    The message comes from `self.ampe`; what is left in the holder goes back when the method,
    plain or async, has ended in whatever way, cancellation included. Calling it raises what
    `ampe.get` raises. Source: pattern guide, section 9 (decorator).
    """
    must_be_callable("with_pool_message", method)
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def async_wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Any:
            with borrowed_message(self.ampe) as holder:
                return await cast("Awaitable[Any]", method(self, holder, *args, **kwargs))

        return cast("Callable[Concatenate[S, P], R]", async_wrapper)

    @wraps(method)
    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with borrowed_message(self.ampe) as holder:
            return method(self, holder, *args, **kwargs)

    return wrapper
