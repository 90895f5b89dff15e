"""Every test of the links leaves nothing behind."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from pytofu.values.address import Address
from tests.links.ends import (
    KINDS,
    Kind,
    Pair,
    Resolver,
    Resolves,
    accepted,
    client_of,
    connected,
    listening,
    server_at,
)
from tests.resources import nothing_left as nothing_left


@pytest.fixture(autouse=True)
def _nothing_left(nothing_left: None) -> None:
    """Apply `nothing_left` to the whole directory."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each transport in turn."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def address(kind: Kind, tmp_path: Path) -> Address:
    """Where to listen, over each transport in turn."""
    return server_at(kind, tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where to listen over a Unix socket."""
    return str(tmp_path / "s")


@pytest.fixture
def pair(address: Address) -> Iterator[Pair]:
    """Two links that are connected: who connected, and who accepted."""
    with ExitStack() as stack:
        server = stack.enter_context(listening(address))
        client = stack.enter_context(connected(client_of(server.address)))
        yield client, stack.enter_context(accepted(server))


@pytest.fixture
def resolves() -> Resolves:
    """Set what every name stands for."""

    def resolves(*hosts: str | OSError) -> None:
        trio.socket.set_custom_hostname_resolver(Resolver(*hosts))

    return resolves
