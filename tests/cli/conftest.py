"""Programs are other processes: what they talk over has sockets."""

import pytest

from tests.support import Kind


@pytest.fixture
def kind(socket_kind: Kind) -> Kind:
    """Each transport with sockets in turn."""
    return socket_kind
