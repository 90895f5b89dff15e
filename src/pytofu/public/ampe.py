"""`open_ampe` and `Ampe`: the engine as applications see it (PROTOCOL 2)."""

import ssl
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, NoReturn, overload

import attrs
import trio

from pytofu._choice import compiled, twin
from pytofu.engine.engine import Engine
from pytofu.engine.group import Group
from pytofu.engine.options import Options
from pytofu.patterns.arguments import must_be
from pytofu.patterns.result import Err, Ok, Result
from pytofu.public.belonging import Belonging, here, require_trio
from pytofu.public.boundary import public_api
from pytofu.public.channel_group import ChannelGroup
from pytofu.public.managers import block, not_awaited
from pytofu.public.refusals import wrong_holder
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.errors import AmpeException
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

_ALWAYS: Final = AllocationStrategy.ALWAYS


@attrs.frozen
class AmpeStatistics:
    """An engine at one moment; counts are since it was opened."""

    groups: int
    """Channel groups."""
    channels: int
    """Open channels of all groups, listeners included."""
    pool_free: int
    """Messages in the pool."""
    pool_max: int
    """Messages that the pool keeps at the most."""
    pool_spells: int
    """How often the pool has run dry, having been half full in between."""
    messages_sent: int
    """Messages handed to the operating system."""
    messages_received: int
    """Messages that arrived from peers."""
    bytes_sent: int
    """Bytes handed to the operating system."""
    bytes_received: int
    """Bytes that arrived from peers."""
    bytes_held: int
    """Bytes of received messages that the applications hold."""
    bytes_queued: int
    """Bytes that wait to be sent."""
    limits_reached: Mapping[str, int]
    """How often each limit was reached, by the name of its option; without those that were not."""


class Ampe(Belonging):
    """The engine: it owns the message pool, the channel groups and their channels.

    Made by `open_ampe`. Several in a process are fine.

    **Threads and forks.** To be used from the Trio thread that opened it; from other threads
    through `trio.from_thread.run_sync`. Only `ChannelGroup.update_receiver` may be called from any
    thread. A forked child has no part in its parent's engine: it opens its own, in its own
    `trio.run`, and ends by `os._exit`, as what `multiprocessing` starts does. Any call from
    elsewhere raises `RuntimeError`, before anything has changed.
    """

    __slots__ = ("_budget", "_engine")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._budget = engine.budget
        Belonging.__init__(self)  # last: what belongs to a thread is whole

    @overload
    def get(
        self, strategy: Literal[AllocationStrategy.ALWAYS] = AllocationStrategy.ALWAYS
    ) -> Message: ...
    @overload
    def get(self, strategy: AllocationStrategy = ...) -> Message | None: ...
    @trio.lowlevel.enable_ki_protection
    def get(self, strategy: AllocationStrategy = AllocationStrategy.ALWAYS) -> Message | None:
        """A message: from the pool or, with ALWAYS, a new one when the pool is empty.

        None when the pool is empty and the strategy is POOL_ONLY. Raises `ShutdownException` once
        the engine shuts down, and `TypeError` for what is no strategy.
        """
        # What `public_api` does, written out: this is the hot path.
        if here() != self._thread:
            raise self._misplaced("Ampe.get")
        if strategy is not _ALWAYS:
            must_be("Ampe.get", "an AllocationStrategy", AllocationStrategy, strategy)
        if self._engine.closing:
            raise AmpeException.from_error(AmpeError.SHUTDOWN_STARTED)
        return self._budget.get(strategy)

    @trio.lowlevel.enable_ki_protection
    def put(self, holder: Holder[Message]) -> None:
        """Put a message back to the pool and empty the holder; an empty holder is left alone.

        Works after shutdown too. Raises `MessageReleasedError` for a message that somebody else
        has posted or put back: it had two owners; `TypeError` for what is no holder of a message.
        """
        if here() != self._thread:
            raise self._misplaced("Ampe.put")
        try:
            message = holder._value
            if message is None:
                return
            _ = message._header.proto_byte
        except AttributeError:
            raise wrong_holder("Ampe.put", holder) from None
        holder._value = None
        self._budget.put(message)

    @public_api
    @trio.lowlevel.enable_ki_protection
    def create(
        self,
        *,
        tls_client: ssl.SSLContext | None = None,
        tls_server: ssl.SSLContext | None = None,
    ) -> Result[ChannelGroup, AmpeError]:
        """A new channel group, to be destroyed by `destroy` or by leaving the engine.

        Its contexts for TLS are those given, or else the engine's (`Options`).
        Raises `ShutdownException` once the engine shuts down.
        """
        if here() != self._thread:
            raise self._misplaced("Ampe.create")
        match self._engine.create(tls_client, tls_server):
            case Ok(group):
                return Ok(ChannelGroup(group))
            case Err() as err:
                return err

    @trio.lowlevel.enable_ki_protection
    async def destroy(self, chnls: ChannelGroup) -> None:
        """Close every channel of the group in good order: send what was posted, then close.

        Its mailbox is emptied into the pool at once, and whoever waits to receive gets
        `ShutdownException`. Takes at most `Options.close_timeout`. A checkpoint; cancelling it
        closes the rest at once, with resets. A second call waits for the first. Raises `TypeError`
        for what is no group, `ValueError` for one of another engine.
        """
        if here() != self._thread:
            raise self._misplaced("Ampe.destroy")
        must_be("Ampe.destroy", "a ChannelGroup", ChannelGroup, chnls)
        if chnls._group.budget is not self._engine.budget:
            raise ValueError(f"Ampe.destroy was given a group of another engine: {chnls!r}")
        await _destroy(chnls._group)

    @block
    async def open_channel_group(
        self,
        *,
        tls_client: ssl.SSLContext | None = None,
        tls_server: ssl.SSLContext | None = None,
    ) -> AsyncGenerator[ChannelGroup]:
        """A channel group for the length of an `async with` block.

        Leaving the block normally destroys the group in good order, as `destroy` does; leaving it
        by an exception or cancellation closes every channel at once, with resets, and the
        exception goes on as it is. Contexts as for `create`. Raises `ShutdownException` once the
        engine shuts down.
        """
        chnls = self.create(tls_client=tls_client, tls_server=tls_server)
        try:
            yield chnls
        except BaseException:
            await _abort(chnls._group)
            raise
        await _destroy(chnls._group)

    def statistics(self) -> AmpeStatistics:
        """The engine's counters at this moment."""
        if here() != self._thread:
            raise self._misplaced("Ampe.statistics")
        engine = self._engine
        traffic = attrs.evolve(engine.past_traffic)
        for group in engine.groups:
            traffic.add(group.traffic)
        return AmpeStatistics(
            groups=len(engine.groups),
            channels=len(engine.numbers.open),
            pool_free=max(0, engine.budget.free),
            pool_max=engine.budget.maximum,
            pool_spells=engine.budget.spells,
            messages_sent=traffic.messages_sent,
            messages_received=traffic.messages_received,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
            bytes_held=engine.budget.bytes_held,
            bytes_queued=engine.queues.total,
            limits_reached=dict(engine.limits.counts),
        )


