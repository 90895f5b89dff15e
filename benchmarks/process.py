"""One side of a contender, in a process of its own: `python -m benchmarks.process SIDE NAME TASK`.

Says on its standard output, in one line of JSON, where its server is, or what its client measured.
"""

import json
import os
import sys
from typing import Never

from benchmarks.contenders import load
from benchmarks.limits import allow_many_files
from benchmarks.runs import WrongAnswer
from benchmarks.work import Task


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _unwrapped(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(side: str, name: str, task_json: str, address: str = "") -> None:
    """Serve until killed, or do the client's work once."""
    task = Task.from_json(task_json)
    allow_many_files()
    contender = load(name)
    if side == "server":
        contender.serve(task, lambda where: _say(address=where))
        return
    try:
        figures = contender.run(task, address)
    except* WrongAnswer as errors:
        _say(wrong=str(_unwrapped(errors)))
    else:
        _say(figures=figures)


def leave() -> Never:
    """End at once: what was to be said is said, and taking leave is not measured."""
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
