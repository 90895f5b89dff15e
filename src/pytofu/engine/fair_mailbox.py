"""A group's mailbox: fair between its channels, in order within each.

Each channel has its own queue here, its inbox, and those that hold something take turns. So what
a quiet channel brings is the next but few to be received, however much another one has sent.
"""

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytofu._choice import compiled, twin
from pytofu.engine.mailbox import MailBox, MailBoxStatus
from pytofu.patterns.result import OK, Err, Result
from pytofu.values.message import Message

type Inbox = list[Message]
"""The next to be received is the last. A list, because every channel has one and nearly all of
them are empty nearly always: an empty deque has room for sixty, a list for none."""


class FairMailBox(MailBox[Message]):
    """See above; a `MailBox` in everything else."""

    __slots__ = ("_due", "_own", "_own_turn", "_sent", "look_at", "taken", "turns")

    def __init__(self) -> None:
        # By its name: the twin is no MailBox.
        MailBox.__init__(self)  # pyright: ignore[reportUnknownMemberType]
        # What belongs to no channel, and comes in order with all; the program may add without end.
        self._own: deque[Message] = deque()
        self._own_turn: Inbox = []  # stands for it among the turns
        self._due: deque[int] = deque()  # how many messages come before each of these
        self._sent = 0
        self.taken: int = 0
        """Messages taken so far."""
        self.look_at: int = 0
        """So many messages taken, the group looks at its sockets before it takes another."""
        self.turns: deque[Inbox] = deque()
        """The inboxes that hold something, the next to be taken from in front."""

    def __len__(self) -> int:
        return sum(map(len, self.turns)) + len(self._own)

    def __bool__(self) -> bool:
        return bool(self.turns)

    def send_all(self, items: Iterable[Message]) -> Result[None, MailBoxStatus]:
        """Add messages, at least one, that belong to no channel, behind as many as wait now."""
        messages = list(items)
        if self._closed:
            return Err(MailBoxStatus.CLOSED)
        self._due.extend(range(self._sent, self._sent + len(messages)))
        if not self._own:
            self.turns.append(self._own_turn)
        self._own.extend(messages)
        return self._added(len(messages))

    def send_to(self, inbox: Inbox, messages: list[Message]) -> Result[None, MailBoxStatus]:
        """Add messages, of which there is at least one, to the inbox of a channel.

        `Err(CLOSED)` after `close`.
        """
        if self._closed:
            return Err(MailBoxStatus.CLOSED)
        if not inbox:
            self.turns.append(inbox)
        inbox[:0] = messages[::-1]
        return self._added(len(messages))

    def _added(self, count: int) -> Result[None, MailBoxStatus]:
        self._sent += count
        if self._waiting:
            self._wake_one()
        return OK

    def take(self) -> Message | None:
        """The next message if one waits, else None."""
        turns = self.turns
        if not turns:
            return None
        inbox = turns[0]
        if inbox is self._own_turn:
            if self._due[0] <= self.taken:
                return self._take_own()
            turns.rotate(-1)
            inbox = turns[0]
        self.taken += 1
        message = inbox.pop()
        if not inbox:
            turns.popleft()
        elif len(turns) > 1:
            turns.rotate(-1)
        return message

    def _take_own(self) -> Message:
        # Its turn lasts as long as the next one is due.
        self._due.popleft()
        self.taken += 1
        message = self._own.popleft()
        if not self._own:
            self.turns.popleft()
        return message

    def close(self) -> list[Message]:
        """Refuse further messages, wake all receivers, and hand back what waits."""
        MailBox.close(self)  # pyright: ignore[reportUnknownMemberType]
        messages = list(self._own)
        self._own.clear()
        for inbox in self.turns:
            messages += reversed(inbox)
            inbox.clear()
        self.turns.clear()
        return messages


if compiled and not TYPE_CHECKING:
    FairMailBox = twin(FairMailBox)
