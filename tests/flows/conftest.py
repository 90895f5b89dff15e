"""Every flow is the same on both reactors, and over every transport."""

import pytest
from trio.testing import MockClock

from tests.support import Kind


@pytest.fixture(autouse=True, params=["poller", "tasks"])
def reactor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system's reactor and the portable one in turn, for programs that a test starts too."""
    reactor: str = request.param
    monkeypatch.setenv("PYTOFU_REACTOR", "" if reactor == "poller" else reactor)
    return reactor


@pytest.fixture(params=["tcp", "tls", "uds", "mem"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def clock() -> MockClock:
    """Time that passes only while neither side has anything to do, however slow the machine is.

    The hundredth of a second is for what the system still carries from one socket to the other.
    """
    return MockClock(autojump_threshold=0.01)
