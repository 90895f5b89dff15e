"""Programs on a terminal of their own, to see what they draw and to type Ctrl-C."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import Final

CTRL_C: Final = b"\x03"

# Not pty.fork: threads of other tests may still be there, which must not be forked away.
_LOG_IN: Final = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"


@contextmanager
def on_terminal(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], FileIO]]:
    """Run a command until the end of the block; the process, and its screen and keyboard.

    Reading from the screen raises OSError once every process on it has ended.
    """
    ours, theirs = pty.openpty()
    with (
        open(ours, "r+b", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-c", _LOG_IN, *command], stdin=theirs, env=environment
        ) as process,
    ):
        os.close(theirs)
        try:
            yield process, screen
        finally:
            process.kill()