if compiled and not TYPE_CHECKING:
    Ampe = twin(Ampe)


async def _destroy(group: Group) -> None:
    group.close(abort=False)
    try:
        await group.closed.wait()
    finally:
        if not group.closed.is_set():
            await _abort(group)


async def _abort(closable: "Engine | Group") -> None:
    closable.close(abort=True)
    with trio.CancelScope(shield=True):
        await closable.closed.wait()


class open_ampe:  # reads as the function that it is for its users
    """An engine for the length of an `async with` block: `async with open_ampe() as ampe`.

    Leaving the block normally closes every channel in good order: what was posted is sent, within
    `Options.close_timeout`. Leaving it by an exception or by cancellation closes everything at
    once. Either way no task, socket or socket file of the engine is left. The exception leaves
    the block as itself; only if the engine failed too, which would be a defect in pytofu, are
    both in one group. Entering is a checkpoint, leaving too.

    Raises `TypeError` for options that are none. Entering raises `RuntimeError` where no Trio task
    runs, as under asyncio, and for one that has been entered before.
    """

    def __init__(self, options: Options | None = None) -> None:
        if options is not None:
            advice = "open_ampe(Options(close_timeout=1))"
            must_be("open_ampe", "Options", Options, options, advice)
        self._options = options
        self._entered = False

    # Type checkers are to see that it cannot be awaited.
    if not TYPE_CHECKING:  # pragma: no branch

        def __await__(self) -> NoReturn:
            raise not_awaited("open_ampe")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Ampe:
        require_trio("open_ampe")
        if self._entered:
            raise RuntimeError(
                "this open_ampe() was entered before, and is one engine's: write "
                "`async with open_ampe() as ampe` for each"
            )
        self._entered = True
        self._engine = Engine(self._options or Options())
        self._manager = trio.open_nursery()
        await trio.lowlevel.checkpoint_if_cancelled()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._engine.run)
        with trio.CancelScope(shield=True):
            await self._engine.started.wait()
        return Ampe(self._engine)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:  # not bool: to type checkers that would mean that it swallows exceptions
        if exc is not None:
            await _abort(self._engine)
            return await self._leave_nursery(exc)
        self._engine.close(abort=False)
        try:
            await self._engine.closed.wait()
        except BaseException as interruption:
            await _abort(self._engine)
            await self._leave_nursery(interruption)
            raise
        return await self._leave_nursery(None)

    async def _leave_nursery(self, exc: BaseException | None) -> bool:
        """Leave it behind the engine's task; whether that settles the exception.

        The body's exception takes part only if the engine failed too: then it may be the
        cancellation that followed, or else both leave in one group. Without that it need not pass
        through the nursery, which would wrap it.
        """
        if exc is None or not self._nursery.cancel_scope.cancel_called:
            await self._manager.__aexit__(None, None, None)
            return False
        return bool(await self._manager.__aexit__(type(exc), exc, exc.__traceback__))
