"""Fixtures of all tests."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

import pytofu
from tests.support import Kind, ServerAddress, Side, server_address_of

# The same examples every time: a failure that cannot be repeated helps nobody. And no time limit an
# example, since these machines may be busy.
settings.register_profile("pytofu", deadline=None, derandomize=True)
settings.load_profile("pytofu")

# The path of a Unix socket has about a hundred characters, of which a test's own folder takes 70.
# macOS has its temporary files where half of them are gone before that.
_LONGEST_FOLDER: Final = 20
if len(tempfile.gettempdir()) > _LONGEST_FOLDER:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/tmp")

# A shell ignores Ctrl-C in what it starts in the background, and all processes below inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Which of the two is under test."""
    return "pytofu: " + ("with the compiled core" if pytofu.compiled else "pure Python")


def pytest_sessionstart() -> None:
    """Where the environment demands one of the two, the other one has not been tested."""
    wanted = os.environ.get("PYTOFU_PURE", "")
    if wanted and (wanted == "0") is not pytofu.compiled:
        pytest.exit(f"PYTOFU_PURE={wanted}, and yet: {pytest_report_header()}", returncode=3)


@pytest.fixture(params=["tcp", "uds", "mem"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def address(kind: Kind, tmp_path: Path) -> ServerAddress:
    """Where to listen, over each transport in turn."""
    return server_address_of(kind, tmp_path)


@pytest.fixture(params=["tcp", "uds"])
def socket_kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport that has sockets: for what is about them, or about other processes."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def socket_address(socket_kind: Kind, tmp_path: Path) -> ServerAddress:
    """Where to listen, over each transport that has sockets."""
    return server_address_of(socket_kind, tmp_path)


@pytest.fixture(params=["client", "server"])
def side(request: pytest.FixtureRequest) -> Side:
    """Each side of a connection in turn: the one that connects, and the one that accepts."""
    side: Side = request.param
    return side
