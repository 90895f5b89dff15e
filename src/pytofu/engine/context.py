"""What the channels of one group share, and what a channel is to its group."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

from pytofu.engine.accounts import Budget
from pytofu.engine.admission import Admission
from pytofu.engine.deadlines import Deadlines, Timed
from pytofu.engine.fair_mailbox import Inbox
from pytofu.engine.limits import Limits
from pytofu.engine.observer import Traffic
from pytofu.engine.options import Options
from pytofu.engine.queues import SendQueues
from pytofu.engine.readiness import Readiness
from pytofu.engine.short_of_share import ShortOfShare
from pytofu.links.base import Link
from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import Cause
from pytofu.values.message import Message
from pytofu.values.status import AmpeError


class GroupContext(ABC):
    """What a channel uses of its group."""

    options: Options
    budget: Budget
    queues: SendQueues
    traffic: Traffic
    limits: Limits
    admission: Admission
    readiness: Readiness
    deadlines: Deadlines
    channels: "dict[Channel, None]"
    """Those that are open, in the order of coming. No set: with thousands it is three times as
    large."""
    short_of_share: "ShortOfShare[Channel]"
    """Those that have used up their share of the budget."""
    closing: bool
    """Whether the group is being destroyed."""

    @abstractmethod
    def schedule(self, channel: "Channel") -> None:
        """Let the channel `work` before the loop sleeps, or somebody waits to receive."""

    @abstractmethod
    def work_on(self, channel: "Channel") -> None:
        """Let the channel `work` now; a defect there closes it, and it alone."""

    @abstractmethod
    def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task in the group's nursery; nothing once the group is through."""

    @property
    @abstractmethod
    def is_full(self) -> bool:
        """Whether nothing more is to be accepted: there are too many channels."""

    @property
    @abstractmethod
    def is_behind(self) -> bool:
        """Whether nothing more is to be accepted: too much waits, to be received or to be sent."""

    @abstractmethod
    def accept(self, link: Link) -> None:
        """Make a channel of a link that a listener accepted."""

    @abstractmethod
    def make_room(self) -> bool:
        """Peers take up more memory than they may: close who takes up most.

        Whether more have to go than may in one turn of the loop; then read nothing meanwhile.
        """

    @abstractmethod
    def give_back(self, go_on: Callable[[], int]) -> None:
        """Call it in its turn, and again until it answers 0: a closed channel gives nothing more.

        Else it answers how many messages wait.
        """

    @abstractmethod
    def ran_short(self, channel: "Channel") -> None:
        """The channel has used up its share: whoever waits to receive may wait in vain."""

    @abstractmethod
    def deliver(self, inbox: Inbox, messages: list[Message]) -> None:
        """Put messages into a channel's inbox; where the mailbox is closed they are given back."""

    @abstractmethod
    def remove(self, channel: "Channel") -> None:
        """The channel has ended."""


class Channel(Timed):
    """A channel as its group sees it: a number, things to do, and one end."""

    __slots__ = ("group", "has_work", "host", "is_listed", "number")

    def __init__(self, group: GroupContext) -> None:
        super().__init__()
        self.group: GroupContext = group
        self.host: str = ""  # that it was admitted from, if hosts are limited
        self.number: int = 0  # set when the engine has found one
        self.has_work: bool = False
        """Whether it is to `work`."""
        self.is_listed: bool = False
        """Whether it is in its group's list of who has work, or had when it was put there."""

    @property
    @abstractmethod
    def conversation(self) -> Conversation | None:
        """What decides for the channel; a listener has none."""

    @abstractmethod
    def open_with(self, message: Message) -> None:
        """Take the validated message that opens the channel."""

    @abstractmethod
    def start(self) -> None:
        """Begin to live: the channel has its number."""

    @abstractmethod
    def post(self, message: Message) -> AmpeError | None:
        """Do with a validated message what its opcode says; the error if it stays outside.

        An ordinary message on an IO channel does not come here: see `posting.py`.
        """

    @abstractmethod
    def work(self) -> None:
        """Do what there is to do, as far as that goes without waiting."""

    @property
    def is_quiet(self) -> bool:
        """Whether nothing of it waits to be received."""
        return True

    def receiver_waits(self) -> None:
        """The application waits to receive, and the channel has used its share of the budget."""

    @abstractmethod
    def close(self) -> None:
        """Send what is queued, then end; at the latest after `close_timeout`."""

    @abstractmethod
    def end(self, cause: Cause) -> None:
        """End at once."""
