"""Where `pytofu serve-files` stores files: in one directory, and nowhere else."""

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Final

from pytofu.cli.leftovers import create, is_temporary, lasting_name, take_up, temporary_name

_TAKEN: Final = "there is such a file already"
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems answer that have no hard links."""
_PIECE: Final = 1 << 20


class RefusedError(Exception):
    """The file is not stored; the text, one line, says why."""


class Incoming:
    """A file that is being received, under a temporary name in its directory.

    `store` gives it its own name; `discard` removes it; `leave` leaves it there to be gone on with,
    if it is `lasting`. One of them has to be called. The methods block: they touch the disk.
    OSError, as RefusedError, means that the file is not stored.
    """

    def __init__(
        self, root: Path, name: str, size: int, *, overwrite: bool, sha256: str | None = None
    ) -> None:
        """With its hash, go on with what has been left of this file, if it has.

        Raises `RefusedError` when there may not be such a file.
        """
        self.name = name
        self.size = size
        self.received: int = 0
        """Bytes of the content that are here."""
        self.lasting: bool = False
        self._overwrite = overwrite
        self._digest = hashlib.sha256()
        with contextlib.ExitStack() as cleanup:
            self._directory, self._last = _open_directory(root, name)
            cleanup.callback(os.close, self._directory)
            self._check_free()
            self._temporary, self._file = self._open(sha256)
            cleanup.callback(os.close, self._file)
            if self.lasting:
                self._take_up()
            cleanup.pop_all()

    def _open(self, sha256: str | None) -> tuple[str, int]:
        if sha256 is not None:
            name = lasting_name(self._last, self.size, sha256)
            file = take_up(name, self._directory)
            if file is not None:
                self.lasting = True
                return name, file
        name = temporary_name()
        return name, create(name, self._directory)

    def _take_up(self) -> None:
        """Read what is there; its hash in the end tells whether it was the right content."""
        while part := os.read(self._file, _PIECE):
            self.received += len(part)
            self._digest.update(part)
            if self.received > self.size:
                os.ftruncate(self._file, 0)
                os.lseek(self._file, 0, os.SEEK_SET)
                self.received, self._digest = 0, hashlib.sha256()

    def _check_free(self) -> None:
        if self._overwrite:
            return
        with contextlib.suppress(FileNotFoundError):
            os.lstat(self._last, dir_fd=self._directory)
            raise RefusedError(_TAKEN)

    def write(self, part: bytes) -> None:
        """Add a part of the content."""
        self.received += len(part)
        if self.received > self.size:
            raise RefusedError(f"more than the {self.size} bytes announced")
        self._digest.update(part)
        view = memoryview(part)
        while view:
            view = view[os.write(self._file, view) :]

    def store(self, sha256: str | None) -> str:
        """Check size and hash, and give the file its name. Returns the hash."""
        if self.received != self.size:
            raise RefusedError(f"{self.size} bytes were announced, {self.received} came")
        found = self._digest.hexdigest()
        if sha256 != found:
            raise RefusedError(f"its sha256 is {found} here, another one there")
        self._give_name()
        self._close()
        return found

    def _give_name(self) -> None:
        here = {"src_dir_fd": self._directory, "dst_dir_fd": self._directory}
        if not self._overwrite:
            # Unlike a renamed file, a link never replaces what another client has just stored.
            try:
                os.link(self._temporary, self._last, follow_symlinks=False, **here)
            except FileExistsError:
                raise RefusedError(_TAKEN) from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self._check_free()
            else:
                os.unlink(self._temporary, dir_fd=self._directory)
                return
        os.rename(self._temporary, self._last, **here)

    def discard(self) -> None:
        """Remove what came so far."""
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._directory)
        self._close()

    def leave(self) -> None:
        """Leave what came so far, for another `Incoming` of the same file to go on with."""
        self._close()

    def _close(self) -> None:
        os.close(self._file)
        os.close(self._directory)


def _open_directory(root: Path, name: str) -> tuple[int, str]:
    """Open the directory, in `root`, that the name is in; its descriptor, and the last part.

    Symbolic links are resolved, and what they lead to has to be in `root`. The directory is then
    opened step by step without following any link, so that one put there meanwhile is not either.
    """
    # Other ways to write a name would be another name, and a `/` at the end no file.
    *folders, last = parts = name.split("/")
    if "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise RefusedError(
            "not a name of a file in the directory: it is relative, and no part of it is . or .."
        )
    if is_temporary(last):
        raise RefusedError("such names are those of files on their way")
    root = root.resolve()
    flags = (
        os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    )  # not all of them on Windows
    try:
        relative = root.joinpath(*folders).resolve(strict=True).relative_to(root)
        directory = os.open(root, flags)
        for part in relative.parts:
            parent, directory = directory, -1
            try:
                directory = os.open(part, flags, dir_fd=parent)
            finally:
                os.close(parent)
    except (OSError, ValueError, RuntimeError):
        raise RefusedError("there is no such directory") from None
    return directory, last
