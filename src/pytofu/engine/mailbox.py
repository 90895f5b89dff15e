"""The mailbox: a memory channel with interrupt, timeout and close (pattern guide, section 6)."""

import math
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

import trio

from pytofu.result import OK, Err, Ok, Result


class MailBoxStatus(Enum):
    """Why a mailbox did not do what was asked."""

    TIMEOUT = auto()
    INTERRUPTED = auto()
    CLOSED = auto()


class MailBox[T]:
    """An unbounded queue with any number of senders and receivers.

    Unbounded, because sending must never wait: what fills it is bounded elsewhere (received
    messages by the pool, the engine's own by the number of channels and posts).

    The memory channel carries batches, not items: what arrived together costs one hand-over.
    """

    __slots__ = ("_batch", "_in_channel", "_interrupted", "_receiver", "_sender", "_waiting")

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Sequence[T]](math.inf)
        self._batch: deque[T] = deque()  # taken from the channel, not yet received
        self._in_channel = 0
        self._interrupted = False
        self._waiting = 0

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._batch) + self._in_channel

    def send(self, item: T) -> Result[None, MailBoxStatus]:
        """Add an item; `Err(CLOSED)` after `close`, and the item stays with the caller."""
        return self.send_all((item,))

    def send_all(self, items: Sequence[T]) -> Result[None, MailBoxStatus]:
        """Add items, which stay together and in order; `Err(CLOSED)` after `close`."""
        try:
            self._sender.send_nowait(items)
        except trio.ClosedResourceError:
            return Err(MailBoxStatus.CLOSED)
        self._in_channel += len(items)
        return OK

    def take(self) -> T | None:
        """The next item if one waits, else None; so quick that it needs no `Result`."""
        if self._batch:
            return self._batch.popleft()
        while self._in_channel:
            self._accept(self._receiver.receive_nowait())
            if self._batch:
                return self._batch.popleft()
        return None

    def _accept(self, items: Sequence[T]) -> None:
        self._in_channel -= len(items)
        self._batch.extend(items)
        if self._waiting and len(self._batch) > 1:
            self._nudge()  # others wait on the channel, for what is now in the batch

    def _nudge(self) -> None:
        self._sender.send_nowait(())

    async def receive(
        self,
        timeout: float = math.inf,  # noqa: ASYNC109  # running out of time is a value here
    ) -> Result[T, MailBoxStatus]:
        """The next item, waiting for it `timeout` seconds at most (0 polls).

        `Err` with TIMEOUT, with INTERRUPTED after `interrupt`, or with CLOSED after `close`.
        Cancelling loses no item. A checkpoint, always.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        item = self.take()
        if item is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return Ok(item)
        if timeout == math.inf:
            return await self._wait()
        with trio.move_on_after(timeout):
            return await self._wait()
        return Err(MailBoxStatus.TIMEOUT)

    async def _wait(self) -> Result[T, MailBoxStatus]:
        while not self._interrupted:
            self._waiting += 1
            try:
                items = await self._receiver.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError):
                return Err(MailBoxStatus.CLOSED)
            finally:
                self._waiting -= 1
            self._accept(items)
            if self._batch:
                return Ok(self._batch.popleft())
        self._interrupted = False
        return Err(MailBoxStatus.INTERRUPTED)

    def interrupt(self) -> Result[None, MailBoxStatus]:
        """Wake the one that waits, or the next to wait, once.

        `Err(INTERRUPTED)` while an earlier interrupt has not been noticed, `Err(CLOSED)` after
        `close`.
        """
        if self._interrupted:
            return Err(MailBoxStatus.INTERRUPTED)
        try:
            self._nudge()
        except trio.ClosedResourceError:
            return Err(MailBoxStatus.CLOSED)
        self._interrupted = True
        return OK

    def close(self) -> list[T]:
        """Refuse further items, wake all receivers with CLOSED, and hand back what waits."""
        items: list[T] = []
        while (item := self.take()) is not None:
            items.append(item)
        self._sender.close()
        self._receiver.close()
        return items
