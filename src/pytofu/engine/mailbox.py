"""The mailbox: a memory channel with interrupt, timeout and close (pattern guide, section 6)."""

import math
from _thread import get_ident
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto

import trio

from pytofu.patterns.arguments import seconds
from pytofu.patterns.result import OK, Err, Ok, Result


class MailBoxStatus(Enum):
    """Why a mailbox did not do what was asked."""

    TIMEOUT = auto()
    INTERRUPTED = auto()
    CLOSED = auto()


class MailBox[T]:
    """An unbounded queue with any number of senders and receivers.

    Unbounded, because sending must never wait: what fills it is bounded elsewhere (received
    messages by the pool, the engine's own by the number of channels and posts).

    The memory channel carries wake-ups, the items wait beside it. What a memory channel hands to
    a waiting task is in nobody's hands until that task runs: another receiver could not take it,
    and `close` could not hand it back.
    """

    __slots__ = ("_bell", "_closed", "_interrupted", "_items", "_ring", "_thread", "_waiting")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        # One wake-up is kept for who comes next, more would be about the same items.
        self._ring, self._bell = trio.open_memory_channel[None](1)
        self._waiting = 0
        self._interrupted = False
        self._closed = False
        self._thread = get_ident()

    def _require_own_thread(self, call: str) -> None:
        """Trio's channel would notice a foreign thread only when somebody waits."""
        if get_ident() != self._thread:
            raise RuntimeError(
                f"MailBox.{call} was called in another thread than the one that made the mailbox: "
                f"call it there by trio.from_thread.run_sync(mailbox.{call}, ...)"
            )

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._items)

    def send(self, item: T) -> Result[None, MailBoxStatus]:
        """Add an item; `Err(CLOSED)` after `close`, and the item stays with the caller."""
        return self.send_all((item,))

    def send_all(self, items: Iterable[T]) -> Result[None, MailBoxStatus]:
        """Add items, which stay together and in order; `Err(CLOSED)` after `close`.

        Raises `RuntimeError` in a thread other than the one that made the mailbox.
        """
        self._require_own_thread("send")
        if self._closed:
            return Err(MailBoxStatus.CLOSED)
        self._items.extend(items)
        self.ring()
        return OK

    def _wake_one(self) -> None:
        try:  # noqa: SIM105  # `suppress` takes as long as the whole rest
            self._ring.send_nowait(None)
        except trio.WouldBlock:
            pass

    def take(self) -> T | None:
        """The next item if one waits, else None; so quick that it needs no `Result`."""
        return self._items.popleft() if self._items else None

    async def receive(
        self,
        timeout: float = math.inf,  # noqa: ASYNC109  # running out of time is a value here
    ) -> Result[T, MailBoxStatus]:
        """The next item, waiting for it `timeout` seconds at most (0 polls).

        `Err` with TIMEOUT, with INTERRUPTED after `interrupt`, or with CLOSED after `close`.
        Cancelling loses no item. A checkpoint, always. Raises `TypeError` for what is no number,
        `ValueError` for what is no time.
        """
        if timeout != math.inf:
            seconds("MailBox.receive's timeout", timeout, or_none=True)
        if self or self._interrupted or self._closed:
            await trio.lowlevel.checkpoint()  # `_wait` will not wait
        if timeout == math.inf:
            return await self._wait()
        with trio.move_on_after(timeout):
            return await self._wait()
        return Err(MailBoxStatus.TIMEOUT)

    async def _wait(self) -> Result[T, MailBoxStatus]:
        while (item := self.take()) is None:
            if self._closed:
                return Err(MailBoxStatus.CLOSED)
            if self._interrupted:
                self._interrupted = False
                return Err(MailBoxStatus.INTERRUPTED)
            await self.wait_for_bell()
        if self._waiting and self:
            self._wake_one()  # the wake-up stood for all of them
        return Ok(item)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def wait_for_bell(self) -> None:
        """Wait until something may have changed: for who does not only wait for items."""
        self._waiting += 1
        try:
            await self._bell.receive()
        except trio.EndOfChannel:
            pass
        finally:
            self._waiting -= 1

    def ring(self) -> None:
        """Wake one of those that wait, if there is one; `close` has woken them all."""
        if self._waiting and not self._closed:
            self._wake_one()

    def interrupt(self) -> Result[None, MailBoxStatus]:
        """Wake the one that waits, or the next to wait, once.

        `Err(INTERRUPTED)` while an earlier interrupt has not been noticed, `Err(CLOSED)` after
        `close`. Raises `RuntimeError` in a foreign thread.
        """
        self._require_own_thread("interrupt")
        if self._closed:
            return Err(MailBoxStatus.CLOSED)
        if self._interrupted:
            return Err(MailBoxStatus.INTERRUPTED)
        self._interrupted = True
        self.ring()
        return OK

    def close(self) -> list[T]:
        """Refuse further items, wake all receivers with CLOSED, and hand back what waits.

        Raises `RuntimeError` in a foreign thread.
        """
        self._require_own_thread("close")
        self._closed = True
        self._ring.close()
        items = list(self._items)
        self._items.clear()
        return items
