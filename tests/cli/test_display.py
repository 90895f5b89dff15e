"""The display at the bottom of a terminal."""

import contextlib

import pytest
from rich.console import Console
from rich.text import Text

from pytofu.cli.display import Display
from tests.cli.terminal import Terminal


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv("TERM", "xterm")
    return Console(file=Terminal(), width=20, height=4, color_system=None)


def written(console: Console) -> str:
    """What has been written since the last time."""
    assert isinstance(console.file, Terminal)
    text = console.file.getvalue()
    console.file.seek(0)
    console.file.truncate()
    return text


ERASED = "\r\x1b[J"


def test_the_cursor_waits_at_the_beginning_of_the_first_line(console: Console) -> None:
    """From there all of it is erased, however many lines a narrower terminal has made of it."""
    with Display(console) as display:
        assert written(console) == "\x1b[?25l"
        display.update(Text("one"))
        assert written(console) == f"{ERASED}one\r"
        display.update(Text("one\ntwo\nthree"))
        assert written(console) == f"{ERASED}one\ntwo\nthree\r\x1b[2A"
        display.update("")
        assert written(console) == f"{ERASED}\r"
    assert written(console) == f"{ERASED}\x1b[?25h"


def test_what_is_printed_goes_above_it(console: Console) -> None:
    with Display(console) as display:
        display.update(Text("one\ntwo"))
        written(console)
        console.print("news that is too long for a line", soft_wrap=True)
        assert written(console) == f"{ERASED}news that is too long for a line\none\ntwo\r\x1b[1A"


def test_what_does_not_fit_is_left_out(console: Console) -> None:
    with Display(console) as display:
        written(console)
        display.update(Text("1\n2\n3\n4\n5"))
        assert written(console) == f"{ERASED}1\n2\n3\n4\r\x1b[3A"


def test_it_is_erased_after_a_failure_too(console: Console) -> None:
    with contextlib.suppress(ZeroDivisionError), Display(console) as display:
        display.update(Text("one"))
        written(console)
        raise ZeroDivisionError
    assert written(console) == f"{ERASED}\x1b[?25h"
    console.print("behind it")
    assert written(console) == "behind it\n"
