"""`pytofu subscribe`: show what a peer publishes."""

import math
from functools import partial

import click
import trio

from pytofu import Incoming
from pytofu.cli.bodies import body_line, body_record
from pytofu.cli.endpoints import Target, connecting
from pytofu.cli.options import Seconds, example, json_option
from pytofu.cli.output import Output, harmless, number_of
from pytofu.cli.peering import reach
from pytofu.cli.running import CommandError, until_interrupted
from pytofu.peers.topics import pattern_tokens


class Subscriber:
    """Prints what is published, and counts it."""

    def __init__(self, target: Target, pattern: str, output: Output) -> None:
        self._target = target
        self._pattern = pattern
        self._output = output
        self._messages = 0
        self._missed = 0

    async def run(self, count: int | None, patience: float) -> None:
        """Subscribe until there was enough. Raises `CommandError`."""
        async with reach(self._target) as peer, peer.subscribe(self._pattern) as messages:
            self._output.record(
                {"event": "subscribed", "pattern": self._pattern},
                f"subscribed to {self._pattern}",
            )
            while count is None or self._messages < count:
                with trio.move_on_after(patience) as scope:
                    self._show(await anext(messages))
                if scope.cancelled_caught:
                    quiet = f"nothing from {self._target.where} within {patience:g} s"
                    raise CommandError(quiet)

    def _show(self, message: Incoming) -> None:
        self._messages += 1
        missed = message.missed
        self._missed += missed
        lines = [f"missed {number_of(missed, 'message')}"] if missed else []
        lines.append(f"{harmless(message.topic)}: {body_line(message.body)}")
        self._output.record(
            {
                "event": "message",
                "topic": message.topic,
                "headers": dict(message.headers),
                "missed": missed,
                **body_record(message.body),
            },
            "\n".join(lines),
            verbatim=True,
        )

    def summarise(self) -> None:
        """Print how much it was."""
        self._output.record(
            {"event": "summary", "messages": self._messages, "missed": self._missed},
            f"{number_of(self._messages, 'message')}, {self._missed:,} missed",
        )


async def subscribe(
    target: Target, pattern: str, count: int | None, patience: float, output: Output
) -> None:
    """Print what is published until there was enough, or until Ctrl-C, and then a summary.

    Raises `CommandError` when there is no connection, the peer refuses or goes, or is quiet long.
    """
    subscriber = Subscriber(target, pattern, output)
    async with until_interrupted():
        await subscriber.run(count, patience)
    subscriber.summarise()


def _to_pattern(context: click.Context, parameter: click.Parameter, text: str) -> str:
    try:
        pattern_tokens(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    return text


@click.command("subscribe", epilog=example("pytofu subscribe 127.0.0.1:7099 'news.>'"))
@connecting
@click.argument("pattern", callback=_to_pattern)
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Messages to print; else until Ctrl-C.",
)
@click.option(
    "-W",
    "--timeout",
    type=Seconds(0.001, 86400),
    metavar="SECONDS",
    help="Fail when nothing comes for so long; else wait for ever.",
)
@json_option
def command(
    target: Target, pattern: str, count: int | None, timeout: float | None, as_json: bool
) -> None:
    """Print what a server publishes on the topics of a PATTERN.

    `*` stands for one token of a topic, and `>` at the end for one or more; quote them in a
    shell. A subscriber that is too slow is told how many messages it missed.
    """
    patience = math.inf if timeout is None else timeout
    work = partial(subscribe, target, pattern, count, patience, Output(as_json=as_json))
    trio.run(work)
