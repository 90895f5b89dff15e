"""Two sides and the link between them: every world that can be reached, for `test_search`."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from pytofu.protocol.lifecycle import Posting, State
from pytofu.values.header import OpCode
from tests.protocol.frozen import thaw
from tests.protocol.side import (
    ACCEPTED,
    CONNECTING,
    MESSAGES,
    NOT_BEGUN,
    Action,
    Side,
    Wrong,
    check,
    play,
)

CLIENT: Final = 0
SERVER: Final = 1

GREETING_LEN: Final = 3
"""Messages posted before the first of them, the HelloRequest, is answered."""

NOT_NEW: Final = {OpCode.RESPONSE, OpCode.SIGNAL}
"""What is posted to see that it can be, and not followed further: Request stands for all three."""


class World(NamedTuple):
    """One state of everything, client first."""

    sides: tuple[int, int]
    """By their numbers in the search."""
    under_way: tuple[tuple[OpCode, ...], tuple[OpCode, ...]] = ((), ())
    """What each has written, and the other has not read."""


class Step(NamedTuple):
    """Something that happens."""

    side: int
    action: Action

    def __str__(self) -> str:
        return f"{('client', 'server')[self.side]}: {self.action}"


class Search:
    """Finds every world; `Wrong` tells the way to one that must not be."""

    def __init__(self, *, wire_len: int, queue_len: int, eager: bool, scarce: bool) -> None:
        self.eager = eager
        """Whether the link takes what is queued before anything else happens. There are far fewer
        worlds then: what it takes commutes with everything but the end of one of both."""
        self.scarce = scarce
        """Whether there may be no room for a message that comes."""
        self.wire_len = wire_len
        """Messages that the link takes each way."""
        self.queue_len = queue_len
        """Messages that an application posts while the link takes none."""
        self.sides: list[Side] = []
        self._numbers: dict[Side, int] = {}
        self._known_outcomes: dict[tuple[int, Action], int] = {}
        self._known_actions: dict[int, tuple[list[Action], bool]] = {}
        self.start = World((self._number(CONNECTING), self._number(NOT_BEGUN)))
        self.found: dict[World, tuple[World, Step] | None] = {}
        """Every world, with the one before it and the step from there."""
        self.steps: dict[World, list[tuple[Step, World]]] = {}

    def run(self) -> None:
        """Find all worlds, the nearest first."""
        self.found = {self.start: None}
        ahead = deque(self.found)
        while ahead:
            world = ahead.popleft()
            self.steps[world] = steps = []
            for step, behind in self._steps(world):
                steps.append((step, behind))
                if behind not in self.found:
                    self.found[behind] = world, step
                    ahead.append(behind)

    def both(self, world: World) -> tuple[Side, Side]:
        """Its sides."""
        client, server = world.sides
        return self.sides[client], self.sides[server]

    def way_to(self, world: World) -> str:
        """The shortest way there."""
        lines: list[str] = []
        while (before := self.found[world]) is not None:
            world, step = before
            lines.append(str(step))
        return "\n".join(reversed(lines))

    # ------------------------------------------------------------------ one step

    def _steps(self, world: World) -> Iterator[tuple[Step, World]]:
        """Everything that can happen next and changes something."""
        actions = [
            (who, action) for who in (CLIENT, SERVER) for action in self._actions(world, who)
        ]
        if self.eager:
            actions = next(([each] for each in actions if each[1].name == "write"), actions)
        for who, action in actions:
            step = Step(who, action)
            try:
                behind = self._after(world, who, action)
            except Wrong as wrong:
                raise Wrong(f"{wrong}:\n{self.way_to(world)}\n{step}") from wrong
            if behind != world:
                yield step, behind

    def _actions(self, world: World, who: int) -> Iterator[Action]:
        me, peer = self.sides[world.sides[who]], self.sides[world.sides[1 - who]]
        out, into = world.under_way[who], world.under_way[1 - who]
        if me.conversation is None:
            return
        own, may_send = self._own_actions(world.sides[who])
        yield from own
        if not me.linked:
            return
        if me.queued and may_send:
            if peer.over:
                yield Action("find_it_refuses", peer.said)
            else:
                yield Action("write" if len(out) < self.wire_len else "find_it_full")
        if me.unread:
            return
        if into:
            yield Action("read", into[0])
            if self.scarce:
                yield Action("read_without_room", into[0])
            return
        yield Action("read_nothing")
        if peer.said:
            yield Action("read_the_end", peer.said)

    def _own_actions(self, number: int) -> tuple[list[Action], bool]:
        """What a side may do whatever there is around it; and whether it may send."""
        known = self._known_actions.get(number)
        if known is None:
            side = self.sides[number]
            assert side.conversation is not None
            conversation = thaw(side.conversation)
            actions = [Action("close"), Action("abort")]
            greeting = conversation.state in {State.HELLO_SENT, State.HELLO_THEN_BYE_SENT}
            most = GREETING_LEN if greeting else self.queue_len
            room = len(side.queued) + len(side.kept) < most
            for opcode in MESSAGES:
                action = Action("post", opcode)
                if opcode in NOT_NEW:
                    play(side, action)
                elif room or isinstance(conversation.post_rules[opcode], Posting):
                    actions.append(action)
            if side.unread:
                actions.append(Action("make_room"))
            if not side.linked:
                actions.append(Action("link_opens"))
                actions += [Action("link_fails", answers) for answers in (True, False)]
            if conversation.deadline() < math.inf:
                actions.append(Action("wait"))
            actions = [action for action in actions if self._played(number, action) != number]
            self._known_actions[number] = known = actions, conversation.may_send
        return known

    def _played(self, number: int, action: Action) -> int:
        """The number of the side behind an action."""
        known = self._known_outcomes.get((number, action))
        if known is None:
            known = self._number(play(self.sides[number], action))
            self._known_outcomes[number, action] = known
        return known

    def _number(self, side: Side) -> int:
        number = self._numbers.setdefault(side, len(self.sides))
        if number == len(self.sides):
            self.sides.append(side)
        return number

    def _after(self, world: World, who: int, action: Action) -> World:
        """The world behind a step."""
        me, peer = self.sides[world.sides[who]], world.sides[1 - who]
        out, into = world.under_way[who], world.under_way[1 - who]
        number = self._played(world.sides[who], action)
        match action.name:
            case "find_it_refuses":
                lossy = self.sides[peer].lossy
                check(lossy, f"{me.queued} is for a peer that has closed in good order")
            case "write":
                out = (*out, me.queued[0])
            case "read" | "read_without_room":
                into = into[1:]
            case "link_opens":
                peer = self._number(ACCEPTED)
            case _:
                pass
        behind = self.sides[number]
        if behind.over:
            check(behind.lossy or not into, f"it ends and does not read {into}")
            peaceful = not (behind.lossy or self.sides[peer].lossy)
            check(behind.agreed or not peaceful, "it ends without agreement, and nobody has left")
            into = ()
            if behind.said == "reset":
                out = ()
        if who == CLIENT:
            return World((number, peer), (out, into))
        return World((peer, number), (into, out))
