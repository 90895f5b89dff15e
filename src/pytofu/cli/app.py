"""The commands together, and how the process ends."""

import sys
from collections.abc import Sequence
from typing import Final, cast

import click

from pytofu import AmpeException, compiled
from pytofu.cli import (
    INTERRUPTED,
    bench,
    call,
    cert,
    decode,
    echo,
    listen,
    ping,
    put,
    send,
    serve_files,
    streams,
    subscribe,
)
from pytofu.cli.output import harmless
from pytofu.cli.running import CommandError, InterruptedBySignalError, reason_of

_FAILED: Final = 1
_WRONG_USAGE: Final = 2


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="ADDRESS is HOST:PORT, [IPV6]:PORT, /PATH, tcp://HOST:PORT, tls://HOST:PORT or"
    " uds://PATH, or, in quotes, 'tcp|HOST|PORT' or 'uds|PATH'. `pytofu COMMAND --help` shows an"
    " example of each command.",
)
@click.version_option(
    package_name="pytofu",
    message=f"%(prog)s %(version)s ({'with the compiled core' if compiled else 'pure Python'})",
)
def group() -> None:
    """Messages between processes, over TCP, TLS and Unix sockets."""


for _module in (
    *(echo, ping, send),
    *(call, listen, subscribe),
    *(put, serve_files),
    *(cert, decode, bench),
):
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
    except* SystemExit as errors:  # click's own: the scripts for completion, and EPIPE
        code = int(_first(errors).code or 0)
    except* click.exceptions.NoArgsIsHelpError as errors:
        code = _WRONG_USAGE
        streams.write_error(_first(errors).format_message())
    except* click.ClickException as errors:
        error = _first(errors)
        code = error.exit_code
        reasons += [error.format_message()]
    except* (CommandError, AmpeException) as errors:
        code = _FAILED
        reasons += [str(_first(errors))]
    except* InterruptedBySignalError as errors:
        code = _first(errors).exit_code
    except* (KeyboardInterrupt, click.Abort):
        code = INTERRUPTED
    except* OSError as errors:
        code = _FAILED
        reasons += _reasons(_first(errors))
    try:
        sys.stdout.flush()
    except OSError as error:
        streams.abandon(sys.stdout)
        code = code or _FAILED
        reasons += _reasons(error)
    for reason in reasons[:1]:
        streams.complain(f"pytofu: {harmless(reason)}")
    return code


def _reasons(error: OSError) -> list[str]:
    # Somebody who has stopped to read needs no reason.
    return [] if isinstance(error, BrokenPipeError) else [reason_of(error)]


def _first[E: BaseException](errors: BaseExceptionGroup[E]) -> E:
    """The first exception in a group of groups."""
    error = errors.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[E]", error).exceptions[0]
    return error
