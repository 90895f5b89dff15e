"""Fixtures of all tests."""

from pathlib import Path

import pytest

from tests.support import Kind, ServerAddress, Side, server_address_of


@pytest.fixture(params=["tcp", "uds"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def address(kind: Kind, tmp_path: Path) -> ServerAddress:
    """Where to listen, over each transport in turn."""
    return server_address_of(kind, tmp_path)


@pytest.fixture(params=["client", "server"])
def side(request: pytest.FixtureRequest) -> Side:
    """Each side of a connection in turn: the one that connects, and the one that accepts."""
    side: Side = request.param
    return side
