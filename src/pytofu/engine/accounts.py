"""What received messages may cost: the engine's budget, and an account for each channel.

A message that a peer sent takes up memory until the application gives it back. Nobody else can
say when that is, so every such message knows the account that it is charged to, and whoever ends
its life, in whatever engine, credits it.

The words:

- **budget**: what may be held at a time in the whole engine, in messages and in bytes.
- **free**: messages of the budget that nobody holds. The application sees it as the message pool.
- **held**: received and not yet put back, posted or forgotten.
- **share**: the most of the budget that one channel may hold.
- **charge**, **credit**: to count a message as held, and as held no longer.
- **forgotten**: dropped by the application, found by Python's garbage collection.
- **room**: how many messages a channel may deliver now. A channel that holds nothing has room for
  one, whatever the others hold: so no engine ever freezes.
- **short**: without room. A short channel is not read from, so that its peer is held back.
- **dry spell**: from when the budget is used up until half of it is free again. The application
  is told once a spell.
"""

import os
import warnings
from _thread import get_ident
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from pytofu._choice import compiled, twin
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.message import Account, Message
from pytofu.values.releases import release_site

_PACKAGE: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
"""Whose frames a warning leaves out, so that it points at the program's line."""


_not_interrupted: Final = trio.lowlevel.enable_ki_protection
"""For what `Message.__del__` calls: Trio knows that by its frame, and a compiled one has none."""


class _Uncounted(Account):
    """For messages that the engine makes: they cost the budget nothing, and bring it nothing."""

    __slots__ = ()

    def credit(self, cost: int) -> None:
        """Nothing was charged."""

    @_not_interrupted
    def forget(self, cost: int) -> None:
        """Nothing was charged."""


UNCOUNTED: Final[Account] = _Uncounted()


class _Loans(Account):
    """For messages that the application got from the pool."""

    __slots__ = ("_budget",)

    def __init__(self, budget: "Budget") -> None:
        self._budget = budget

    def credit(self, cost: int) -> None:
        """One more is free."""
        budget = self._budget
        if get_ident() != budget.thread:
            budget.credit_later(self, cost)
            return
        if budget.free < budget.maximum:  # one from outside may have taken its place
            budget.free += 1
        if budget.watchers:
            budget.relieve()

    @_not_interrupted
    def forget(self, cost: int) -> None:
        """The application dropped a message that it got."""
        self._budget.forget(self, cost)


