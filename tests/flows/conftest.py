"""Every flow is the same on both reactors, and over every transport.

Over TLS on the system's reactor alone, to be quick; what is particular about TLS, on both.
"""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out TLS on the portable reactor."""
    items[:] = [item for item in items if not _is_left_out(item)]


def _is_left_out(item: pytest.Item) -> bool:
    parameters = (
        item.callspec.params
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else {}
    )
    return parameters.get("reactor") == "tasks" and parameters.get("kind") == "tls"
