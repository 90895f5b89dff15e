"""Whatever is done to a budget and its accounts, in whatever order: counts are exact, nobody
waits for ever, everybody may hold one.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from pytofu.engine.accounts import Budget, ChannelAccount
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.message import Message


class _Token:
    """A Trio run that does nothing until it is told."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []

    def run_sync_soon(self, call: Callable[[], object], *, idempotent: bool) -> None:
        self.soon.append(call)


class _Channel:
    """What an IO channel does with its account."""

    def __init__(self, budget: Budget, scheduled: "deque[_Channel]") -> None:
        self.account = ChannelAccount(budget, lambda: scheduled.append(self))
        self.unread: deque[int] = deque()
        self.short = False
        self.delivered: list[Message] = []
        self._read_len = 0

    def read(self) -> None:
        """Deliver what there is room for, then wait for more room if need be."""
        account = self.account
        before, room = account.held, account.room
        costs = [self.unread.popleft() for _ in range(min(room, len(self.unread)))]
        if costs:
            self._read_len += sum(costs)
            account.charge(len(costs), self._read_len)
            self.delivered += [Message(None, b"", b"", account, cost) for cost in costs]
        assert account.held == before + len(costs)
        assert account.held <= max(1, account.budget.share)
        if self.unread and not self.short:
            self.short = True
            account.budget.run_dry()
            account.wait_for_room()

    def read_on(self) -> None:
        """It was told that there is room."""
        self.short = False
        self.read()
        self.account.budget.relieve()


class Accounts(RuleBasedStateMachine):
    """A few channels, and an application that gives things back when it likes."""

    channels = Bundle("channels")

    @initialize(
        initial=st.integers(1, 12),
        more=st.integers(0, 6),
        max_bytes=st.integers(1, 100),
        share=st.sampled_from([0.01, 0.25, 0.5, 1.0]),
    )
    def begin(self, initial: int, more: int, max_bytes: int, share: float) -> None:
        self.budget = Budget(initial, initial + more, max_bytes, share)
        self.token = _Token()
        self.budget.watch_for_forgotten(cast("trio.lowlevel.TrioToken", self.token))
        self.scheduled: deque[_Channel] = deque()
        self.all: list[_Channel] = []
        self.lent: list[Message] = []
        self.outside: list[Message] = []
        self.forgotten: list[tuple[ChannelAccount | None, int]] = []
        self.growth = 0

    # ------------------------------------------------------------------ what happens

    @rule(target=channels)
    def open(self) -> _Channel:
        channel = _Channel(self.budget, self.scheduled)
        self.all.append(channel)
        return channel

    @rule(channel=channels, costs=st.lists(st.integers(1, 20), min_size=1, max_size=6))
    def arrive(self, channel: _Channel, costs: list[int]) -> None:
        if not channel.account.closed and not channel.short:
            channel.unread.extend(costs)
            channel.read()

    @rule()
    def turn(self) -> None:
        """The end of a turn of the loop: who was told of room has it."""
        while self.scheduled:
            channel = self.scheduled.popleft()
            if not channel.account.closed:
                channel.read_on()

    @rule(strategy=st.sampled_from(AllocationStrategy))
    def get(self, strategy: AllocationStrategy) -> None:
        free = self.budget.free
        message = self.budget.get(strategy)
        if message is None:
            assert free <= 0
            assert strategy is AllocationStrategy.POOL_ONLY
        else:
            (self.lent if free > 0 else self.outside).append(message)

    @rule(data=st.data(), how=st.sampled_from(["put", "post", "forget"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        piles = [self.lent, self.outside, *(channel.delivered for channel in self.all)]
        piles = [pile for pile in piles if pile]
        if not piles:
            return
        pile = data.draw(st.sampled_from(piles))
        message = pile.pop(data.draw(st.integers(0, len(pile) - 1)))
        counts = 0 if pile is self.outside else 1
        match how:
            case "put":
                self._give(counts, lambda: self.budget.put(message))
            case "post":
                self._give(counts, message.release)
            case _:
                account = message._account
                if account is not None:
                    known = account if isinstance(account, ChannelAccount) else None
                    self.forgotten.append((known, message._cost))
                del account, message

    def _give(self, count: int, give: Callable[[], object]) -> None:
        """Give back what counts for so many; one from outside may have taken a place of theirs."""
        free = self.budget.free
        give()
        self.growth += self.budget.free - free - count

    @rule()
    def soon(self) -> None:
        """The engine gets round to what was forgotten."""
        self._give(len(self.forgotten), lambda: [call() for call in self.token.soon])
        self.token.soon.clear()
        self.forgotten.clear()

    @rule(channel=channels)
    def close(self, channel: _Channel) -> None:
        if not channel.account.closed:
            channel.account.close()
            channel.unread.clear()

    # ------------------------------------------------------------------ what holds

    def _forgotten_of(self, account: ChannelAccount | None) -> list[int]:
        return [cost for owner, cost in self.forgotten if owner is account]

    @invariant()
    def counts_are_exact(self) -> None:
        budget = self.budget
        for channel in self.all:
            costs = [message._cost for message in channel.delivered]
            costs += self._forgotten_of(channel.account)
            assert channel.account.held == len(costs)
            assert channel.account.cost == sum(costs)
        lent = len(self.lent) + len(self._forgotten_of(None))
        held = sum(channel.account.held for channel in self.all)
        assert budget.free + held + lent == budget.initial + self.growth
        assert budget.free <= budget.maximum
        assert budget.bytes_held == sum(channel.account.cost for channel in self.all)

    @invariant()
    def everybody_may_hold_one(self) -> None:
        for channel in self.all:
            assert channel.account.held or channel.account.room

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        """Or it was told, or holds more than half its share."""
        if self.scheduled:
            return
        for channel in self.all:
            account, budget = channel.account, self.budget
            if channel.short and not account.closed and account.room:
                half = 2 * account.held <= budget.share and 2 * account.cost <= budget.share_bytes
                assert not half

    def teardown(self) -> None:
        """When everything is given back, everybody gets what is his, and the pool is whole."""
        if not hasattr(self, "budget"):
            return
        while any(channel.delivered or channel.unread for channel in self.all):
            for channel in self.all:
                for message in channel.delivered:
                    self._give(1, partial(self.budget.put, message))
                channel.delivered.clear()
            self.soon()
            self.turn()
        for message in self.lent:
            self._give(1, partial(self.budget.put, message))
        self.soon()
        assert self.budget.free == self.budget.initial + self.growth
        assert self.budget.bytes_held == 0


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