class Budget:
    """The engine's budget; its count is the application's message pool."""

    __slots__ = (
        "_dry",
        "_forgotten",
        "_loans",
        "_token",
        "_waiting",
        "_warned",
        "_watching",
        "bytes_begun",
        "bytes_held",
        "bytes_unfinished",
        "eased",
        "free",
        "initial",
        "max_bytes",
        "maximum",
        "share",
        "share_bytes",
        "spells",
        "thread",
        "watchers",
    )

    def __init__(self, initial: int, maximum: int, max_bytes: int, share: float) -> None:
        self.initial: int = initial
        self.maximum: int = max(initial, maximum)
        self.free: int = initial
        """Below zero when channels hold the one message that each always may."""
        self.share: int = max(1, int(initial * share))
        self.share_bytes: int = max(1, int(max_bytes * share))
        self.spells: int = 0
        """How often the budget was used up, half of it having been free in between."""
        self.max_bytes: int = max_bytes
        self.bytes_unfinished: int = 0
        """Bytes of messages that have begun to arrive, or wait for room, in all channels."""
        self.bytes_begun: int = 0
        """The former of these."""
        self.bytes_held: int = 0
        """Bytes of what is held."""
        self.eased: int = 0
        """Messages given back so far of channels that were short at that moment."""
        self.watchers: int = 0
        """Channels that are short, and one while a dry spell lasts: if there are none, nobody
        needs to know what is given back."""
        self.thread: int = get_ident()
        """The engine's: all but what any thread may call happens there."""
        self._dry = False  # within a spell
        # Short of budget, in turn. The budget can be used up for long: who closes leaves at once.
        self._waiting: OrderedDict[ChannelAccount, None] = OrderedDict()
        self._loans = _Loans(self)
        self._forgotten: deque[tuple[Account, int]] = deque()
        # Other threads read these at any time. So, but for the flag, none is ever exchanged once
        # there are messages.
        self._token: trio.lowlevel.TrioToken | None = None
        self._warned: set[str] = set()
        self._watching = False

    # ------------------------------------------------------------------ the message pool

    def get(self, strategy: AllocationStrategy) -> Message | None:
        """A new message; None when none is free and `strategy` is POOL_ONLY."""
        if self.free > 0:
            self.free -= 1
            message = Message()
            message._account = self._loans
            return message
        return None if strategy is AllocationStrategy.POOL_ONLY else Message()

    def put(self, message: Message) -> None:
        """Take a message back. One from outside the pool adds to it, up to the maximum.

        Raises `MessageReleasedError` if it was posted or put back before.
        """
        outside = message._account is None
        message.release()
        if outside and self.free < self.maximum:
            self.free += 1
            self.relieve()

    # ------------------------------------------------------------------ for the accounts

    @property
    def used_up(self) -> bool:
        """Whether no message, or no byte, is free."""
        return self.free <= 0 or self.bytes_held >= self.max_bytes

    @property
    def tight(self) -> bool:
        """Whether so little is free that channels should read no more at once than they need."""
        return self.free <= 0 or 2 * self.bytes_unfinished > self.max_bytes

    @property
    def excess(self) -> int:
        """Bytes of unfinished messages beyond the limit, and an eighth more: somebody has to go.

        0 if none of them has only begun: who waits for room does not have to, however many wait.
        """
        if self.bytes_unfinished <= self.max_bytes or not self.bytes_begun:
            return 0
        return self.bytes_unfinished - self.max_bytes * 7 // 8

    def run_dry(self) -> int:
        """Note that a channel found nothing free; the number of the spell this belongs to."""
        if not self._dry:
            self._dry = True
            self.watchers += 1
            self.spells += 1
        return self.spells

    def wait(self, account: "ChannelAccount") -> None:
        """Tell `account` when something is free: it is short of budget."""
        self._waiting[account] = None

    def wait_no_more(self, account: "ChannelAccount") -> None:
        """It needs nothing, ever again."""
        self._waiting.pop(account, None)

    def relieve(self) -> None:
        """Something was given back: end the spell, let who waits longest have it."""
        if (
            self._dry
            and self.free >= max(1, self.initial // 2)
            and 2 * self.bytes_held <= self.max_bytes
        ):
            self._dry = False
            self.watchers -= 1
        while self._waiting and not self.used_up:
            account, _ = self._waiting.popitem(last=False)
            if account.take_turn():
                return

    # ------------------------------------------------------------------ from elsewhere

    def watch_for_forgotten(self, token: trio.lowlevel.TrioToken) -> None:
        """Count forgotten messages as given back from now on, in the Trio run of `token`."""
        self._token = token
        self._watching = True

    def stop_watching(self) -> None:
        """The engine has ended: nobody owes it anything any more."""
        self._watching = False

    def credit_later(self, account: Account, cost: int) -> bool:
        """Credit it in the engine's own time and thread; whether anybody is owed it still.

        Called in any thread and in the midst of anything, so it does not touch the counts.
        """
        token = self._token
        if token is None or not self._watching:
            return False
        self._forgotten.append((account, cost))
        try:
            token.run_sync_soon(self.collect, idempotent=True)
        except trio.RunFinishedError:
            return False
        return True

    def forget(self, account: Account, cost: int) -> None:
        """A message was collected by Python, wherever and whenever: credit it, and say so."""
        if not self.credit_later(account, cost):
            return
        place = release_site()
        if place not in self._warned:
            self._warned.add(place)
            warnings.warn(
                "a message was dropped; post it or put it back (async for does that by itself)"
                + (f": {place}" if place else ""),
                ResourceWarning,
                skip_file_prefixes=(_PACKAGE,),
            )

    def collect(self) -> None:
        """Credit what was forgotten, or given back in other threads, so far."""
        while self._forgotten:
            account, cost = self._forgotten.popleft()
            account.credit(cost)


def _nothing() -> None:
    """There is nobody to be told."""


class ChannelAccount(Account):
    """What one channel holds of its engine's budget."""

    __slots__ = (
        "_on_room",
        "_waiting",
        "_queued",
        "_received",
        "begun",
        "budget",
        "closed",
        "cost",
        "held",
        "number",
        "spell",
        "unfinished",
    )

    def __init__(self, budget: Budget, on_room: Callable[[], None]) -> None:
        self.budget: Budget = budget
        self.number: int = 0
        """The channel's number, once it has one."""
        self.closed: bool = False
        """Whether the channel has closed: its messages cannot be posted back any more."""
        self.held: int = 0
        self.cost: int = 0
        """Bytes of what is held."""
        self.unfinished: int = 0
        """Bytes that have arrived and are no messages for the application yet."""
        self.begun: int = 0
        """Those of a message that is not all there."""
        self.spell: int = 0
        """The last dry spell that the application was told of."""
        self._on_room = on_room
        self._received = 0  # bytes of all messages so far
        self._waiting = False  # for room
        self._queued = False  # at the budget

    @property
    def room(self) -> int:
        """How many messages the channel may deliver now."""
        budget = self.budget
        if budget.free > 0 and budget.bytes_held < budget.max_bytes:
            own = budget.share - self.held
            room = own if own < budget.free else budget.free
            if room and self.cost < budget.share_bytes:
                return room
        return 0 if self.held else 1

    def charge(self, count: int, received: int) -> None:
        """So many messages more are held; `received` are the bytes of all that ever were."""
        cost = received - self._received
        self._received = received
        self.held += count
        self.cost += cost
        budget = self.budget
        budget.free -= count
        budget.bytes_held += cost

    def credit(self, cost: int) -> None:
        """One of them was given back."""
        budget = self.budget
        if get_ident() != budget.thread:
            budget.credit_later(self, cost)
            return
        self.held -= 1
        self.cost -= cost
        if budget.free < budget.maximum:  # one from outside may have taken its place
            budget.free += 1
        budget.bytes_held -= cost
        if budget.watchers:
            budget.relieve()
            if self._waiting:
                budget.eased += 1
                if not self.held or self._has_half_its_share():
                    self._look_for_room()

    def note_unfinished(self, begun: int, unread: int = 0) -> None:
        """So many bytes have arrived now that are no messages yet: of one, or of all that wait."""
        count = begun + unread
        self.budget.bytes_unfinished += count - self.unfinished
        self.budget.bytes_begun += begun - self.begun
        self.unfinished, self.begun = count, begun

    @_not_interrupted
    def forget(self, cost: int) -> None:
        """One of them was dropped by the application."""
        self.budget.forget(self, cost)

    def _has_half_its_share(self) -> bool:
        budget = self.budget
        return 2 * self.held <= budget.share and 2 * self.cost <= budget.share_bytes

    def wait_for_room(self) -> None:
        """Call `on_room` when there is room again.

        A channel that has used its share gets it when half of that is given back, so that it
        is not woken for every message; one that is short of budget gets it in turn.
        """
        self._waiting = True
        self.budget.watchers += 1
        if self.budget.used_up or self._has_half_its_share():
            self._look_for_room()

    def _look_for_room(self) -> None:
        if self.room:
            self._relieved()
        elif not self._queued:
            self._queued = True
            self.budget.wait(self)

    def _relieved(self) -> None:
        self.stop_waiting()
        self._on_room()

    def stop_waiting(self) -> None:
        """It needs no room any more, or takes what there is."""
        if self._waiting:
            self._waiting = False
            self.budget.watchers -= 1

    def take_turn(self) -> bool:
        """Something of the budget is free: whether this channel takes it."""
        self._queued = False
        if not self._waiting or not self.room:  # it has used up its share meanwhile
            return False
        self._relieved()
        return True

    def close(self) -> None:
        """The channel has closed. What is held of it is still to be given back."""
        self.closed = True
        self.note_unfinished(0)
        self.stop_waiting()
        self.budget.wait_no_more(self)
        self._on_room = _nothing  # the channel's own: else only a collection would free the two
        self.budget.relieve()  # its turn may have come, and it has no use for it any more


if compiled and not TYPE_CHECKING:
    _Loans = twin(_Loans)
    Account.register(_Loans)
    Budget = twin(Budget)
    ChannelAccount = twin(ChannelAccount)
    Account.register(ChannelAccount)
