"""What an engine can be told when it is opened."""

import ssl
from collections.abc import Callable
from functools import cached_property
from types import NoneType
from typing import Any, Final, get_args

import attrs
from attrs.validators import and_, ge, gt, le, optional

from pytofu.links.settings import TCPSettings
from pytofu.patterns.arguments import (
    as_float,
    must_be,
    must_be_callable,
    shown,
    whole_number,
    wrong_type,
)
from pytofu.protocol.conversation import TimeLimits
from pytofu.values.peer_info import PeerInfo

DEFAULT_INITIAL_POOL_MSGS: Final = 8192
DEFAULT_MAX_POOL_MSGS: Final = 16384

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

_MOST: Final = 2**63 - 1
"""No number is greater: the compiled core counts in as many bits, and no memory has more bytes."""


def _initial_default(number: int | None) -> int:
    given = None if number is None else whole_number("Options.initial_pool_msgs", number)
    return given or DEFAULT_INITIAL_POOL_MSGS


def _max_default(number: int | None) -> int:
    given = None if number is None else whole_number("Options.max_pool_msgs", number)
    return given or DEFAULT_MAX_POOL_MSGS


def _has_its_type(options: "Options", option: "attrs.Attribute[Any]", given: Any) -> None:
    what, kinds = f"Options.{option.name}", get_args(option.type) or (option.type,)
    if given is None and NoneType in kinds:
        return
    if int in kinds:
        if whole_number(what, given) > _MOST:
            raise ValueError(f"{what} takes at most 2**63 - 1, not {shown(given)}")
    elif float in kinds:
        if isinstance(given, bool):
            raise wrong_type(what, "a number", given)
        must_be(what, "a number", (int, float), given)
        as_float(what, given)
    elif bool in kinds:
        must_be(what, "True or False", bool, given)
    elif ssl.SSLContext in kinds:
        must_be(what, "an ssl.SSLContext", ssl.SSLContext, given)
    else:
        must_be_callable(what, given)


def _anything(*_: object) -> None:
    """The validator of what has no range."""


