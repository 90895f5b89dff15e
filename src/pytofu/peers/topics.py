"""Topics: what is published, and for each subscriber a queue and a policy for when it is slow."""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Literal, Protocol

import trio

from pytofu.patterns.arguments import must_be, shown
from pytofu.peers.arguments import count, payload
from pytofu.peers.ctrl_c import protected
from pytofu.peers.errors import NotSent, RemoteError
from pytofu.peers.flow import frame_cost
from pytofu.peers.incoming import NO_HEADERS
from pytofu.peers.outlet import Outlet
from pytofu.peers.wire import ITEM, MAX_BODY, MISSED, PART, PART_LEN, TOPIC, checked, encoded
from pytofu.values.errors import AllocationFailedException
from pytofu.values.header import OpCode

type Policy = Literal["drop-oldest", "latest", "disconnect"]
"""What happens to a subscriber that is so slow that its queue is full."""

_POLICIES: Final = ("drop-oldest", "latest", "disconnect")
_MAX_HEADERS: Final = 60_000
_CACHED: Final = 1024
_PART: Final = encoded((ITEM, PART))


def pattern_tokens(pattern: str) -> tuple[str, ...]:
    """The tokens of a pattern: `*` stands for one, a `>` at the end for one or more.

    Raises ValueError for what is no pattern: an empty token, blanks, or `>` before the end.
    """
    must_be("a subscription's pattern", "text", str, pattern)
    tokens = tuple(pattern.split("."))
    if not all(tokens) or not pattern.isprintable() or " " in pattern or ">" in tokens[:-1]:
        raise ValueError(f"not a pattern: {pattern!r:.80}")
    return tokens


def topic_tokens(topic: str) -> tuple[str, ...]:
    """The tokens of a topic. Raises ValueError for what is no topic, patterns among it."""
    must_be("a topic", "text", str, topic)
    tokens = tuple(topic.split("."))
    if not all(tokens) or not topic.isprintable() or " " in topic or {"*", ">"} & set(tokens):
        raise ValueError(f"not a topic: {topic!r:.80}")
    return tokens


def matches(pattern: tuple[str, ...], topic: tuple[str, ...]) -> bool:
    """Whether the pattern stands for the topic."""
    if pattern[-1] == ">":
        if len(topic) < len(pattern):
            return False
        pattern = pattern[:-1]
    elif len(topic) != len(pattern):
        return False
    return all(one in ("*", other) for one, other in zip(pattern, topic, strict=False))


class Item:
    """One published message, shared by all its subscribers."""

    __slots__ = ("body", "lines", "topic")

    def __init__(self, topic: str, lines: bytes, body: bytes) -> None:
        self.topic: str = topic
        self.lines: bytes = lines
        self.body: bytes = body


class Waiting(Protocol):
    """What waits for a slow subscriber: bounded, by one policy or another."""

    def add(self, item: Item) -> int | None:
        """Take one more; how many are dropped for it, or None if that is not allowed."""
        ...

    def next(self) -> Item:
        """The next to be sent."""
        ...

    def __len__(self) -> int: ...


class OldestDropped:
    """A queue that drops the oldest when it is full, or refuses what is too much."""

    def __init__(self, keep: int, *, refuses: bool = False) -> None:
        self._keep = keep
        self._refuses = refuses
        self._items: deque[Item] = deque()

    def add(self, item: Item) -> int | None:
        """Take one more; see `Waiting`."""
        dropped = 0
        if len(self._items) >= self._keep:
            if self._refuses:
                return None
            self._items.popleft()
            dropped = 1
        self._items.append(item)
        return dropped

    def next(self) -> Item:
        """The oldest."""
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class LatestOfEach:
    """The newest message of each topic, in the order in which the topics began to wait."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        # A plain dict is slow to find its first: it looks at all that were before.
        self._items: OrderedDict[str, Item] = OrderedDict()

    def add(self, item: Item) -> int | None:
        """Take one more; see `Waiting`."""
        dropped = 0
        if item.topic in self._items:
            dropped = 1
        elif len(self._items) >= self._keep:
            self.next()
            dropped = 1
        self._items[item.topic] = item
        return dropped

    def next(self) -> Item:
        """That of the topic that has waited longest."""
        return self._items.popitem(last=False)[1]

    def __len__(self) -> int:
        return len(self._items)


class Subscriber:
    """The publisher's side of one subscription: sends while there is credit, else keeps."""

    def __init__(
        self,
        outlet: Outlet,
        ident: int,
        pattern: tuple[str, ...],
        credit: int,
        waiting: Waiting,
        keep: int,
    ) -> None:
        self.pattern: tuple[str, ...] = pattern
        self._keep = keep
        self._senders = trio.lowlevel.ParkingLot()
        self.on_end: Callable[[], None] = lambda: None
        self._outlet = outlet
        self._ident = ident
        self._credit = credit
        self._waiting = waiting
        self._missed = 0
        self._current: Item | None = None  # of which a part has been sent
        self._start = 0

    @property
    def is_full(self) -> bool:
        """Whether as many messages wait for credit as may."""
        return len(self._waiting) >= self._keep

    async def wait_for_room(self) -> None:
        """Wait until it may not be full any more; whoever then sends it nothing calls `wake_next`.

        Room for one message wakes one: what is sent then wakes the next if there is more.
        """
        await self._senders.park()

    def wake_next(self) -> None:
        """If there is room, it is for the one that has waited longest."""
        if not self.is_full:
            self._senders.unpark()

    def offer(self, item: Item) -> None:
        """Send the item, or keep it as the policy has it. Never waits."""
        dropped = self._waiting.add(item)
        if dropped is None:
            self.end(RemoteError("RESOURCE_EXHAUSTED", "the subscriber is too slow"))
            return
        self._missed += dropped
        self._send()

    def granted(self, credit: int) -> None:
        """The subscriber has room again."""
        self._credit += credit
        self._send()

    def _send(self) -> None:
        # What is raised is the end of the channel, which is on its way, or that too much is queued
        # on it: then this goes on when the subscriber gives credit for what it has read.
        with suppress(NotSent, AllocationFailedException):
            while self._credit > 0:
                if self._current is None:
                    if not self._waiting:
                        break
                    self._current, self._start = self._waiting.next(), 0
                self._send_part(self._current)
        self.wake_next()

    def _send_part(self, item: Item) -> None:
        lines = b""
        if self._start == 0:
            lines = item.lines
            if self._missed:
                lines += encoded((MISSED, str(self._missed)))
        end = self._start + PART_LEN
        if end < len(item.body):
            lines += _PART
        part = item.body[self._start : end]
        header = self._outlet.post(OpCode.RESPONSE, self._ident, lines, part, more=True)
        self._credit -= frame_cost(header)
        if self._start == 0:
            self._missed = 0
        self._start = end
        if end >= len(item.body):
            self._current = None

    def end(self, error: RemoteError | None = None) -> None:
        """Send no more, and say why unless the subscriber knows."""
        self.on_end()
        self._senders.unpark_all()
        if error is not None:
            self._outlet.tell_error(self._ident, error)


