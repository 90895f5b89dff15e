"""The commands together, and how the process ends."""

import os
import sys
from collections.abc import Sequence
from typing import Final, cast

import click

from pytofu import AmpeException
from pytofu.cli import bench, decode, echo, ping, put, send, serve_files
from pytofu.cli.running import CommandError, InterruptedBySignalError

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_STDOUT: Final = 1


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="ADDRESS is tcp://HOST:PORT or uds://PATH, or in quotes 'tcp|HOST|PORT' or 'uds|PATH'."
    " `pytofu COMMAND --help` shows an example of each command.",
)
@click.version_option(package_name="pytofu", message="%(prog)s %(version)s")
def group() -> None:
    """Messages between processes, over TCP and Unix sockets."""


for _module in (echo, ping, send, put, serve_files, decode, bench):
    group.add_command(_module.command)


def run(arguments: Sequence[str]) -> int:
    """Run a command; the exit code, with the reason on stderr if it is not 0."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # it may lack letters that a peer sent
    code = 0
    reasons: list[str] = []
    try:
        code = group.main(list(arguments), prog_name="pytofu", standalone_mode=False) or 0
    except* click.exceptions.NoArgsIsHelpError as errors:
        code = 2
        reasons += [_first(errors).format_message()]
    except* click.ClickException as errors:
        error = _first(errors)
        code = error.exit_code
        reasons += [f"pytofu: {error.format_message()}"]
    except* (CommandError, AmpeException) as errors:
        code = _FAILED
        reasons += [f"pytofu: {_first(errors)}"]
    except* InterruptedBySignalError as errors:
        code = _first(errors).exit_code
    except* (KeyboardInterrupt, click.Abort):
        code = _INTERRUPTED
    except* BrokenPipeError:
        # Nobody reads the output any more. What is still buffered must not fail at the exit.
        code = _FAILED
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    except* OSError as errors:
        code = _FAILED
        reasons += [f"pytofu: {_first(errors)}"]
    if reasons:
        print(reasons[0], file=sys.stderr)
    return code


def _first[E: BaseException](errors: BaseExceptionGroup[E]) -> E:
    """The first exception in a group of groups."""
    error = errors.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[E]", error).exceptions[0]
    return error
