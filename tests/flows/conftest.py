"""Every flow is the same on both reactors, and over every transport."""

import pytest

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
