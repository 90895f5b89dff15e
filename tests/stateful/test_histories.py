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


def live_and_leave_nothing(history: History) -> None:
    """Live through it in an event loop of its own."""
    files = open_files()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        trio.run(live, history, directory)
        assert [path for path in directory.rglob("*") if path.is_socket()] == []
    assert open_files() == files


@pytest.mark.timeout(120)
@given(histories)
@QUICK
def test_any_history(history: History) -> None:
    live_and_leave_nothing(history)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@given(histories)
@settings(QUICK, max_examples=10_000, derandomize=False)
def test_any_of_many_histories(history: History) -> None:
    live_and_leave_nothing(history)
