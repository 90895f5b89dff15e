"""`pytofu send`: one message, and its answer."""

import base64
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial

import click
import trio

from pytofu import AmpeException, OpCode, TextHeaders
from pytofu.cli.bodies import body_lines, body_text
from pytofu.cli.conversation import Conversation, Received, dial
from pytofu.cli.endpoints import Target, connecting
from pytofu.cli.inputs import read_input
from pytofu.cli.options import answer_timeout, example, json_option
from pytofu.cli.output import Output, duration_text, harmless
from pytofu.cli.running import CommandError, unless_interrupted
from pytofu.values.header import MAX_PART_LEN


def answer_lines(answer: Received, seconds: float) -> Iterator[str]:
    """An answer for people."""
    yield f"{answer.opcode.name}, id {answer.message_id}, after {duration_text(seconds)}"
    for name, value in answer.headers:
        yield f"{harmless(name)}: {harmless(value)}"
    if answer.body:
        yield ""
        yield from body_lines(answer.body)


def answer_record(answer: Received, seconds: float) -> dict[str, object]:
    """An answer for machines; the body also as text where it is text."""
    return {
        "opcode": answer.opcode.name,
        "id": answer.message_id,
        "more": answer.more,
        "ms": round(seconds * 1e3, 4),
        "headers": [list(header) for header in answer.headers],
        "body": base64.b64encode(answer.body).decode(),
        "text": body_text(answer.body),
    }


async def send(
    target: Target,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    *,
    signal: bool,
    patience: float,
    output: Output,
) -> None:
    """Send one message and print all parts of its answer; a signal has none.

    Raises `CommandError` when there is no connection or no answer in time, `AmpeException` when
    the message cannot be sent.
    """
    async with dial(target) as conversation:
        started = time.perf_counter()
        opcode = OpCode.SIGNAL if signal else OpCode.REQUEST
        message_id = conversation.post(opcode, headers, body)
        if not signal:
            await _print_answer(conversation, message_id, started, patience, output)
    if signal:
        output.record({"sent": message_id}, f"sent, id {message_id}")


async def _print_answer(
    conversation: Conversation, message_id: int, started: float, patience: float, output: Output
) -> None:
    with trio.move_on_after(patience) as scope:
        more = True
        while more:
            answer = await conversation.answer_to(message_id)
            seconds = time.perf_counter() - started
            lines = "\n".join(answer_lines(answer, seconds))
            output.record(answer_record(answer, seconds), lines, verbatim=True)
            more = answer.more
    if scope.cancelled_caught:
        raise CommandError(f"no answer from {conversation.where} within {patience:g} s")


def to_headers(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Callback of an option: text headers, each as K=V."""
    headers: list[tuple[str, str]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"not K=V: {text!r}", context, parameter)
        if name != name.strip() or value != value.strip():
            why = f"blanks at the ends of a name or value get lost on the way: {text!r}"
            raise click.BadParameter(why, context, parameter)
        try:
            TextHeaders().append(name, value)
        except AmpeException as error:
            raise click.BadParameter(error.message, context, parameter) from None
        headers.append((name, value))
    return tuple(headers)


@click.command(
    "send", epilog=example("pytofu send tcp://127.0.0.1:7099 --header lang=en --body 'hello, tofu'")
)
@connecting
@click.option(
    "-H",
    "--header",
    "headers",
    metavar="K=V",
    multiple=True,
    callback=to_headers,
    help="A text header; repeatable.",
)
@click.option("-b", "--body", help="The body, as text.")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A file with the body; - is standard input.",
)
@click.option("--signal", is_flag=True, help="Send a Signal, which has no answer.")
@answer_timeout
@json_option
def command(
    target: Target,
    headers: tuple[tuple[str, str], ...],
    body: str | None,
    file: str | None,
    signal: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Send one message, a Request, and print its answer.

    The body has at most 65,535 bytes; `pytofu put` sends files of any size.
    """
    if body is not None and file is not None:
        raise click.UsageError("--body and --file exclude each other")
    data = os.fsencode(body or "") if file is None else read_input(file, MAX_PART_LEN)
    if len(data) > MAX_PART_LEN:
        raise CommandError(f"the body has more than {MAX_PART_LEN:,} bytes; see pytofu put")
    work = partial(
        send,
        target,
        headers,
        data,
        signal=signal,
        patience=timeout,
        output=Output(as_json=as_json),
    )
    trio.run(unless_interrupted, work)
