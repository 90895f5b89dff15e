"""Whatever two engines' applications do, nothing is lost, doubled, reordered or left behind."""

import tempfile
from pathlib import Path
from typing import Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings

from tests.leaks import open_files
from tests.stateful.histories import History, histories, live

QUICK: Final = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same histories in every run, so that a change that is not to blame does not fail."""


REACTORS: Final = pytest.mark.parametrize("reactor", ["", "tasks"])
"""The system's, and the portable one: what PYTOFU_REACTOR says."""


def live_and_leave_nothing(history: History, reactor: str) -> None:
    """Live through it in an event loop of its own."""
    files = open_files()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTOFU_REACTOR", reactor)
        directory = Path(name)
        trio.run(live, history, directory)
        assert [path for path in directory.rglob("*") if path.is_socket()] == []
    assert open_files() == files


@REACTORS
@pytest.mark.timeout(120)
@given(history=histories)
@QUICK
def test_any_history(history: History, reactor: str) -> None:
    live_and_leave_nothing(history, reactor)


@REACTORS
@pytest.mark.soak
@pytest.mark.timeout(7200)
@given(history=histories)
@settings(QUICK, max_examples=10_000, derandomize=False)
def test_any_of_many_histories(history: History, reactor: str) -> None:
    live_and_leave_nothing(history, reactor)
