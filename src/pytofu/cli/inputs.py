"""What commands read: files, and what only looks like one."""

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Final

from pytofu.cli.running import CommandError, naming

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PIECE: Final = 1 << 20


def open_regular(path: Path) -> BinaryIO:
    """Open a file that has a size. Raises `CommandError` for what is none, and `OSError`."""
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind is not None:
        raise CommandError(f"{path} is {kind}, not a regular file")
    # Whatever has been put there meanwhile, opening it waits for nobody.
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def read_input(name: str, most: int) -> bytes:
    """All of a file, or of standard input, which is named `-`.

    A regular file may have any size, pipes and devices `most` bytes: some never end. Raises
    `CommandError` for more, and for what cannot be read; `OSError` with the name in it.
    """
    if name == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        return _read(sys.stdin.fileno(), "standard input", most)
    kind = _KINDS.get(stat.S_IFMT(os.stat(name).st_mode))
    if kind in {"a directory", "a socket"}:
        raise CommandError(f"{name} is {kind}")
    with open(name, "rb") as file:
        return _read(file.fileno(), name, most)


def _read(descriptor: int, name: str, most: int) -> bytes:
    with naming(name):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            most = sys.maxsize
        data = bytearray()
        # Not file.read(): where the descriptor does not block, that returns what is there.
        while part := os.read(descriptor, _PIECE):
            data += part
            if len(data) > most:
                raise CommandError(f"{name} has more than {most:,} bytes")
    return bytes(data)
