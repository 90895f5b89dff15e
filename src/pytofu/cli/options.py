"""Options that several commands have, and numbers that are numbers."""

import math
from collections.abc import Callable
from typing import Any

import click


class Seconds(click.FloatRange):
    """A time: NaN, which is in no order with the limits, is refused as infinities are."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The seconds. Raises `click.BadParameter`."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail("that is no number of seconds", param, ctx)
        return seconds


def json_option[F: Callable[..., object]](command: F) -> F:
    """The option --json, which every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(
        command
    )


def answer_timeout[F: Callable[..., object]](command: F) -> F:
    """The option --timeout of commands that ask for one answer."""
    return click.option(
        "-W",
        "--timeout",
        type=Seconds(0.001, 86400),
        metavar="SECONDS",
        default=10.0,
        show_default=True,
        help="How long to wait for the whole answer.",
    )(command)


def example(text: str) -> str:
    """Lines for the end of --help, kept as they are."""
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    return f"\b\nExample:\n{lines}"
