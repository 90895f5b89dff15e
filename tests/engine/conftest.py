"""Every test of the engine leaves nothing behind, and runs on the reactor that it says."""

import pytest

from tests.resources import nothing_left as nothing_left


@pytest.fixture(autouse=True)
def _nothing_left(nothing_left: None) -> None:
    """Apply `nothing_left` to the whole directory."""


@pytest.fixture(autouse=True)
def _systems_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.delenv("PYTOFU_REACTOR", raising=False)