class Topics:
    """What a server publishes: give it to `serve`, and peers can subscribe.

    For each subscriber that does not keep up, `keep` messages wait. When there are more,
    "drop-oldest" drops the oldest, "latest" keeps only the newest of each topic, for `keep`
    topics, and "disconnect" ends the subscription, with `RemoteError` for the subscriber. Nobody
    else is held up. What was dropped is counted: `Incoming.missed`.
    """

    def __init__(self, keep: int = 100, policy: Policy = "drop-oldest") -> None:
        count("Topics' keep", keep)
        if policy not in _POLICIES:
            raise ValueError(f"Topics' policy is one of {_POLICIES}, not {shown(policy)}")
        self._keep = keep
        self._policy = policy
        self._subscribers: dict[Subscriber, None] = {}
        self._interested: dict[str, tuple[Subscriber, ...]] = {}  # a cache, by topic

    @protected
    def publish(self, topic: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> int:
        """Send to all who have subscribed to the topic; returns how many they are.

        Never waits: see `Topics` for subscribers that are slow. A topic is made of tokens with
        dots between them, as `news.sport.results`. Raises ValueError for what is no topic, for
        headers that are not the program's to use, and for a body that is too long.
        """
        item = _item(topic, headers, body)
        subscribers = self._who(topic)
        for subscriber in subscribers:
            subscriber.offer(item)
        return len(subscribers)

    @protected
    async def send(self, topic: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> int:
        """As `publish`, but wait first until no subscriber of the topic has a full queue.

        A checkpoint; cancelled, nothing was sent to anybody.
        """
        _item(topic, headers, body)
        await trio.lowlevel.checkpoint()
        slow = self._slow(topic)
        while slow is not None:
            await slow.wait_for_room()
            other = self._slow(topic)
            if other is not None:
                slow.wake_next()
            slow = other
        return self.publish(topic, body, headers)

    def _slow(self, topic: str) -> Subscriber | None:
        return next((one for one in self._who(topic) if one.is_full), None)

    def _who(self, topic: str) -> tuple[Subscriber, ...]:
        found = self._interested.get(topic)
        if found is None:
            tokens = topic_tokens(topic)
            found = tuple(one for one in self._subscribers if matches(one.pattern, tokens))
            if len(self._interested) >= _CACHED:
                self._interested.clear()
            self._interested[topic] = found
        return found

    def subscribe(self, outlet: Outlet, ident: int, pattern: str, credit: int) -> Subscriber:
        """Make a subscriber; for the link. Raises ValueError for what is no pattern."""
        waiting: Waiting = (
            LatestOfEach(self._keep)
            if self._policy == "latest"
            else OldestDropped(self._keep, refuses=self._policy == "disconnect")
        )
        subscriber = Subscriber(outlet, ident, pattern_tokens(pattern), credit, waiting, self._keep)
        self._subscribers[subscriber] = None
        self._interested.clear()
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forget a subscriber, if it has not been forgotten; for the link."""
        self._subscribers.pop(subscriber, None)
        self._interested.clear()


def _item(topic: str, headers: Mapping[str, str], body: bytes) -> Item:
    topic_tokens(topic)
    body = payload("body", body)
    if len(body) > MAX_BODY:
        raise ValueError(f"a body of {len(body)} bytes: {MAX_BODY} are the most")
    # What no message can carry is refused here, not at each subscriber.
    lines = encoded((TOPIC, topic), *checked("headers", headers).items())
    if len(lines) > _MAX_HEADERS:
        raise ValueError(f"headers of {len(lines)} bytes: {_MAX_HEADERS} are the most")
    return Item(topic, lines, body)
