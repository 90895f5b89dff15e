"""TCP: connecting, listening, and what is particular about its links (PROTOCOL 4, 6 and 7)."""

import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final, cast

import attrs
import trio

from pytofu.links.base import Link, LinkError, Listening, Wait
from pytofu.links.ip import Host, SockAddr, literal, place, shown_host
from pytofu.links.settings import Option, TCPSettings, set_options
from pytofu.links.sockets import BACKLOG, SocketLink, SocketListening, failure
from pytofu.patterns.cleanup import ErrDefer
from pytofu.values.address import TCPClientAddress, TCPServerAddress
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

log: Final = logging.getLogger("pytofu")


# On Windows connecting answers with another errno.
_UNDER_WAY: Final = frozenset(
    {errno.EINPROGRESS, errno.EALREADY, getattr(errno, "WSAEWOULDBLOCK", errno.EALREADY)}
)
_CONNECTED: Final = frozenset({0, errno.EISCONN})

# Where it exists, on Windows, SO_REUSEADDR lets any program take over a port.
_OWN_PORT: Final = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)

_SHARED_PORT: Final = getattr(socket, "SO_REUSEPORT", None)

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)

_MAX_PORT: Final = 65535

_PORT_TRIES: Final = 20
"""How many ports of the system's choice are tried until one is free at all addresses of a name."""

# An address that names a family or interface which this machine does not have.
_NOT_HERE: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


# ---------------------------------------------------------------------- links


class TCPLink(SocketLink):
    """A TCP connection, made or under way."""

    __slots__ = ("_target",)

    def __init__(self, sock: socket.socket, target: SockAddr | None = None) -> None:
        super().__init__(sock)
        self._target = target  # while connecting

    def open(self) -> Wait | LinkError | None:
        """As `Link.open`: how far connecting has got."""
        target = self._target
        if target is None:
            return None
        try:
            # First, since where connecting has failed some systems would begin again.
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            error = error or self._sock.connect_ex(target)
            if error in _UNDER_WAY:
                return Wait.WRITABLE
            if error not in _CONNECTED:
                raise OSError(error, os.strerror(error))
            _refuse_own_end(self._sock, target[1])
        except OSError as failed:
            return failure(AmpeError.CONNECT_FAILED, failed, place(target))
        self._target = None
        return None

    def close(self, *, reset: bool) -> None:
        """As `Link.close`."""
        if not reset:
            super().close(reset=False)
            return
        # Shutting down first would send a FIN. What Python has forked has closed its copies.
        with contextlib.suppress(OSError):  # on some systems, when the peer was first
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.let_go()

    def acknowledge(self) -> None:
        """As `Link.acknowledge`: without the usual delay, of some 40 ms; on Linux.

        A peer that leaves Nagle's algorithm on and sends a message in pieces, as Zig tofu does,
        waits for that before it sends the next piece.
        """
        if _QUICKACK is not None:
            set_options(self._sock, [(socket.IPPROTO_TCP, _QUICKACK, 1)])

    def peer(self) -> PeerInfo:
        """As `Link.peer`: nobody, once the connection is broken."""
        try:
            sockaddr = self._sock.getpeername()
        except OSError:
            return PeerInfo(scheme="tcp")
        return PeerInfo(shown_host(sockaddr), sockaddr[1], scheme="tcp")


def _refuse_own_end(sock: socket.socket, port: int) -> None:
    """Raise OSError if the socket is connected to itself.

    That happens where nobody listens: the system may give a connecting socket the very port that
    it connects to, and sees two sides that connect to each other at once.
    """
    # The peer's name is asked for only then: there is none if the connection was just reset.
    if sock.getsockname()[1] == port and sock.getsockname() == sock.getpeername():
        raise OSError(errno.ECONNREFUSED, "the socket was connected to itself")


# ---------------------------------------------------------------------- connecting


def _wrong(address: TCPClientAddress | TCPServerAddress, error: Exception) -> LinkError:
    return failure(AmpeError.INVALID_ADDRESS, error, f"{address.host!r} port {address.port}")


