"""Files on their way: their names, and what is left of them when a server is killed.

Whoever writes such a file holds a lock on it, which the system takes away when the process ends,
in whatever way. So a file with such a name, of our own user, that nobody has locked is left over.
"""

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"\.pytofu-[0-9a-f]{16}\.part")


def temporary_name() -> str:
    """A new one."""
    return f".pytofu-{secrets.token_hex(8)}.part"


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one on its way, or is left over."""
    return _NAME.fullmatch(name) is not None


def create(name: str, directory: int) -> int:
    """Create and lock a file in a directory, both descriptors. Raises OSError; blocks."""
    import fcntl  # not on Windows

    while True:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o666, dir_fd=directory)
        # Where there are no locks, `remove_leftovers` gets none either and removes nothing.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:
            return file
        os.close(file)  # before it was locked another server took it for left over


def remove_leftovers(root: Path) -> int:
    """Remove what killed servers have left in a directory and below; how many files that were.

    Follows no links. What cannot be removed stays.
    """
    removed = 0
    for _, _, names, directory in os.fwalk(root):
        for name in names:
            if is_temporary(name):
                with contextlib.suppress(OSError):
                    removed += _remove(name, directory)
    return removed


def _remove(name: str, directory: int) -> bool:
    import fcntl  # not on Windows

    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return False
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory)
        return True
    finally:
        os.close(file)
