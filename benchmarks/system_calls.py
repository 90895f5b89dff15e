"""Makes what pytofu asks of the system visible to cProfile, which sees no call that C makes of C.

In a process that is profiled links ask the system in Python, as without the compiled core, and a
reactor asks by a function in Python.
"""

import select
from typing import Any

from pytofu.engine.reactor import EpollReactor
from pytofu.links.sockets import SocketLink


class _SeenEpoll:
    """An epoll whose `poll` is called from Python."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout, most)


def see_system_calls() -> None:
    """From now on, for all links, and for the reactors that are made."""
    for name in ("receive", "send"):
        method = getattr(SocketLink, name)
        setattr(SocketLink, name, getattr(method, "__wrapped__", method))
    of_reactor = EpollReactor.__init__

    def reactor(self: Any, *arguments: Any) -> None:
        of_reactor(self, *arguments)
        self._epoll = _SeenEpoll(self._epoll)

    EpollReactor.__init__ = reactor  # type: ignore[method-assign, assignment]
