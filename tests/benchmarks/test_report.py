"""Tables, JSON, the picture and the marks, of figures that are made up."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import marks as the_marks
from benchmarks.contenders import load
from benchmarks.marks import MARKS, Mark, contenders_for, verdicts
from benchmarks.picture import write_svg
from benchmarks.report import marks, tables, write_json
from benchmarks.runner import Results
from benchmarks.work import WORKS, Subject, Task, Work

_ECHO = Work(Subject.ECHO, 64, 1)


@pytest.fixture
def results() -> Results:
    """Three rounds of an echo; the second was disturbed, for both contenders alike."""
    results = Results()
    for ours, theirs in ((3000.0, 1500.0), (300.0, 150.0), (3100.0, 1550.0)):
        results.add(_ECHO, "pytofu", {"per_second": ours, "p50_us": 300.0})
        results.add(_ECHO, "asyncio", {"per_second": theirs, "p50_us": 600.0})
    return results


def test_medians_and_ratios_over_the_rounds(results: Results) -> None:
    assert results.median(_ECHO, "pytofu") == 3000
    assert results.median(_ECHO, "asyncio", "p50_us") == 600
    assert results.median(_ECHO, "absent") is None
    assert results.ratio(_ECHO, "asyncio") == 0.5
    assert results.ratio(_ECHO, "pytofu", "asyncio") == 2.0
    assert results.ratio(_ECHO, "absent") is None


def test_the_table_has_the_best_first(results: Results) -> None:
    lines = [line.split() for line in tables(results).splitlines()]

    assert lines[0] == ["echo,", "64", "bytes,", "1", "outstanding"]
    assert lines[2] == ["pytofu", "3,000", "300", "1.00"]
    assert lines[3] == ["asyncio", "1,500", "600", "0.50"]


def test_an_open_loop_is_ranked_by_its_latency_and_says_how_many_samples_it_has() -> None:
    results, work = Results(), Work(Subject.RATE, share=50)
    for name, latency in (("pytofu", 200.0), ("trio", 100.0)):
        figures = {"p50_us": latency, "p99_us": 300.0, "p999_us": 400.0, "late_p99_us": 50.0}
        results.add(work, name, {**figures, "offered_per_second": 9000.0, "samples": 4500})

    lines = [line.split() for line in tables(results).splitlines()]

    assert lines[0] == work.title.split()
    headings = "offered/s samples p50 µs p99 µs p99.9 µs sent late, p99 µs x pytofu"
    assert lines[1] == headings.split()
    assert lines[2] == ["trio", "9,000", "4,500", "100", "300", "400", "50", "0.50"]
    assert lines[3] == ["pytofu", "9,000", "4,500", "200", "300", "400", "50", "1.00"]


def test_less_is_better_where_it_is(results: Results) -> None:
    work = Work(Subject.IDLE, channels=1000)
    results.add(work, "asyncio", {"server_bytes": 9000.0, "client_bytes": 1.0})
    results.add(work, "pytofu", {"server_bytes": 6000.0, "client_bytes": 2.0})

    table = tables(results).partition(work.title)[2]

    assert table.index("pytofu  ") < table.index("asyncio  ")


def test_what_was_not_measured_is_a_dash(results: Results) -> None:
    results.add(_ECHO, "raw", {"per_second": 9000.0})

    assert "  raw           9,000       -      3.00\n" in tables(results)


def test_json_has_every_round(results: Results, tmp_path: Path) -> None:
    results.failures.append("somebody: wrong answer")
    file = tmp_path / "results.json"

    write_json(file, results, [Task(_ECHO)])

    document = json.loads(file.read_text())
    echo = document["works"]["echo-64x1"]
    assert echo["rounds"]["pytofu"][1]["per_second"] == 300
    assert echo["medians"]["pytofu"]["per_second"] == 3000
    assert document["failures"] == ["somebody: wrong answer"]
    assert document["machine"]["cores"] >= 1


def test_the_picture_has_a_bar_for_each_contender(results: Results, tmp_path: Path) -> None:
    results.add(Work(Subject.IDLE, channels=1000), "pytofu", {"server_bytes": 1.0})
    results.add(Work(Subject.ONE_WAY), "a<b", {"per_second": 7.0})
    file = tmp_path / "results.svg"

    write_svg(file, results)

    tree = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    space = "{http://www.w3.org/2000/svg}"
    labels = [element.text for element in tree.iter(f"{space}text")]
    assert len(list(tree.iter(f"{space}rect"))) == 1 + 3  # the background, and the bars
    assert labels[:2] == ["echo, 64 bytes, 1 outstanding (messages/s)", "pytofu"]
    assert "a<b" in labels


@pytest.mark.parametrize("core", [False, True])
def test_marks_say_what_is_reached(
    results: Results, core: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(the_marks, "compiled", core)
    bound = "1.00" if core else "0.95"
    title = "echo, 64 bytes, 1 outstanding: pytofu over asyncio"
    assert marks(results).splitlines() == [
        "marks",
        f"  reached    2.00  (at least {bound})  {title}",
    ]
    many, idle = Work(Subject.FAN_IN, channels=1000), Work(Subject.IDLE, channels=1000)
    results.add(many, "pytofu", {"per_second": 89, "fairness": 0.4})
    results.add(many, "uvloop", {"per_second": 100})
    results.add(idle, "pytofu", {"server_bytes": 3073})
    results.add(_ECHO, "pytofu-uds", {"per_second": 6000, "p50_us": 1})

    assert [line.split("  (")[0].split() for line in verdicts(results)] == [
        ["reached", "2.00"],
        ["MISSED", "0.89"],
        ["MISSED", "0.40"],
        ["MISSED", "3,073"],
        ["reached", "2.00"],
    ]


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.title)
def test_a_mark_is_reached_at_its_bound_and_missed_beyond(mark: Mark) -> None:
    beyond = mark.bound * (1.001 if mark.at_most else 0.999)

    assert mark.is_reached(mark.bound)
    assert not mark.is_reached(beyond)


def test_every_mark_is_measured_by_what_it_asks_for() -> None:
    for module in ("uvloop", "zmq"):
        pytest.importorskip(module)
    results = Results()
    figures = {"per_second": 1.0, "fairness": 1.0, "server_bytes": 1.0}
    for work in WORKS:
        for name in contenders_for(work):
            assert work.subject in load(name).subjects
            results.add(work, name, figures)

    assert len(list(verdicts(results))) == len(MARKS)
    assert len({mark.title for mark in MARKS}) == len(MARKS)
