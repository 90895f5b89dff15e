"""Who is at the other end of a Unix socket: here, and elsewhere as the headers have it."""

import errno
import os
import socket
import struct
from typing import cast

import attrs
import pytest

from pytofu.links.peer_credentials import peer_of
from pytofu.values.peer_info import PeerInfo
from tests.links.ends import linux_only

SOL_LOCAL, LOCAL_PEERCRED, LOCAL_PEERPID = 0, 1, 2
NOBODY = PeerInfo(scheme="uds")


@attrs.frozen
class FakeSocket:
    """A socket of another system: its options, by level and name."""

    options: dict[tuple[int, int], bytes | int]

    def getsockopt(self, level: int, name: int, room: int | None = None) -> bytes | int:
        value = self.options.get((level, name))
        if value is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if isinstance(value, int):
            assert room is None
            return value
        assert room is not None
        return value[:room]


def xucred(*, version: int = 0, groups: tuple[int, ...] = (20, 12), behind: bytes = b"") -> bytes:
    """As C lays it out: two bytes of padding behind the number of groups, and room for 16."""
    begin = struct.pack("=IIhxx", version, 501, len(groups))
    return begin + struct.pack(f"={len(groups)}I", *groups).ljust(64, b"\0") + behind


def ask(platform: str, **options: bytes | int) -> PeerInfo:
    names = {"cred": LOCAL_PEERCRED, "pid": LOCAL_PEERPID}
    fake = FakeSocket({(SOL_LOCAL, names[name]): value for name, value in options.items()})
    return peer_of(cast("socket.socket", fake), platform)


@linux_only
def test_this_system_s_own() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        known = peer_of(one)
    assert known == PeerInfo(pid=os.getpid(), uid=os.getuid(), gid=os.getgid(), scheme="uds")
    assert peer_of(one) == NOBODY


def test_macos() -> None:
    assert len(xucred()) == 76
    known = PeerInfo(pid=4711, uid=501, gid=20, scheme="uds")
    assert ask("darwin", cred=xucred(), pid=4711) == known
    assert ask("darwin", cred=xucred()) == attrs.evolve(known, pid=None)
    assert ask("darwin", cred=xucred(), pid=0) == attrs.evolve(known, pid=None)


def test_freebsd() -> None:
    known = PeerInfo(pid=4711, uid=501, gid=20, scheme="uds")
    behind = struct.pack("=4xi4x", 4711)  # where pointers have eight bytes
    assert ask("freebsd14", cred=xucred(behind=behind)) == known
    assert ask("freebsd12", cred=xucred(behind=bytes(12))) == attrs.evolve(known, pid=None)
    # It has another option of the number that is macOS's for the process.
    assert ask("freebsd14", cred=xucred(), pid=1) == attrs.evolve(known, pid=None)


def test_without_groups() -> None:
    assert ask("darwin", cred=xucred(groups=())) == PeerInfo(uid=501, scheme="uds")


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
@pytest.mark.parametrize("known", [xucred(version=1), xucred()[:75], b""])
def test_what_has_another_form_says_nothing(platform: str, known: bytes) -> None:
    assert ask(platform, cred=known, pid=1) == NOBODY


@pytest.mark.parametrize(
    "platform", ["darwin", "freebsd14", "openbsd7", "sunos5", "win32", "linux"]
)
def test_where_the_system_does_not_say_nobody_is_known(platform: str) -> None:
    assert ask(platform) == NOBODY
