"""Runs contenders: a server and a client process each, one pair at a time, in turns."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Timer
from typing import IO, Any

import attrs

from benchmarks.contenders import load
from benchmarks.runs import Figures
from benchmarks.work import Task, Work

_PATIENCE = 60.0
"""Seconds that a pair of processes may take beyond the time that it measures."""


@attrs.frozen
class Failure(Exception):
    """A contender did not do its work: a wrong answer, an error or no end."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define
class Results:
    """What was measured, of every work and contender: the figures of each round."""

    rounds: dict[Work, dict[str, list[Figures]]] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    def add(self, work: Work, contender: str, figures: Figures) -> None:
        self.rounds.setdefault(work, {}).setdefault(contender, []).append(figures)

    def medians(self, work: Work) -> Mapping[str, Figures]:
        """Of every contender that did this work, the median over the rounds of each figure."""
        return {
            name: {key: median(figures[key] for figures in rounds) for key in rounds[0]}
            for name, rounds in self.rounds.get(work, {}).items()
        }

    def median(self, work: Work, contender: str, key: str = "per_second") -> float | None:
        """One median; None when that was not measured."""
        return self.medians(work).get(contender, {}).get(key)


def run_all(
    tasks: Sequence[Task],
    contenders: Sequence[str],
    rounds: int,
    say: Callable[[str], None],
) -> Results:
    """Every contender with every work it takes part in: A B C A B C, so that all see the same
    weather."""
    results = Results()
    failed: set[tuple[Work, str]] = set()
    for task in tasks:
        for number in range(rounds):
            for name in contenders:
                if task.work.subject not in load(name).subjects or (task.work, name) in failed:
                    continue
                say(f"{task.work.name}, round {number + 1} of {rounds}: {name}")
                try:
                    results.add(task.work, name, run_pair(name, task))
                except Failure as failure:
                    failed.add((task.work, name))
                    results.failures.append(f"{name}, {task.work.name}: {failure}")
    return results


def run_pair(name: str, task: Task) -> Figures:
    """One server, one client; the client's figures. Raises `Failure`."""
    with tempfile.TemporaryFile("w+") as errors, _process(errors, "server", name, task) as server:
        address = _answer(server, errors)["address"]
        with _process(errors, "client", name, task, address) as client:
            answer = _answer(client, errors)
    if "wrong" in answer:
        raise Failure(f"wrong answer: {answer['wrong']}")
    figures: Figures = answer["figures"]
    return figures


@contextmanager
def _process(
    errors: IO[str], side: str, name: str, task: Task, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.process", side, name, task.to_json(), *arguments],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,  # a contender may start processes of its own: all end together
    )
    with process:
        try:
            yield process
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and those it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answer(process: subprocess.Popen[str], errors: IO[str]) -> dict[str, Any]:
    """The line that a process says. Raises `Failure` when there is none."""
    assert process.stdout is not None
    watchdog = Timer(_PATIENCE, _kill, [process])
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    if not line:
        errors.seek(0)
        text = errors.read().strip()
        raise Failure(f"no answer within {_PATIENCE:.0f} s, or it ended:\n{text[-2000:]}")
    answer: dict[str, Any] = json.loads(line)
    return answer
