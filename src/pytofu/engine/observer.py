"""Counters of what went over links."""

from typing import TYPE_CHECKING

import attrs

from pytofu._choice import compiled, twin


@attrs.define
class Traffic:
    """Counters of what went over links."""

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    def add(self, other: "Traffic") -> None:
        """Add the other's counts to these."""
        self.messages_sent += other.messages_sent
        self.messages_received += other.messages_received
        self.bytes_sent += other.bytes_sent
        self.bytes_received += other.bytes_received


if compiled and not TYPE_CHECKING:
    Traffic = twin(Traffic)
