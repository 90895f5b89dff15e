"""What the engine and its channel groups offer, as interfaces without inheritance.

Write functions against these and they work with `Ampe` and `ChannelGroup`, and in tests with
anything that has the same methods. Source: pattern guide, section 3 (interfaces).
"""

from typing import Protocol

from pytofu.values.allocation import AllocationStrategy
from pytofu.values.header import BinaryHeader
from pytofu.values.holder import Holder
from pytofu.values.message import Message


class MessageSource(Protocol):
    """Lends messages and takes them back, as `Ampe` does. Source: pattern guide, sections 3, 8."""

    def get(self, strategy: AllocationStrategy = AllocationStrategy.ALWAYS) -> Message | None:
        """Return a message; None if the pool is empty and the strategy is POOL_ONLY.

        Raises:
            ShutdownException: the engine is shutting down.
        """
        ...

    def put(self, holder: Holder[Message]) -> None:
        """Take the holder's message, if it has one, back; the holder is empty then.

        Raises:
            MessageReleasedError: somebody else has posted it or put it back, which is a bug.
        """
        ...


class MessagePort(Protocol):
    """Sends and receives messages, as `ChannelGroup` does. Source: pattern guide, sections 3, 8."""

    def post(self, holder: Holder[Message]) -> BinaryHeader:
        """Hand the message over for sending, without waiting, and return its header.

        On success the holder is empty; on failure it keeps the message.

        Raises:
            AmpeException: the message was refused, see PROTOCOL 3.
        """
        ...

    async def wait_receive(self, *, timeout_ns: int | None = None) -> Message | None:
        """Return the next message; None when `timeout_ns` nanoseconds have passed without one.

        None waits for ever, 0 polls. Cancelling it loses no message.

        Raises:
            ShutdownException: the engine, or this group, is shutting down.
        """
        ...
