"""Makes what pytofu asks of the system visible to cProfile, which sees no call that C makes of C.

In a process that is profiled the compiled core calls these functions in Python, and they call the
system. The pure code calls it from Python anyway.
"""

import select
import socket
from collections.abc import Callable
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


def _seen(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: method(*arguments)


def see_system_calls() -> None:
    """From now on, for all links and reactors that are made."""
    of_link, of_reactor = SocketLink.__init__, EpollReactor.__init__

    def link(self: Any, sock: socket.socket) -> None:
        of_link(self, sock)
        self._receive, self._send = _seen(sock.recv), _seen(sock.send)

    def reactor(self: Any, *arguments: Any) -> None:
        of_reactor(self, *arguments)
        self._epoll = _SeenEpoll(self._epoll)

    SocketLink.__init__ = link  # type: ignore[method-assign]
    EpollReactor.__init__ = reactor  # type: ignore[method-assign, assignment]
