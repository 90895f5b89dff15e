"""Who is at the other end of a Unix socket, as each system says it.

Run on Linux only. What is here of macOS and FreeBSD follows their headers (`sys/ucred.h`,
`sys/un.h`): nobody has run it there. OpenBSD's SO_PEERCRED has another order, and is not asked.
"""

import socket
import struct
import sys
from typing import Final

from pytofu.values.peer_info import PeerInfo

_PEERCRED: Final[int] = getattr(socket, "SO_PEERCRED", -1)
_UCRED: Final = struct.Struct("iII")

# Python has no names for them everywhere.
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2  # macOS alone

_XUCRED: Final = struct.Struct("@IIh16I")
"""Version, user, how many groups there are, and those, of which the first is the effective one."""
_XUCRED_WITH_PID: Final = struct.Struct("@IIh16I0P i")  # FreeBSD: in a union with a pointer
_XUCRED_VERSION: Final = 0
_ROOM: Final = 128
"""Bytes: more than any system's structure has."""

_NOBODY: Final = PeerInfo(scheme="uds")


def peer_of(sock: socket.socket, platform: str = sys.platform) -> PeerInfo:
    """The peer's process, user and group; what the system does not say is left out."""
    try:
        if platform.startswith(("linux", "android")):
            return _on_linux(sock)
        if platform.startswith(("darwin", "freebsd")):
            return _on_bsd(sock, platform)
    except OSError:  # it is closed, or was never connected
        pass
    return _NOBODY


def _on_linux(sock: socket.socket) -> PeerInfo:
    known = sock.getsockopt(socket.SOL_SOCKET, _PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(known)
    return PeerInfo(pid=pid, uid=uid, gid=gid, scheme="uds")


def _on_bsd(sock: socket.socket, platform: str) -> PeerInfo:
    known = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _ROOM)
    if len(known) < _XUCRED.size:
        return _NOBODY
    version, uid, group_count, gid, *_ = _XUCRED.unpack_from(known)
    if version != _XUCRED_VERSION:
        return _NOBODY
    return PeerInfo(
        pid=_pid_on_macos(sock) if platform.startswith("darwin") else _pid_behind(known),
        uid=uid,
        gid=gid if group_count > 0 else None,
        scheme="uds",
    )


def _pid_on_macos(sock: socket.socket) -> int | None:
    try:
        return sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID) or None
    except OSError:
        return None


def _pid_behind(known: bytes) -> int | None:
    """FreeBSD's, since 13; before that there is a null pointer."""
    if len(known) < _XUCRED_WITH_PID.size:
        return None
    pid: int = _XUCRED_WITH_PID.unpack_from(known)[-1]
    return pid or None
