"""The transport is found by the address's class."""

import pytest

from pytofu.links.base import LinkError
from pytofu.links.by_scheme import begin_connect, begin_listen, connect, listen
from pytofu.values.address import (
    Address,
    MemoryClientAddress,
    MemoryServerAddress,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
)
from pytofu.values.status import AmpeError
from tests.links.ends import accept, client_of, opened, received

CLIENTS: list[Address] = [TCPClientAddress("h"), UDSClientAddress("/s"), MemoryClientAddress("n")]
SERVERS: list[Address] = [TCPServerAddress("h"), UDSServerAddress("/s"), MemoryServerAddress("n")]
WRONG = WrongAddress("neither tcp|HOST|PORT nor uds|PATH: 'x'")


@pytest.mark.parametrize("address", [*SERVERS, WRONG], ids=repr)
async def test_what_is_no_address_to_connect_to(address: Address) -> None:
    expected = LinkError(AmpeError.INVALID_ADDRESS, f"no address for connecting: {address}")
    assert begin_connect(address) == await connect(address) == expected


@pytest.mark.parametrize("address", [*CLIENTS, WRONG], ids=repr)
async def test_what_is_no_address_to_listen_at(address: Address) -> None:
    expected = LinkError(AmpeError.INVALID_ADDRESS, f"no address for listening: {address}")
    assert begin_listen(address, reuse_port=False) == expected
    assert await listen(address, reuse_port=False) == expected


async def test_what_needs_no_waiting_can_be_waited_for_too(address: Address) -> None:
    found = await listen(address, reuse_port=False)
    assert isinstance(found, list)
    (listener,) = found
    client = opened(await connect(client_of(listener.address)))
    server = accept(listener)
    client.send(b"x")
    assert received(server, 1) == b"x"
    for link in (client, server):
        link.close(reset=True)
    listener.close()
