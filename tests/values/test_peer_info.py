"""Who is at the other end, as text."""

import pytest

from pytofu import PeerInfo


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (PeerInfo(), ""),
        (PeerInfo(pid=1, scheme="uds"), ""),
        (PeerInfo("10.0.0.1", 5, scheme="tcp"), "tcp://10.0.0.1:5"),
        (PeerInfo("::1", 5, scheme="tls"), "tls://[::1]:5"),
    ],
)
def test_its_address(peer: PeerInfo, address: str) -> None:
    assert peer.address == address
