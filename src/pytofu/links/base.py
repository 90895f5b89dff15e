"""What a link is: one connection to a peer, seen as bytes; and what listens for such.

Nothing here waits. What cannot go on now answers with the direction to wait for (`Wait`), what
is over with a `LinkError`: errors are values, and carry the system's own text. Whoever owns a link
(an IO channel) calls it only from the Trio thread of its engine, and closes it, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import attrs

from pytofu.values.address import Address
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError


class Wait(Enum):
    """What has to happen before the same call makes sense again."""

    READABLE = auto()
    WRITABLE = auto()


@attrs.frozen
class LinkError:
    """Why a link, or an attempt to have one, ended: the error, and the system's text."""

    error: AmpeError
    detail: str = ""

    @property
    def orderly(self) -> bool:
        """Whether the peer said that it was its end."""
        return self.error is AmpeError.PEER_DISCONNECTED


PEER_CLOSED: Final = LinkError(AmpeError.PEER_DISCONNECTED)
"""The end that the peer announced: nothing is wrong."""


class Link(ABC):
    """One connection, connected or about to be."""

    __slots__ = ()

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor whose readiness is this link's; -1 if it has none and calls `wake`."""

    def on_ready(self, wake: Callable[[], None]) -> None:  # noqa: B027 (most have a descriptor)
        """Call `wake`, from whatever thread, when a link without descriptor may go on.

        Before this returns, if it may go on already. It may be called for nothing, even while or
        just after the link is closed.
        """

    @property
    def has_handshake(self) -> bool:
        """Whether who the peer is is known only when the link has opened."""
        return False

    @abstractmethod
    def open(self) -> Wait | LinkError | None:
        """Go on connecting (and shaking hands); None when the link is ready for data."""

    @abstractmethod
    def receive(self, size: int) -> bytes | Wait | LinkError:
        """Up to `size` bytes, never none.

        A shorter answer than `size` does not say that no more is there.
        """

    @property
    def buffered(self) -> bool:
        """Whether more can be received at once that no readiness will announce."""
        return False

    @abstractmethod
    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        """Take some of `data`, which is not empty; how many bytes were taken, at least one.

        After a `Wait` the same data has to be offered again, or more of it behind.
        """

    @abstractmethod
    def end(self) -> Wait | LinkError | None:
        """Say that nothing more will be sent; receiving goes on. None when it is said."""

    @abstractmethod
    def close(self, *, reset: bool) -> None:
        """Give the connection up; with `reset` the peer sees that it was no orderly end.

        Shuts down first, so that a forked child's copy does not keep the connection open.
        """

    @abstractmethod
    def peer(self) -> PeerInfo:
        """Who is at the other end; what the system does not know any more is left out."""

    def acknowledge(self) -> None:  # noqa: B027 (most have nothing to do)
        """Tell the peer's system at once what has arrived, where it would wait for that."""


class Listening(ABC):
    """Something that accepts links at an address."""

    __slots__ = ()

    @property
    @abstractmethod
    def address(self) -> Address:
        """Where it really listens: a port 0 is resolved."""

    @abstractmethod
    def fileno(self) -> int:
        """The descriptor that is readable when a connection waits; -1 as in `Link`."""

    def on_ready(self, wake: Callable[[], None]) -> None:  # noqa: B027 (most have a descriptor)
        """As `Link.on_ready`."""

    @property
    def buffered(self) -> bool:
        """Whether a connection waits that no readiness will announce."""
        return False

    @abstractmethod
    def accept(self) -> Link | Wait | LinkError:
        """The next connection that waits.

        An error with ALLOCATION_FAILED passes when something is closed (no descriptors, no
        memory); with ACCEPT_FAILED the listening is broken for good.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop listening, and remove what it has left in the file system."""
