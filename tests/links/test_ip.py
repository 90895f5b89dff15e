"""IP addresses and zones."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.links.ip import Host, literal, place, shown_host

LOOPBACK = socket.if_indextoname(1)


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "255.255.255.255"])
def test_ipv4(ip: str) -> None:
    assert literal(ip) == Host(socket.AF_INET, ip)
    assert Host(socket.AF_INET, ip).at(80) == (ip, 80)


@pytest.mark.parametrize("ip", ["::1", "::", "fe80::1", "::ffff:127.0.0.1"])
def test_ipv6(ip: str) -> None:
    assert literal(ip) == Host(socket.AF_INET6, ip)
    assert Host(socket.AF_INET6, ip).at(80) == (ip, 80, 0, 0)


@pytest.mark.parametrize(
    "name",
    [
        *("localhost", "", "127.0.0", "127.1", "0x7f.0.0.1", "1.2.3.4%lo", " 127.0.0.1", "::g"),
        *("\0", "a\0b", "127.0.0.1\0", "\ud800", "[::1]", ":::", "\u0661.2.3.4"),
    ],
)
def test_what_is_no_literal_is_a_name(name: str) -> None:
    assert literal(name) is None


def test_a_zone_is_an_interface_by_name_or_number() -> None:
    assert literal(f"fe80::1%{LOOPBACK}") == Host(socket.AF_INET6, "fe80::1", 1)
    assert literal("fe80::1%1") == Host(socket.AF_INET6, "fe80::1", 1)
    assert literal("fe80::1%4294967295") == Host(socket.AF_INET6, "fe80::1", 4294967295)


@pytest.mark.parametrize("zone", ["nosuchinterface", "x" * 300])
def test_a_zone_has_to_exist(zone: str) -> None:
    with pytest.raises(OSError, match=r"."):
        literal(f"fe80::1%{zone}")


@pytest.mark.parametrize("zone", ["4294967296", "9" * 5000, "a\0b"])
def test_what_cannot_be_a_zone(zone: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        literal(f"fe80::1%{zone}")


def test_a_zone_is_shown_by_name_as_long_as_it_has_one() -> None:
    assert shown_host(("fe80::1", 80, 0, 1)) == f"fe80::1%{LOOPBACK}"
    assert shown_host(("fe80::1", 80, 0, 4294967295)) == "fe80::1%4294967295"
    assert place(("fe80::1", 80, 0, 1)) == f"fe80::1%{LOOPBACK} port 80"


def test_ipv4_in_ipv6_is_shown_as_ipv4() -> None:
    assert shown_host(("::ffff:192.0.2.1", 80, 0, 0)) == "192.0.2.1"
    assert shown_host(("::1", 80, 0, 0)) == "::1"
    assert shown_host(("192.0.2.1", 80)) == "192.0.2.1"


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_is_a_literal_and_what_sockets_take(ip: object, port: int) -> None:
    host = literal(str(ip))
    assert host is not None
    assert Host.of(host.at(port)) == host


@given(st.text())
def test_no_text_at_all_is_more_than_a_name_or_an_error(text: str) -> None:
    try:
        literal(text)
    except (OSError, ValueError):
        assert "%" in text
