"""What tests say about credit, where both sides are in one process and nothing is on its way."""

from pytofu.peers.flow import WINDOW, ReceiveWindow
from pytofu.peers.link import Link


def missing(window: ReceiveWindow) -> int:
    """What the sender has spent and the receiver has not given back yet."""
    return window._unconsumed + window._owed


def all_credit_for_signals_is_there(one: Link, other: Link) -> bool:
    """In both directions."""
    return (
        one._signal_credit + missing(other.inbox._window) == WINDOW
        and other._signal_credit + missing(one.inbox._window) == WINDOW
    )
