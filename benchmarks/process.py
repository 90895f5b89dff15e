"""One side of a contender, in a process of its own: `python -m benchmarks.process SIDE NAME TASK`.

Says on its standard output, in one line of JSON, where its server is, or what its client measured.
"""

import cProfile
import json
import os
import signal
import sys
from pathlib import Path
from typing import Never

from benchmarks.contenders import load
from benchmarks.limits import allow_many_files
from benchmarks.runs import WrongAnswer
from benchmarks.system_calls import see_system_calls
from benchmarks.work import Task


def main(side: str, name: str, task_json: str, address: str = "") -> None:
    """Serve until killed, or do the client's work once."""
    task = Task.from_json(task_json)
    contender = load(name)
    if task.profile:
        see_system_calls()
    profiler = cProfile.Profile()

    def ready(where: str) -> None:
        _say(address=where)
        if task.profile:
            signal.signal(signal.SIGTERM, lambda *_: _leave(profiler, task))
            profiler.enable()

    if side == "server":
        contender.serve(task, ready)
        return
    if task.profile:
        profiler.enable()
    answer: dict[str, object] = {}
    try:
        answer["figures"] = contender.run(task, address)
    except* WrongAnswer as errors:
        answer["wrong"] = str(_unwrapped(errors))
    if task.profile:
        profiler.disable()
        profiler.dump_stats(Path(task.profile, side))
    _say(**answer)


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _unwrapped(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _leave(profiler: cProfile.Profile, task: Task) -> Never:
    """End the server with its profile written."""
    profiler.disable()
    profiler.dump_stats(Path(task.profile, "server"))
    os._exit(0)


if __name__ == "__main__":
    allow_many_files()
    main(*sys.argv[1:])
    os._exit(0)  # a contender's way of tidying up at exit is nobody's business