def _find(address: TCPClientAddress | TCPServerAddress) -> Host | LinkError | None:
    """The address of a literal, None for a name, or what is wrong with it."""
    if not 0 <= address.port <= _MAX_PORT:  # some resolvers take it modulo 65536
        return _wrong(address, ValueError("no such port"))
    try:
        return literal(address.host)
    except (OSError, ValueError) as error:
        return _wrong(address, error)


def begin_connect(address: TCPClientAddress, settings: TCPSettings) -> Link | LinkError | None:
    """Connect to an IP literal; None for a name, which has to be resolved."""
    if not address.host:
        return LinkError(AmpeError.INVALID_ADDRESS, "no host to connect to")
    host = _find(address)
    if not isinstance(host, Host):
        return host
    target = host.at(address.port)
    try:
        sock = socket.socket(host.family, socket.SOCK_STREAM)
    except OSError as error:
        return failure(AmpeError.CONNECT_FAILED, error, place(target))
    sock.setblocking(False)
    set_options(sock, settings.options)
    link = TCPLink(sock, target)
    error_number = sock.connect_ex(target)
    if error_number in _UNDER_WAY or error_number in _CONNECTED:
        return link
    link.close(reset=True)
    refused = OSError(error_number, os.strerror(error_number))
    return failure(AmpeError.CONNECT_FAILED, refused, place(target))


async def connect(address: TCPClientAddress, settings: TCPSettings) -> Link | LinkError:
    """Connect, to whichever address of a name answers first. Cancelling leaves nothing."""
    link = begin_connect(address, settings)
    if link is None:
        return await _connect_to_name(address, settings)
    if isinstance(link, LinkError):
        return link
    with ErrDefer() as cleanup:
        cleanup.register(link.close, reset=True)
        while (state := link.open()) is Wait.WRITABLE:
            await trio.lowlevel.wait_writable(link.fileno())
    if isinstance(state, LinkError):
        link.close(reset=True)
        return state
    return link


async def _connect_to_name(address: TCPClientAddress, settings: TCPSettings) -> Link | LinkError:
    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
    except (socket.gaierror, ValueError) as error:  # ValueError: a name that IDNA cannot encode
        return _wrong(address, error)
    except OSError as error:
        return LinkError(AmpeError.CONNECT_FAILED, _all_reasons(error))
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    set_options(sock, settings.options)
    link = TCPLink(sock)
    try:
        _refuse_own_end(sock, address.port)
    except OSError as error:
        link.close(reset=True)
        return failure(AmpeError.CONNECT_FAILED, error, f"{address.host} port {address.port}")
    return link


def _all_reasons(error: OSError) -> str:
    """Trio's text says that all attempts have failed; their own reasons are its cause."""
    cause = error.__cause__
    causes = [] if cause is None else [cause]
    if isinstance(cause, BaseExceptionGroup):
        causes = list(cast("BaseExceptionGroup[BaseException]", cause).exceptions)
    reasons = [failure(AmpeError.CONNECT_FAILED, one).detail for one in causes]
    return ": ".join([str(error), "; ".join(reasons)] if reasons else [str(error)])


# ---------------------------------------------------------------------- listening


def _has_option(sock: socket.socket, option: Option) -> bool:
    level, name, value = option
    try:
        return sock.getsockopt(level, name) == value
    except OSError:  # some systems, if it was just reset
        return False


class TCPListening(SocketListening):
    """A listening TCP socket."""

    __slots__ = ("_address", "_not_inherited", "_options")

    def __init__(self, sock: socket.socket, settings: TCPSettings) -> None:
        super().__init__(sock)
        sockaddr = sock.getsockname()
        self._address: Final = TCPServerAddress(shown_host(sockaddr), sockaddr[1])
        self._options: Final = settings.options
        # Those that accepted sockets do not have from this one: seen from the first of them.
        self._not_inherited: list[Option] | None = None

    @property
    def address(self) -> TCPServerAddress:
        """As `Listening.address`."""
        return self._address

    def _link(self, sock: socket.socket) -> Link:
        if self._not_inherited is None:
            self._not_inherited = [one for one in self._options if not _has_option(sock, one)]
        set_options(sock, self._not_inherited)
        return TCPLink(sock)


