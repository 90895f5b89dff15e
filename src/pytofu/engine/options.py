"""What an engine can be told when it is opened."""

from typing import Final

import attrs
from attrs.validators import ge

DEFAULT_INITIAL_POOL_MSGS: Final = 1024
DEFAULT_MAX_POOL_MSGS: Final = 4096


def _initial_default(number: int | None) -> int:
    return number or DEFAULT_INITIAL_POOL_MSGS


def _max_default(number: int | None) -> int:
    return number or DEFAULT_MAX_POOL_MSGS


@attrs.frozen(kw_only=True)
class Options:
    """Settings of an engine; every one has a default that suits most programs (PROTOCOL 2, 5, 6).

    Times are in seconds. 0 or None for a pool size means its default, and a maximum below the
    initial size is raised to it. Anything negative raises ValueError.
    """

    initial_pool_msgs: int = attrs.field(
        default=DEFAULT_INITIAL_POOL_MSGS, converter=_initial_default, validator=ge(1)
    )
    """Messages in the pool at the start: how many received ones the applications of this engine
    can hold before its channels stop reading."""
    max_pool_msgs: int = attrs.field(
        default=DEFAULT_MAX_POOL_MSGS, converter=_max_default, validator=ge(1)
    )
    """Messages that the pool keeps at the most."""
    connect_timeout: float = attrs.field(default=10.0, validator=ge(0))
    """For making a connection; then the HelloRequest comes back with connect_failed."""
    hello_timeout: float = attrs.field(default=10.0, validator=ge(0))
    """From accepting a connection to its whole HelloRequest."""
    frame_timeout: float = attrs.field(default=60.0, validator=ge(0))
    """From the first byte of a message to its last."""
    close_timeout: float = attrs.field(default=5.0, validator=ge(0))
    """For an orderly close: sending what is queued and hearing the peer close."""
    high_water: int = attrs.field(default=1024 * 1024, validator=ge(0))
    """Bytes queued on a channel above which `ChannelGroup.send` waits, until half are gone."""
    reuse_port: bool = False
    """Let several listeners share a TCP port (SO_REUSEPORT)."""
