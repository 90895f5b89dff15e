"""The page about the command line tells all of it."""

from pathlib import Path

import click
import pytest

from pytofu.cli.app import group

PAGE = Path(__file__).parent.parent.parent / "docs" / "command-line.md"


@pytest.mark.parametrize("name", group.commands)
def test_every_command_and_option_is_there(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"`pytofu {name} " in text or f"$ pytofu {name} " in text or f"`pytofu {name}`" in text
    for parameter in group.commands[name].params:
        if isinstance(parameter, click.Option):
            for option in parameter.opts:
                assert f"`{option}" in text, option
