"""Who may become a channel: how many in all, how many from a host, and what the program says.

And a word where it may be anybody, in clear.
"""

import logging
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from pytofu.engine.limits import Limits
from pytofu.engine.options import Options
from pytofu.links.base import Link
from pytofu.values.address import Address, TCPServerAddress

log: Final = logging.getLogger("pytofu")


class Admission:
    """One an engine. A connection that is not admitted is reset before there is a channel."""

    __slots__ = ("_by_host", "_limits", "_may_be_in_clear", "_options", "_when_not_full")

    def __init__(self, options: Options, limits: Limits) -> None:
        self._options = options
        self._limits = limits
        self._by_host: Counter[str] = Counter()  # accepted channels, where hosts are limited
        # Each once: a listener asks at each of its addresses.
        self._when_not_full: dict[Callable[[], None], None] = {}
        self._may_be_in_clear = options.in_clear  # or has been warned of

    def is_full(self, channels: int) -> bool:
        """Whether nothing more is to be accepted while there are so many channels."""
        return channels >= self._options.max_channels

    def call_when_not_full(self, callback: Callable[[], None]) -> None:
        """Call it once, however often that is asked for, when a channel has closed."""
        self._when_not_full[callback] = None

    def listening_at(self, address: Address) -> None:
        """Warn, once, if others than this machine can connect there without TLS."""
        if self._may_be_in_clear or not isinstance(address, TCPServerAddress):
            return
        if ip_address(address.host).is_loopback:
            return
        self._may_be_in_clear = True
        log.warning(
            "listening in clear at %s port %d: anybody on the way can read and change what is "
            "sent. TLSServerAddress encrypts; Options(in_clear=True) silences this.",
            address.host,
            address.port,
        )

    def admit(self, link: Link) -> str | None:
        """The host to name in `closed` when the channel ends; None if it may not become one."""
        most = self._options.max_channels_per_host
        host = link.peer().host if most is not None else ""
        if most is not None and host and self._by_host[host] >= most:
            self._limits.reached("max_channels_per_host")
            return None
        # With a handshake to come, the program is asked when more is known of the peer.
        if not link.has_handshake and not self.wants(link):
            return None
        if host:
            self._by_host[host] += 1
        return host

    def wants(self, link: Link) -> bool:
        """What the program says of the peer; what fails, refuses."""
        is_wanted = self._options.accept_filter
        if is_wanted is None:
            return True
        try:
            return is_wanted(link.peer())
        except Exception:
            log.exception("accept_filter failed: the connection is refused")
            return False

    def closed(self, host: str) -> None:
        """A channel has ended."""
        if host:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]
        callbacks, self._when_not_full = self._when_not_full, {}
        for callback in callbacks:
            callback()
