"""What commands print."""

import io

import pytest
import trio
import trio.testing

from pytofu.cli.output import Output, duration_text, harmless, number_of, progress_bar, size_text
from tests.cli.terminal import Terminal


def test_a_record_for_people_and_for_machines() -> None:
    for as_json, expected in ((True, '{"a": 1}\n'), (False, "a is [1] :smile:\n")):
        file = io.StringIO()
        Output(as_json=as_json, file=file).record({"a": 1}, "a is [1] :smile:")
        assert file.getvalue() == expected


def test_long_lines_stay_lines() -> None:
    file = io.StringIO()
    Output(file=file).record({}, "x " * 500)
    assert file.getvalue().count("\n") == 1


@pytest.mark.parametrize("as_json", [True, False])
async def test_nothing_is_drawn_without_a_terminal_or_for_machines(as_json: bool) -> None:
    file = Terminal() if as_json else io.StringIO()
    await Output(as_json=as_json, file=file).show(lambda: "never")
    assert file.getvalue() == ""


async def test_nothing_is_drawn_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Output(file=Terminal()).live


async def test_a_display_is_kept_up_to_date(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    count = iter(range(100))
    with trio.move_on_after(1.1):
        await Output(file=file).show(lambda: f"drawn {next(count)}")
    for number in range(5):
        assert f"drawn {number}" in file.getvalue()


def test_what_does_not_print_is_escaped() -> None:
    assert harmless("grün 🙂") == "grün 🙂"
    assert harmless("\x1b[2J\r\n\u202e") == "\\x1b[2J\\r\\n\\u202e"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345, "12.3 kB"),
        (999_600, "1 MB"),
        (5e9, "5 GB"),
        (1.5e12, "1.5 TB"),
        (1234e12, "1234 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 µs"), (12.34e-6, "12.3 µs"), (5e-3, "5 ms"), (0.9996, "1.0 s"), (75, "75.0 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_numbers() -> None:
    assert [number_of(count, "file") for count in (0, 1, 2000)] == [
        "0 files",
        "1 file",
        "2,000 files",
    ]


@pytest.mark.parametrize("columns", ["50", "80"])
def test_a_bar_is_one_line(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    output = Output(file=file)
    for name in ("x", "x" * 100):
        bar = progress_bar(output)
        task = bar.add_task(name, total=3e9)
        bar.update(task, completed=1e9)
        output.print(bar)
    first, second = file.getvalue().splitlines()
    for line in (first, second):
        assert "1.0/3.0 GB" in line
    assert "…" in second
