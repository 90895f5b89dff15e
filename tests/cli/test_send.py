"""`pytofu send`."""

import base64

import click
import pytest

from pytofu import AmpeException, Holder, Message, OpCode
from pytofu.cli.conversation import Received
from pytofu.cli.endpoints import Target
from pytofu.cli.output import Output
from pytofu.cli.running import CommandError
from pytofu.cli.send import answer_lines, send, to_headers
from tests.cli.peers import POLITE, Printed, peer, respond
from tests.cli.terminal import Paper
from tests.support import App


def in_parts(app: App, holder: Holder[Message]) -> None:
    """Answer in two messages."""
    message = holder.unwrap()
    channel, message_id = message.channel_number, message.message_id
    app.post(OpCode.RESPONSE, channel, message_id, body=b"\xff", more=True)
    app.post(OpCode.RESPONSE, channel, message_id)


async def test_the_answer_for_people() -> None:
    file = Paper()
    async with peer({**POLITE, OpCode.REQUEST: respond}) as address:
        headers = (("a", "b"), ("a", "\x1b[2J"))
        output = Output(file=file)
        await send(Target(address), headers, b"hello\n", signal=False, patience=5, output=output)
    head, *rest = file.getvalue().splitlines()
    assert head.startswith("RESPONSE, id ")
    assert rest == ["a: b", "a: \\x1b[2J", "", "hello"]


async def test_the_answer_for_machines_in_parts() -> None:
    printed = Printed()
    async with peer({**POLITE, OpCode.REQUEST: in_parts}) as address:
        await send(Target(address), (), b"", signal=False, patience=5, output=printed.output)
    first, second = printed.records
    assert (first["opcode"], first["more"], first["text"]) == ("RESPONSE", True, None)
    assert base64.b64decode(first["body"]) == b"\xff"
    assert (second["more"], second["text"], second["headers"]) == (False, "", [])


async def test_a_signal_has_no_answer() -> None:
    seen: list[bytes] = []

    def note(app: App, holder: Holder[Message]) -> None:
        seen.append(holder.unwrap().payload)

    printed = Printed()
    async with peer({**POLITE, OpCode.SIGNAL: note}) as address:
        await send(Target(address), (), b"news", signal=True, patience=5, output=printed.output)
    assert seen == [b"news"]
    assert list(printed.records[0]) == ["sent"]


async def test_no_answer() -> None:
    async with peer() as address:
        with pytest.raises(CommandError, match=r"no answer from tcp://.* within 0\.05 s"):
            await send(
                Target(address), (), b"", signal=False, patience=0.05, output=Printed().output
            )


async def test_a_header_that_cannot_be() -> None:
    async with peer() as address:
        with pytest.raises(AmpeException, match="not a text header"):
            await send(Target(address), (("a", ""),), b"", signal=True, patience=5, output=Output())


def test_headers_on_the_command_line() -> None:
    context, parameter = click.Context(click.Command("x")), click.Option(["--header"])
    assert to_headers(context, parameter, ["a=b=c", "d=e"]) == (("a", "b=c"), ("d", "e"))
    for text in ("=a", "a=", "a:b=c", "a=b\r\nc"):
        with pytest.raises(click.BadParameter, match="not a text header"):
            to_headers(context, parameter, [text])
    for text in (" a=b", "a =b", "a= b", "a=b ", "a=\tb"):
        with pytest.raises(click.BadParameter, match="blanks at the ends"):
            to_headers(context, parameter, [text])
    with pytest.raises(click.BadParameter, match="not K=V: 'a'"):
        to_headers(context, parameter, ["a"])


def test_a_long_body_is_dumped_in_part() -> None:
    lines = list(answer_lines(Received(OpCode.RESPONSE, 1, False, (), bytes(1000)), 0.5))
    assert lines[0] == "RESPONSE, id 1, after 500 ms"
    assert lines[2].startswith("0000  00 00")
    assert lines[-1] == "and 488 more bytes; all of them with --json"
