"""The command line, `pytofu` (needs the extra `cli`: click and rich).

One module for each command; the others are what they share. Nothing in the library imports from
here.
"""

import sys
from collections.abc import Sequence

from pytofu.cli.streams import complain, provide

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (by default, the process's own) name.

    Returns the exit code: 0 when all went well, 1 for a failure, 2 for wrong usage or when the
    extra is not installed, 128 and the signal's number after an interruption. The reason goes to
    stderr, in one line.
    """
    provide()
    try:
        from pytofu.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        complain(f"pytofu: the command line needs {error.name}: pip install 'pytofu[cli]'")
        return 2
    except KeyboardInterrupt:  # `run` is not there yet to see to it
        return INTERRUPTED
    return run(sys.argv[1:] if arguments is None else arguments)
