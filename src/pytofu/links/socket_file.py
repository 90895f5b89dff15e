"""The file of a listening Unix socket: ours alone, private, and gone when we are (PROTOCOL 6, 7).

What others may do in the folder decides how safe that is: who may write to it can put a socket of
his own there, which `Link.peer` unmasks. Nothing here follows a link, removes anything but a socket
file, or waits for anybody.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Generator
from typing import Final

import attrs

from pytofu.patterns.cleanup import ErrDefer

_MODE: Final = 0o600
_LOCK_SUFFIX: Final = ".pytofu-lock"


@attrs.frozen
class SocketFile:
    """A socket file that this process has made."""

    path: str
    """Absolute: the program may go to another directory."""
    device: int
    inode: int
    process: int

    @classmethod
    def at(cls, path: str) -> "SocketFile":
        """The socket file that lies there now. Raises OSError if there is none."""
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode):  # nor a link to one
            raise OSError(errno.ENOTSOCK, "the socket file was replaced")
        return cls(path, status.st_dev, status.st_ino, os.getpid())

    def remove(self) -> None:
        """Remove it, if it is still the same, and this is no forked child."""
        with contextlib.suppress(OSError):  # a file that cannot be removed stays
            if SocketFile.at(self.path) == self:
                os.unlink(self.path)


def bind(sock: socket.socket, path: str) -> SocketFile:
    """Bind a socket to a path where no other lives, before it listens. Raises OSError."""
    absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    with contextlib.suppress(OSError):  # on Linux the file gets the mode that its socket had
        os.fchmod(sock.fileno(), _MODE)
    _bind(sock, path)
    with ErrDefer() as cleanup:
        file = SocketFile.at(absolute)
        cleanup.register(file.remove)
        _make_private(absolute)
        return file


def _bind(sock: socket.socket, path: str) -> None:
    """Make the socket file, in the place of a dead one if need be."""
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Of two servers that find a dead file, the second would remove the new file of the first.
        with _lock(path + _LOCK_SUFFIX):
            _remove_dead(path)
            sock.bind(path)


@contextlib.contextmanager
def _lock(path: str) -> Generator[None]:
    """Hold the lock that such a file is. Raises OSError at once if somebody else does.

    It is removed by its holder alone; who opened it before that has the lock of no file.
    """
    import fcntl  # not on Windows

    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(file), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise _taken("another server is just starting there")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # in a folder that is not ours
                os.unlink(path)
    finally:
        os.close(file)


def _remove_dead(path: str) -> None:
    """Remove a socket file that no socket has. Raises OSError if it is anything else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):  # a link too may be somebody's trap
            raise _taken("what lies there is no socket")
        # A socket of the wrong type asks without connecting: a listener would see a connection.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
    raise _taken("a socket lives there")


def _taken(how: str) -> OSError:
    return OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}, {how}")


def _make_private(path: str) -> None:
    """Give a new socket file its mode, where the system has not, or the umask was too strict.

    In time: nobody can connect before `listen`. But by its path, which who may write to the folder
    could exchange meanwhile; where that follows links, as on Linux, it is the exception.
    """
    if stat.S_IMODE(os.lstat(path).st_mode) != _MODE:
        follow = os.chmod not in os.supports_follow_symlinks
        os.chmod(path, _MODE, follow_symlinks=follow)
