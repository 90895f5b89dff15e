"""Runs contenders: a server and a client process each, one pair at a time, in turns."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Timer
from typing import Any, Final, Self

import attrs

from benchmarks import certificates, startup
from benchmarks.contenders import REFERENCE, load
from benchmarks.runs import Figures
from benchmarks.work import Subject, Task, Work

_PATIENCE: Final = 60.0
"""Seconds that a process may take to say what it has to say."""


_ERRORS_SHOWN: Final = 2000
"""Characters, at the most, of what a process that failed has said about it."""


class Failure(Exception):
    """A contender did not do its work: a wrong answer, an error or no end."""


@attrs.define
class Results:
    """What was measured, of every work and contender: the figures of each round."""

    rounds: dict[Work, dict[str, list[Figures]]] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    def add(self, work: Work, contender: str, figures: Figures) -> None:
        """The figures of one more round."""
        self.rounds.setdefault(work, {}).setdefault(contender, []).append(figures)

    def medians(self, work: Work) -> Mapping[str, Figures]:
        """Of every contender that did this work, the median over the rounds of each figure."""
        return {
            name: {key: median(figures[key] for figures in rounds) for key in rounds[0]}
            for name, rounds in self.rounds.get(work, {}).items()
        }

    def median(self, work: Work, contender: str, key: str = "per_second") -> float | None:
        """One median; None if that was not measured."""
        return self.medians(work).get(contender, {}).get(key)

    def ratio(self, work: Work, contender: str, other: str = REFERENCE) -> float | None:
        """How many times `other` is in `contender`, by the first figure; None if not measured.

        The median of the rounds' ratios: what slows the whole machine slows both alike.
        """
        mine, theirs = (self.rounds.get(work, {}).get(name) for name in (contender, other))
        if not mine or not theirs:
            return None
        key = next(iter(mine[0]))
        return median(a[key] / b[key] for a, b in zip(mine, theirs, strict=False))


def run_all(plan: Mapping[Task, Sequence[str]], rounds: int, say: Callable[[str], None]) -> Results:
    """Every work with those of its contenders that take part in it: A B C A B C, so that all of
    them see the same weather. One that fails at a work is left out of its further rounds."""
    results = Results()
    failed: set[tuple[Work, str]] = set()
    for task, contenders in plan.items():
        for number in range(1, rounds + 1):
            if task.work.subject is Subject.START_UP:
                for name, figures in startup.measure().items():
                    results.add(task.work, name, figures)
                continue
            for name in contenders:
                if task.work.subject not in load(name).subjects or (task.work, name) in failed:
                    continue
                say(f"{task.work.name}, round {number} of {rounds}: {name}")
                try:
                    results.add(task.work, name, run_pair(name, task))
                except Failure as failure:
                    failed.add((task.work, name))
                    results.failures.append(f"{name}, {task.work.name}: {failure}")
    return results


def run_pair(name: str, task: Task) -> Figures:
    """One server, one client; the client's figures. Raises `Failure`."""
    with tempfile.TemporaryDirectory() as folder:
        if task.work.subject is Subject.TLS:
            certificates.write(Path(folder))
            task = attrs.evolve(task, certificates=folder)
        with _Process(folder, "server", name, task) as server:
            address = server.answer()["address"]
            task = attrs.evolve(task, server_pid=server.pid)
            with _Process(folder, "client", name, task, address) as client:
                answer = client.answer()
    if "wrong" in answer:
        raise Failure(f"wrong answer: {answer['wrong']}")
    figures: Figures = answer["figures"]
    return figures


class _Process:
    """A process of `benchmarks.process`, for a `with` block, with its errors kept apart."""

    def __init__(self, folder: str, side: str, name: str, task: Task, *arguments: str) -> None:
        self._graceful = bool(task.profile)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # for __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.process", side, name, task.to_json(), *arguments],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # a contender may start processes of its own: all end together
        )
        self.pid = self._process.pid

    def answer(self) -> dict[str, Any]:
        """The line that the process says. Raises `Failure` when there is none."""
        assert self._process.stdout is not None
        watchdog = Timer(_PATIENCE, self._kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            self._errors.seek(0)
            errors = self._errors.read().strip()[-_ERRORS_SHOWN:]
            raise Failure(f"it said nothing within {_PATIENCE:.0f} s, or ended:\n{errors}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._graceful:  # it writes its profile
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self._kill()
        self._process.communicate()
        self._errors.close()
