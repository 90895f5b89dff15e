"""`python -m benchmarks`, as it is called."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.contenders import NAMES
from benchmarks.runner import Failure
from benchmarks.runs import Figures
from benchmarks.work import WORKS, Task
from pytofu import compiled

pytestmark = pytest.mark.timeout(60)


def test_the_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0

    words = capsys.readouterr().out.split()
    assert {work.name for work in WORKS} | set(NAMES) <= set(words)


def test_a_run_writes_tables_json_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = ["--json", str(tmp_path / "a.json"), "--svg", str(tmp_path / "a.svg")]
    chosen = ["--work", "echo-64x1", "--contender", "pytofu", "--contender", "asyncio"]

    assert command.main(["--seconds", "0.3", "--rounds", "1", *chosen, *written]) == 0

    output = capsys.readouterr()
    assert "echo, 64 bytes, 1 outstanding" in output.out
    assert "over asyncio" in output.out
    assert "echo-64x1, round 1 of 1: asyncio" in output.err
    assert json.loads((tmp_path / "a.json").read_text())["works"].keys() == {"echo-64x1"}
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_start_up_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--work", "startup", "--rounds", "1"]) == 0

    output = capsys.readouterr().out
    assert all(name in output for name in ("import trio", "import pytofu", "open_ampe"))


def test_a_wrong_answer_fails_the_run_and_ends_that_contender_s_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs: list[str] = []

    def run_pair(name: str, task: Task) -> Figures:
        pairs.append(name)
        if name == "raw":
            raise Failure("wrong answer: 42")
        return {"per_second": 1.0}

    monkeypatch.setattr("benchmarks.runner.run_pair", run_pair)
    names = [*("--contender", "raw"), *("--contender", "pytofu")]

    assert command.main(["--work", "oneway-64", "--rounds", "2", *names]) == 1

    assert pairs == ["raw", "pytofu", "pytofu"]
    assert "FAILED: raw, oneway-64: wrong answer: 42" in capsys.readouterr().err


def test_what_is_not_installed_is_left_out_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "why_not", lambda name: "it is nowhere")

    assert command.main(["--contender", "nats", "--work", "echo"]) == 0

    assert "without nats: it is nowhere" in capsys.readouterr().err


def test_memory_is_left_out_where_it_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.memory.can_be_measured", lambda: False)

    assert command.main(["--work", "idle", "--contender", "pytofu"]) == 0

    assert "without the memory" in capsys.readouterr().err


def test_the_open_loop_is_left_out_where_there_are_no_alarms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.alarm.can_be_set", lambda: False)

    assert command.main(["--work", "rate", "--contender", "pytofu"]) == 0

    assert "without the open loop" in capsys.readouterr().err


def test_marks_are_measured_with_what_they_take_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("zmq")
    pairs: list[tuple[str, str]] = []

    def run_pair(name: str, task: Task) -> Figures:
        assert task.seconds == 0.5
        pairs.append((task.work.name, name))
        return {"per_second": 1.0}

    monkeypatch.setattr("benchmarks.runner.run_pair", run_pair)
    monkeypatch.setattr(command, "why_not", lambda name: None)

    assert command.main(["--marks", "--work", "echo-64x64", "--work", "rate"]) == 0

    core = ["trio"] if compiled else []
    assert pairs == [("echo-64x64", name) for name in ("pytofu", "pytofu-uds", *core, "pyzmq")] * 9
    work, least = "echo, 64 bytes, 64 outstanding:", "2.00" if compiled else "1.15"
    lines = [
        "marks",
        f"  MISSED     1.00  (at least {least})  {work} pytofu over pyzmq",
        *(f"  MISSED     1.00  (at least 1.30)  {work} pytofu over {name}" for name in core),
        f"  reached    1.00  (at least 1.00)  {work} pytofu-uds over pytofu",
    ]
    assert capsys.readouterr().out.splitlines()[-len(lines) :] == lines


def test_an_unknown_work_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--work", "sleep"])

    assert "no such work: sleep" in capsys.readouterr().err


@pytest.mark.parametrize("work", ["echo-64x64", "oneway-64"])
def test_the_profile_names_layers_and_functions(
    work: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--profile", "--work", work, "--seconds", "0.1"]) == 0

    output = capsys.readouterr().out
    for word in ("server:", "client:", "kernel", "protocol", "engine", "trio", "group.py"):
        assert word in output


def test_a_failure_while_profiling_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def profile(name: str, task: Task) -> str:
        raise Failure("no answer")

    monkeypatch.setattr(command, "profile", profile)

    assert command.main(["--profile", "--work", "echo-64x1"]) == 1
    assert "FAILED: no answer" in capsys.readouterr().err


def test_a_quick_run_is_of_few_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs: set[tuple[str, str]] = set()

    def run_pair(name: str, task: Task) -> Figures:
        assert task.seconds < 0.5
        pairs.add((task.work.name, name))
        return {"per_second": 1.0}

    monkeypatch.setattr("benchmarks.alarm.can_be_set", lambda: True)
    monkeypatch.setattr("benchmarks.runner.run_pair", run_pair)

    assert command.main(["--quick"]) == 0

    assert {("echo-64x64", "pytofu"), ("connect", "asyncio"), ("rate-50", "trio")} <= pairs
    assert {name for work, name in pairs if work == "tls-64x64"} == {
        *("pytofu", "pytofu-tls", "asyncio-tls")
    }
    assert len(pairs) < 60
    assert "marks" not in capsys.readouterr().out