def begin_listen(
    address: TCPServerAddress, *, reuse_port: bool, settings: TCPSettings
) -> list[Listening] | LinkError | None:
    """Listen at an IP literal or on all interfaces; None for a name, which has to be resolved."""
    host = _find(attrs.evolve(address, host=address.host or "::"))
    if not isinstance(host, Host):
        return host
    hosts = [host]
    if not address.host and not socket.has_dualstack_ipv6():
        hosts.append(Host(socket.AF_INET, "0.0.0.0"))
    return _listen_at(hosts, address.port, reuse_port, settings)


async def listen(
    address: TCPServerAddress, *, reuse_port: bool, settings: TCPSettings
) -> list[Listening] | LinkError:
    """Listen at all addresses of a name that work, at the same port. Cancelling leaves nothing."""
    found = begin_listen(address, reuse_port=reuse_port, settings=settings)
    if found is not None:
        return found
    try:
        resolved = await trio.socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, ValueError) as error:  # ValueError: a name that IDNA cannot encode
        return _wrong(address, error)
    except OSError as error:
        return failure(AmpeError.LISTEN_FAILED, error, f"{address.host} port {address.port}")
    hosts = dict.fromkeys(Host.of(sockaddr) for *_, sockaddr in resolved)  # each once
    return _listen_at(list(hosts), address.port, reuse_port, settings)


def _listen_at(
    hosts: Sequence[Host],
    port: int,
    reuse_port: bool,
    settings: TCPSettings,
    tries: int = _PORT_TRIES,
) -> list[Listening] | LinkError:
    """Listen at all hosts that work; one has to. Port 0: the same of the system's choice at all."""
    made, failures = _try_at(hosts, port, reuse_port, settings)
    taken = any(error.errno == errno.EADDRINUSE for error, _ in failures)
    if made and taken and port == 0 and tries > 1:
        for listening in made:
            listening.close()
        return _listen_at(hosts, port, reuse_port, settings, tries - 1)
    details = [failure(AmpeError.LISTEN_FAILED, error, where).detail for error, where in failures]
    if not made:
        return LinkError(AmpeError.LISTEN_FAILED, "; ".join(details))
    for (error, _), detail in zip(failures, details, strict=True):
        level = logging.DEBUG if error.errno in _NOT_HERE else logging.WARNING
        log.log(level, "listening at the other addresses of the name, but not here: %s", detail)
    return made


def _try_at(
    hosts: Sequence[Host], port: int, reuse_port: bool, settings: TCPSettings
) -> tuple[list[Listening], list[tuple[OSError, str]]]:
    made: list[Listening] = []
    failures: list[tuple[OSError, str]] = []
    for host in hosts:
        try:
            listening = _bind(host.at(port), len(hosts) == 1, reuse_port, settings)
        except OSError as error:
            failures.append((error, place(host.at(port))))
        else:
            made.append(listening)
            port = listening.address.port
    return made, failures


def _bind(
    sockaddr: SockAddr, both_families: bool, reuse_port: bool, settings: TCPSettings
) -> TCPListening:
    """Listen at one address. Raises OSError."""
    family = socket.AF_INET if len(sockaddr) == 2 else socket.AF_INET6
    with ErrDefer() as cleanup:
        sock = socket.socket(family, socket.SOCK_STREAM)
        cleanup.register(sock.close)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _OWN_PORT, 1)
        if reuse_port:
            if _SHARED_PORT is None:
                raise OSError(errno.ENOPROTOOPT, "here no port can be shared")
            sock.setsockopt(socket.SOL_SOCKET, _SHARED_PORT, 1)
        if family == socket.AF_INET6:
            # Where IPv4 has a socket of its own, `::` must leave it the port.
            set_options(sock, [(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both_families)])
        set_options(sock, settings.options)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        return TCPListening(sock, settings)
