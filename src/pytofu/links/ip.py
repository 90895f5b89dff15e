"""IP addresses, as sockets want them and as people read them."""

import socket
from ipaddress import IPv6Address
from typing import Any, Final

import attrs

type SockAddr = tuple[str, int] | tuple[str, int, int, int]
"""What sockets take and give: IP, port, and for IPv6 the flow and the zone's number."""

_MAX_ZONE: Final = 0xFFFFFFFF


@attrs.frozen
class Host:
    """An IP address, without port."""

    family: int
    ip: str
    zone: int = 0
    """The number of a link-local address's interface."""

    @classmethod
    def of(cls, sockaddr: tuple[Any, ...]) -> "Host":
        """The host of what the resolver found."""
        if len(sockaddr) == 2:
            return cls(socket.AF_INET, sockaddr[0])
        return cls(socket.AF_INET6, sockaddr[0], sockaddr[3])

    def at(self, port: int) -> SockAddr:
        """What connecting and binding take."""
        if self.family == socket.AF_INET:
            return self.ip, port
        return self.ip, port, 0, self.zone


def literal(host: str) -> Host | None:
    """The host that an IP literal stands for; None for a name.

    Raises OSError if there is no such zone, ValueError if it cannot be one.
    """
    if _is_ip(socket.AF_INET, host):
        return Host(socket.AF_INET, host)
    ip, _, zone = host.partition("%")
    if not _is_ip(socket.AF_INET6, ip):
        return None
    if not zone.isdecimal():
        return Host(socket.AF_INET6, ip, socket.if_nametoindex(zone) if zone else 0)
    if int(zone) > _MAX_ZONE:  # which would be taken modulo that
        raise ValueError("no interface has such a number")
    return Host(socket.AF_INET6, ip, int(zone))


def _is_ip(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def shown_host(sockaddr: SockAddr) -> str:
    """A socket's host as in an address: with its zone, and IPv4 unmapped."""
    host = sockaddr[0]
    if len(sockaddr) == 2:
        return host
    if zone := sockaddr[3]:
        try:
            return f"{host}%{socket.if_indextoname(zone)}"
        except OSError:  # the interface is gone
            return f"{host}%{zone}"
    mapped = IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


def place(sockaddr: SockAddr) -> str:
    """Host and port, for people."""
    return f"{shown_host(sockaddr)} port {sockaddr[1]}"
