"""Socket options: what is asked for is what both ends have."""

import math
import socket

import pytest

from pytofu.links.base import Link
from pytofu.links.by_scheme import connect
from pytofu.links.settings import TCPSettings
from pytofu.values.address import TCPClientAddress, TCPServerAddress
from tests.links.ends import (
    LOCALHOST,
    accept,
    accepted,
    client_of,
    connected,
    linux_only,
    listening,
    needs_ipv6,
    opened,
    option,
    port_of,
    received,
)


def option_values(end: Link) -> dict[str, int]:
    names = ["TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"]
    values = {name: option(end, socket.IPPROTO_TCP, getattr(socket, name)) for name in names}
    return {**values, "SO_KEEPALIVE": option(end, socket.SOL_SOCKET, socket.SO_KEEPALIVE)}


@linux_only
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_both_ends_send_without_delay_and_notice_a_peer_that_vanishes(host: str) -> None:
    expected = {
        "TCP_NODELAY": 1,
        "TCP_KEEPIDLE": 30,
        "TCP_KEEPINTVL": 10,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 60_000,
        "SO_KEEPALIVE": 1,
    }
    with (
        listening(TCPServerAddress(host, 0)) as listener,
        connected(client_of(listener.address)) as client,
        accepted(listener) as server,
        connected(client_of(listener.address)),
        accepted(listener) as second,
    ):
        for link in (client, server, second):
            assert option_values(link) == expected


@linux_only
async def test_a_connection_to_a_name_has_the_same_options() -> None:
    settings = TCPSettings(5.4, 0.2, 200, 1.5, receive_buffer=50_000)
    with listening(LOCALHOST) as listener:
        found = await connect(TCPClientAddress("localhost", port_of(listener)), settings=settings)
        link = opened(found)
        accept(listener).close(reset=True)
        assert option_values(link) == {
            "TCP_NODELAY": 1,
            "TCP_KEEPIDLE": 5,
            "TCP_KEEPINTVL": 1,
            "TCP_KEEPCNT": 127,
            "TCP_USER_TIMEOUT": 1500,
            "SO_KEEPALIVE": 1,
        }
        assert option(link, socket.SOL_SOCKET, socket.SO_RCVBUF) == 100_000
        link.close(reset=True)


@linux_only
def test_zero_switches_them_off() -> None:
    settings = TCPSettings(keepalive=0, user_timeout=0)
    with (
        listening(LOCALHOST, settings=settings) as listener,
        connected(client_of(listener.address), settings) as client,
        accepted(listener) as server,
    ):
        for link in (client, server):
            values = option_values(link)
            assert values["SO_KEEPALIVE"] == values["TCP_USER_TIMEOUT"] == 0
            assert values["TCP_NODELAY"] == 1


@linux_only  # other systems have other factors
def test_buffers_have_the_size_that_was_asked_for_at_both_ends() -> None:
    settings = TCPSettings(send_buffer=20_000, receive_buffer=30_000)
    with (
        listening(LOCALHOST, settings=settings) as listener,
        connected(client_of(listener.address), settings) as client,
        accepted(listener) as server,
    ):
        for link in (client, server):
            assert option(link, socket.SOL_SOCKET, socket.SO_SNDBUF) == 40_000
            assert option(link, socket.SOL_SOCKET, socket.SO_RCVBUF) == 60_000


def test_numbers_that_the_system_cannot_take_are_brought_within_its_limits() -> None:
    settings = TCPSettings(math.inf, 1e9, 10**9, math.inf, 2**70, 2**70)
    with (
        listening(LOCALHOST, settings=settings) as listener,
        connected(client_of(listener.address), settings) as client,
        accepted(listener) as server,
    ):
        assert option(client, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert server.send(b"x") == 1
        assert received(client, 1) == b"x"


@pytest.mark.parametrize("wrong", [{"keepalive": -1.0}, {"user_timeout": math.nan}])
def test_negative_times_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TCPSettings(**wrong)  # type: ignore[arg-type]


def test_what_a_platform_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_USER_TIMEOUT"):
        monkeypatch.delattr(socket, name, raising=False)
    names = [name for _, name, _ in TCPSettings().options]
    assert names == [
        socket.TCP_NODELAY,
        socket.TCP_KEEPINTVL,
        socket.TCP_KEEPCNT,
        socket.SO_KEEPALIVE,
    ]