def _typed(_: type, options: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """Have the type of each option checked, in front of its range."""
    return [
        option.evolve(validator=and_(_has_its_type, option.validator or _anything))
        for option in options
    ]


def _seconds(default: float) -> float:
    value: float = attrs.field(default=default, validator=ge(0))
    return value


def _bytes(default: int) -> int:
    value: int = attrs.field(default=default, validator=ge(1))
    return value


def _six_times_close_timeout(options: "Options") -> float:
    return 6 * options.close_timeout


@attrs.frozen(kw_only=True, field_transformer=_typed)
class Options:
    """Settings of an engine; every one has a default that suits most programs (PROTOCOL 2, 5 to 7).

    Times are in seconds. 0 or None for a pool size means its default, and a maximum below the
    initial size is raised to it. What is out of range raises ValueError, what is of another type
    TypeError. A limit that ends a channel names itself in the `~detail` of the channel's last
    event.
    """

    # ------------------------------------------------------------------ what is received

    initial_pool_msgs: int = attrs.field(
        default=DEFAULT_INITIAL_POOL_MSGS, converter=_initial_default, validator=ge(1)
    )
    """Messages in the pool at the start: how many received ones the applications of this engine
    can hold before its channels stop reading."""
    max_pool_msgs: int = attrs.field(
        default=DEFAULT_MAX_POOL_MSGS, converter=_max_default, validator=ge(1)
    )
    """Messages that the pool keeps at the most."""
    max_received_bytes: int = _bytes(64 * _MIB)
    """Bytes of all messages that the applications of this engine hold, beside their number; above
    it, channels stop reading. And, by themselves, bytes of messages that have begun to arrive:
    above it, the channel whose message has been incomplete longest is closed (recv_failed)."""
    channel_share: float = attrs.field(default=1 / 8, validator=[gt(0), le(1)])
    """How much of the pool, in messages and in bytes, one channel may hold; then it stops reading.
    Each may always hold one message."""
    max_hello_bytes: int = _bytes(16 * _KIB)
    """Bytes of a HelloRequest's text headers and body together; an accepted connection with a
    larger one is reset (not_allowed) before more of it is read."""

    # ------------------------------------------------------------------ what is sent

    high_water: int = attrs.field(default=_MIB, validator=ge(0))
    """Bytes queued on a channel above which `ChannelGroup.send` waits, until half are gone."""
    max_queued_bytes: int = _bytes(16 * _MIB)
    """Bytes queued on a channel; above it, `post` raises ALLOCATION_FAILED. An accepted channel is
    not read from when they lack no more than its share of max_received_bytes, so that a peer that
    asks and does not read the answers is held back, and these still find a place."""
    max_total_queued_bytes: int = _bytes(64 * _MIB)
    """Bytes queued on all channels of the engine; above it, each may queue little. A quarter above
    it nobody is accepted, who does not take his answers is not read from, and the channel with the
    most is closed (send_failed), and so on."""

    # ------------------------------------------------------------------ who connects

    max_channels: int = attrs.field(default=10_000, validator=ge(1))
    """Channels of the engine above which nothing more is accepted until one has closed; nor is it
    while twice as many have something that waits to be received."""
    max_channels_per_host: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Accepted TCP channels from one IP address; further connections from there are reset."""
    accept_filter: Callable[[PeerInfo], bool] | None = None
    """Asked for each accepted connection, before it becomes a channel; one that it answers with
    False, or with an exception, which is logged, is reset. Over TLS it is asked after the
    handshake; the channel, of which nothing was heard yet, ends with not_allowed then. It must not
    wait."""
    tls_server: ssl.SSLContext | None = None
    """With which certificate to listen over TLS, and whose to ask for: what `TLSServerAddress`
    needs. Asked at each handshake, so that certificates can be renewed."""
    tls_client: ssl.SSLContext | None = None
    """Whom to trust when connecting over TLS: what `TLSClientAddress` needs."""
    in_clear: bool = False
    """Whether listening without TLS where others than this machine can connect is as it should be;
    else there is a warning, once an engine."""
    reuse_port: bool = False
    """Let several listeners share a TCP port (SO_REUSEPORT)."""

    # ------------------------------------------------------------------ time

    connect_timeout: float = _seconds(10.0)
    """For making a connection; then the HelloRequest comes back with connect_failed."""
    hello_timeout: float = _seconds(10.0)
    """From accepting a connection to its whole HelloRequest; and, connecting, from having the
    connection to the answer: then the HelloRequest comes back with connect_failed, and what was
    posted behind it."""
    frame_timeout: float = _seconds(60.0)
    """From the first byte of a message to its last."""
    send_timeout: float = _seconds(60.0)
    """Without the peer taking a byte of what is queued for it; then the channel closes."""
    close_timeout: float = _seconds(5.0)
    """For an orderly close: sending what is queued and hearing the peer close."""
    bye_timeout: float = attrs.field(
        default=attrs.Factory(_six_times_close_timeout, takes_self=True), validator=ge(0)
    )
    """From sending a ByeRequest to its answer; then the channel closes. Six times close_timeout,
    so 30 s, unless it is given: who wants a quick end wants it here too."""
    keepalive: float = _seconds(30.0)
    """Silence on a TCP connection after which the peer's system is asked whether it is still
    there; 0: never. With the next two: a peer that has vanished is noticed in about a minute, and
    the channel ends with communication_failed."""
    keepalive_interval: float = _seconds(10.0)
    """Between two such questions."""
    keepalive_count: int = attrs.field(default=3, validator=ge(1))
    """How many of them without an answer end the connection."""
    user_timeout: float = _seconds(60.0)
    """For which sent bytes may stay unacknowledged on a TCP connection; 0: as long as the system
    thinks right."""

    busy_poll: float = attrs.field(default=100e-6, validator=[ge(0), le(0.01)])
    """For which, before the loop sleeps, the sockets are asked again and again, where answers have
    come about that soon the last few times: nobody sleeps for so short a wait. 0: always sleep."""

    # ------------------------------------------------------------------ the system's buffers

    send_buffer: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """Bytes of the system's send buffer for each connection; None: its own choice, which grows."""
    receive_buffer: int | None = attrs.field(default=None, validator=optional(ge(1)))
    """As `send_buffer`, for receiving."""

    @cached_property
    def time_limits(self) -> TimeLimits:
        """Those of a conversation."""
        return TimeLimits(
            connect_timeout=self.connect_timeout,
            hello_timeout=self.hello_timeout,
            frame_timeout=self.frame_timeout,
            send_timeout=self.send_timeout,
            bye_timeout=self.bye_timeout,
            close_timeout=self.close_timeout,
        )

    @cached_property
    def tcp_settings(self) -> TCPSettings:
        """What the links are told."""
        return TCPSettings(
            keepalive=self.keepalive,
            keepalive_interval=self.keepalive_interval,
            keepalive_count=self.keepalive_count,
            user_timeout=self.user_timeout,
            send_buffer=self.send_buffer,
            receive_buffer=self.receive_buffer,
        )
