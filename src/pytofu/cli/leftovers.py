"""Files on their way: their names, and what is left of them when a server is killed.

Whoever writes such a file holds a lock on it, which the system takes away when the process ends,
in whatever way. So a file with such a name, of our own user, that nobody has locked is left over.

One kind has a random name, and is of no more use then. The name of the other kind says which file
it is a part of, so that the client can go on with it. Neither is of the client's choosing.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"\.pytofu-(?:[0-9a-f]{16}|(?P<lasting>[0-9a-f]{40}))\.part")


def temporary_name() -> str:
    """A new one."""
    return f".pytofu-{secrets.token_hex(8)}.part"


def lasting_name(name: str, size: int, sha256: str) -> str:
    """That of a file that is identified by its name, its size and its hash."""
    identity = os.fsencode(f"{sha256} {size} {name}")
    return f".pytofu-{hashlib.sha256(identity).hexdigest()[:40]}.part"


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


def take_up(name: str, directory: int) -> int | None:
    """Open and lock a file that may be there, or create it; its descriptor. Blocks.

    None if it is in use, or not ours: then it cannot be gone on with.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError), contextlib.ExitStack() as cleanup:
        file = os.open(name, flags, 0o666, dir_fd=directory)
        cleanup.callback(os.close, file)
        _lock_own(file)
        # None: it was removed before it was locked. Two: it is stored, and has another name too.
        if os.fstat(file).st_nlink == 1:
            cleanup.pop_all()
            return file
    return None


def _lock_own(file: int) -> None:
    """Lock a file of our own. Raises OSError if it is none, or if another process has locked it."""
    import fcntl  # not on Windows

    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "not a file of our own")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(root: Path, keep: float = 0.0, most: int = 0) -> tuple[int, int]:
    """Remove what is left in a directory and below; how many files that were, and how many stay.

    What a client can go on with stays for `keep` seconds since it was written to, `most` files,
    those that the walk finds first. Follows no links. What cannot be removed stays.
    """
    removed = kept = 0
    oldest = time.time() - keep
    for _, _, names, directory in os.fwalk(root):
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            with contextlib.suppress(OSError):
                useful = match["lasting"] is not None and kept < most
                if _remove(name, directory, oldest if useful else None):
                    removed += 1
                else:
                    kept += 1
    return removed, kept


def _remove(name: str, directory: int, oldest: float | None) -> bool:
    """Remove one that is left over, unless it was written to later than `oldest`."""
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=directory)
    try:
        _lock_own(file)
        if oldest is not None and os.fstat(file).st_mtime > oldest:
            return False
        os.unlink(name, dir_fd=directory)
        return True
    finally:
        os.close(file)
