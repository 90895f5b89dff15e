"""`pytofu call`: call a method of a peer, and show its answer."""

import os
import time
from functools import partial
from typing import Any, Final

import click
import trio

from pytofu import Incoming, RemoteError
from pytofu.cli.bodies import JSON, body_lines, body_record, value_of
from pytofu.cli.endpoints import Target, connecting
from pytofu.cli.options import answer_timeout, example, json_option
from pytofu.cli.output import Output
from pytofu.cli.peering import reach
from pytofu.cli.running import CommandError, unless_interrupted

_LONGEST_METHOD: Final = 1000
"""Characters."""


def answer_text(answer: Incoming) -> str:
    """An answer for people."""
    found = value_of(answer.body)
    return "\n".join(body_lines(answer.body)) if found is None else found.text()


async def call(target: Target, method: str, body: bytes, patience: float, output: Output) -> None:
    """Call and print the answer.

    Raises `CommandError` when there is no connection, no answer in time, or one that says an error.
    """
    async with reach(target) as peer:
        started = time.perf_counter()
        try:
            with trio.fail_after(patience):
                headers = {"content-type": JSON.content_type}
                answer = await peer.call(body, headers, method=method)
        except (trio.TooSlowError, RemoteError) as error:
            # The deadline travels, so that the other side may say it first.
            if isinstance(error, RemoteError) and error.code != "DEADLINE_EXCEEDED":
                raise
            late = f"no answer from {target.where} within {patience:g} s"
            raise CommandError(late) from error
        seconds = time.perf_counter() - started
        output.record(
            {
                "method": method,
                "ms": round(seconds * 1e3, 4),
                "headers": dict(answer.headers),
                **body_record(answer.body),
            },
            answer_text(answer),
            verbatim=True,
        )


def _to_method(context: click.Context, parameter: click.Parameter, text: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text) > _LONGEST_METHOD:
        raise click.BadParameter(f"not the name of a method: {text!r:.80}", context, parameter)
    return text


def _to_body(context: click.Context, parameter: click.Parameter, text: str) -> bytes:
    try:
        return JSON.encode(JSON.decode(os.fsencode(text), Any))
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}", context, parameter) from None


@click.command("call", epilog=example("""pytofu call 127.0.0.1:7099 add '{"a": 1, "b": 2}'"""))
@connecting
@click.argument("method", callback=_to_method)
@click.argument("json", default="{}", callback=_to_body)
@answer_timeout
@json_option
def command(target: Target, method: str, json: bytes, timeout: float, as_json: bool) -> None:
    """Call a METHOD of a service, and print its answer.

    JSON is an object with the method's arguments; without it, one that is empty. Fails if the
    answer is an error.
    """
    work = partial(call, target, method, json, timeout, Output(as_json=as_json))
    trio.run(unless_interrupted, work)
