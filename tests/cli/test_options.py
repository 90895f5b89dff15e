"""Numbers on the command line."""

from collections.abc import Iterator

import click
import pytest

from pytofu.cli import main
from pytofu.cli.app import group
from pytofu.cli.options import Seconds

_NUMBERS = (click.types.FloatParamType, click.types.IntParamType)
_ARGUMENTS = {
    "echo": ["tcp://127.0.0.1:1"],
    "ping": ["tcp://127.0.0.1:1"],
    "send": ["tcp://127.0.0.1:1"],
    "call": ["tcp://127.0.0.1:1", "x"],
    "listen": ["tcp://127.0.0.1:1"],
    "subscribe": ["tcp://127.0.0.1:1", "x"],
    "put": [__file__, "tcp://127.0.0.1:1"],
    "serve-files": [".", "tcp://127.0.0.1:1"],
    "decode": [],
    "bench": [],
}


def numeric_options() -> Iterator[tuple[str, str]]:
    """Every option that takes a number, with its command."""
    for name, command in group.commands.items():
        for parameter in command.params:
            if isinstance(parameter.type, _NUMBERS):
                yield name, parameter.opts[-1]


@pytest.mark.parametrize(("command", "option"), list(numeric_options()))
@pytest.mark.parametrize(
    "number", ["nan", "-nan", "inf", "-inf", "-1", "1e999", "-1e-9", "0x10", "", " ", "9" * 5000]
)
def test_what_is_no_number_for_it_is_refused(
    command: str, option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *_ARGUMENTS[command], f"{option}={number}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("pytofu: Invalid value for ")
    assert f"'{option}'" in captured.err
    assert captured.err.count("\n") == 1


def test_there_are_such_options() -> None:
    found = set(numeric_options())
    assert {("ping", "--interval"), ("bench", "--seconds"), ("serve-files", "--max-size")} < found
    assert {command for command, option in found if option == "--wait"} == {
        "ping",
        "send",
        "call",
        "subscribe",
        "put",
    }


def test_seconds() -> None:
    kind = Seconds(0, 10)
    assert kind.convert("2.5", None, None) == 2.5
    for text in ("nan", "NaN", "inf", "11", "-0.1", "x"):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)
