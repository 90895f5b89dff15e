"""What tests say about credit, where both sides are in one process and nothing is on its way."""

from pytofu.peers.flow import WINDOW, ReceiveWindow
from pytofu.peers.link import Link


def is_all_there(credit: int, window: ReceiveWindow, unread: int = 0, size: int = WINDOW) -> bool:
    """Whether the sender has it, or will be given it with what the receiver reads next.

    `unread` is what the messages cost that have arrived and that nobody has taken yet.
    """
    return window._unconsumed == unread and credit + window._owed + unread == size


def is_all_for_signals_there(sender: Link, receiver: Link) -> bool:
    """The same, of what belongs to no call."""
    inbox = receiver.inbox
    unread = sum(cost for _, cost, credited in inbox._items if credited)
    return is_all_there(sender.signalling.credit, inbox._window, unread)
