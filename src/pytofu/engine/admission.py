"""Who may become a channel: how many in all, how many from a host, and what the program says."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from pytofu.engine.limits import Limits
from pytofu.engine.options import Options
from pytofu.links.base import Link

log: Final = logging.getLogger("pytofu")


class Admission:
    """One an engine. A connection that is not admitted is reset before there is a channel."""

    __slots__ = ("_by_host", "_limits", "_options", "_when_not_full")

    def __init__(self, options: Options, limits: Limits) -> None:
        self._options = options
        self._limits = limits
        self._by_host: Counter[str] = Counter()  # accepted channels, where hosts are limited
        self._when_not_full: list[Callable[[], None]] = []

    def is_full(self, channels: int) -> bool:
        """Whether nothing more is to be accepted while there are so many channels."""
        return channels >= self._options.max_channels

    def call_when_not_full(self, callback: Callable[[], None]) -> None:
        """Call it once, when a channel has closed."""
        self._when_not_full.append(callback)

    def admit(self, link: Link) -> str | None:
        """The host to name in `closed` when the channel ends; None if it may not become one."""
        most, is_wanted = self._options.max_channels_per_host, self._options.accept_filter
        if most is None and is_wanted is None:
            return ""
        peer = link.peer()
        if most is not None and peer.host and self._by_host[peer.host] >= most:
            self._limits.reached("max_channels_per_host")
            return None
        if is_wanted is not None:
            try:
                if not is_wanted(peer):
                    return None
            except Exception:
                log.exception("accept_filter failed: the connection is refused")
                return None
        if most is None or not peer.host:
            return ""
        self._by_host[peer.host] += 1
        return peer.host

    def closed(self, host: str) -> None:
        """A channel has ended."""
        if host:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]
        callbacks, self._when_not_full = self._when_not_full, []
        for callback in callbacks:
            callback()
