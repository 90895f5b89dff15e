"""ADDRESS on the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu import (
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
)
from pytofu.cli.addresses import AddressError, address_text, client_address, server_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp|example.org|80", "example.org", 80),
        ("tcp://example.org:80", "example.org", 80),
        ("tcp://example.org", "example.org", 7099),
        ("tcp://[::1]:80", "::1", 80),
        ("tcp://[::1]", "::1", 7099),
        ("tcp|::1|80", "::1", 80),
        ("tcp|example.org|", "example.org", 7099),
    ],
)
def test_tcp(text: str, host: str, port: int) -> None:
    assert client_address(text) == TCPClientAddress(host, port)
    assert server_address(text) == TCPServerAddress(host, port)


@pytest.mark.parametrize("text", ["tcp://", "tcp://:7099", "tcp||7099", "tcp||", "tcp://:"])
def test_the_default_host_depends_on_the_side(text: str) -> None:
    assert client_address(text) == TCPClientAddress("127.0.0.1", 7099)
    assert server_address(text) == TCPServerAddress("0.0.0.0", 7099)


@pytest.mark.parametrize(
    ("text", "path"),
    [("uds|/run/s", "/run/s"), ("uds:///run/s", "/run/s"), ("uds://s", "s"), ("uds|s", "s")],
)
def test_uds(text: str, path: str) -> None:
    assert client_address(text) == UDSClientAddress(path)
    assert server_address(text) == UDSServerAddress(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither tcp://HOST:PORT nor uds://PATH"),
        ("tcp", "neither tcp|HOST|PORT nor uds|PATH"),
        ("tcp|host", "neither tcp|HOST|PORT nor uds|PATH"),
        ("tcp|host|1|2", "neither tcp|HOST|PORT nor uds|PATH"),
        ("http://host:1", "neither tcp://HOST:PORT nor uds://PATH"),
        ("tcp://host:65536", "not a port"),
        ("tcp://host:x", "not a port"),
        ("tcp://host:1/", "not a port"),
        ("tcp://a b:1", "not a host"),
        ("tcp://::1:80", "an IPv6 address goes in brackets"),
        ("tcp://[::1", "an IPv6 address goes in brackets"),
        ("tcp://host:1 ", "blanks at the end"),
        ("uds://", "the path is missing"),
        ("uds|", "the path is missing"),
        ("uds://a|b", "neither tcp|HOST|PORT nor uds|PATH"),
        (f"uds://{'x' * 200}", "path longer than"),
        ("uds://a\0b", "an address cannot contain this"),
        ("uds://\udc80", "an address cannot contain this"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text: str, why: str) -> None:
    for read in (client_address, server_address):
        with pytest.raises(AddressError) as caught:
            read(text)
        assert why in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = client_address(text)
    except AddressError:
        return
    assert client_address(address_text(address)) == address


@pytest.mark.parametrize("text", ["tcp://[::1]:80", "tcp://example.org:80", "uds:///run/s"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert address_text(client_address(text)) == text
    assert address_text(server_address(text)) == text


def test_no_address_is_written_as_a_question_mark() -> None:
    assert address_text(WrongAddress("whatever")) == "?"
