"""Every contender that is installed answers rightly; how fast is no test's business."""

import json

import pytest

from benchmarks import alarm, contenders, memory, process
from benchmarks.contenders import CALLS, MESSAGES, NAMES, ONLY_TLS, Ready, load, why_not
from benchmarks.runner import Failure, run_pair
from benchmarks.runs import Echoes, Figures, WrongAnswer, echo_figures
from benchmarks.work import Subject, Task, Work

pytestmark = pytest.mark.timeout(60)  # two interpreters each, on a machine that may be busy

_WORKS = (
    Work(Subject.ECHO, body=0, outstanding=1),
    Work(Subject.ECHO, body=65535, outstanding=16),
    Work(Subject.TLS, body=64, outstanding=64),
    Work(Subject.TLS, body=65535, outstanding=16),
    Work(Subject.ONE_WAY, body=1024),
    Work(Subject.FAN_IN, channels=20),
    Work(Subject.CALL, outstanding=1),
    Work(Subject.CALL, outstanding=64),
    Work(Subject.STREAM, body=1024),
    Work(Subject.FAN_OUT, outstanding=4, channels=5),
    Work(Subject.RATE, outstanding=8, share=50),
    Work(Subject.CONNECTIONS, body=0),
    Work(Subject.IDLE, channels=20),
)

_BARE = ("pytofu", "pytofu-uds")
"""Whose calls are an exchange of messages, without callers."""


def _takes_part(name: str, work: Work) -> bool:
    """One that is not here is asked once, so that its absence is seen."""
    return work is _WORKS[0] if why_not(name) else work.subject in load(name).subjects


@pytest.mark.parametrize(
    ("name", "work"),
    [
        pytest.param(name, work, id=f"{name}-{work.name}")
        for name in NAMES
        for work in _WORKS
        if _takes_part(name, work)
    ],
)
def test_a_contender_answers_rightly(name: str, work: Work) -> None:
    reason = why_not(name)
    if reason is not None:
        pytest.skip(reason)
    if work.subject is Subject.IDLE and not memory.can_be_measured():
        pytest.skip("this system does not say how large a process is")
    if work.subject is Subject.RATE and not alarm.can_be_set():
        pytest.skip("there are no alarms here")

    figures = run_pair(name, Task(work, seconds=0.05, warm_up=0.01))

    if work.subject is Subject.IDLE:
        assert figures.keys() == {"server_bytes", "client_bytes"}
    elif work.subject is Subject.RATE:
        assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"]
        assert figures["offered_per_second"] == int(figures["saturating_per_second"] / 2)
        assert figures["samples"] == pytest.approx(figures["offered_per_second"] * 0.05, abs=2)
    else:
        assert figures["per_second"] > 0
    callers = work.subject is Subject.CALL and work.outstanding > 1 and name not in _BARE
    assert ("fairness" in figures) == (work.subject is Subject.FAN_IN or callers)


def test_every_contender_exchanges_messages() -> None:
    for name in NAMES:
        if why_not(name) is None and not name.endswith("-tls"):
            assert load(name).subjects >= (CALLS if name == "pytofu-peers" else MESSAGES)


def test_what_is_over_tls_is_measured_against_the_same_without() -> None:
    over_tls = {name for name in NAMES if why_not(name) is None and name.endswith("-tls")}
    for name in over_tls:
        assert load(name).subjects == ONLY_TLS
    assert over_tls >= {"pytofu-tls", "trio-tls", "asyncio-tls"}
    assert Subject.TLS in load("pytofu").subjects


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contenders._MODULES, "absent", ("absent:CONTENDER", "no_such_package"))

    assert why_not("absent") == "the package no_such_package is not installed"


def test_a_contender_that_fails_is_a_failure_and_says_why() -> None:
    with pytest.raises(Failure, match="KeyError: 'nobody'"):
        run_pair("nobody", Task(_WORKS[0]))


class _Liar:
    """A contender whose server changes what it answers."""

    subjects = frozenset({Subject.ECHO})

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        raise NotImplementedError

    def run(self, task: Task, address: str) -> Figures:
        run = Echoes(task)
        try:
            run.answered(run.next_id(), b"not what was sent")
        except WrongAnswer as error:
            raise ExceptionGroup("as a nursery would", [error]) from None
        return echo_figures([run])


def test_a_wrong_answer_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "load", lambda name: _Liar())

    process.main("client", "liar", Task(_WORKS[0]).to_json(), "nowhere")

    said = json.loads(capsys.readouterr().out)
    assert said == {"wrong": "expected message 1 with 0 bytes, got message 1 with 17 bytes"}
