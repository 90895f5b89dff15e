"""Addresses as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu import (
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
)
from pytofu.values.address_text import AddressError, address_text, client_address, server_address


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
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("localhost:80", "localhost", 80),
        ("[::1]:80", "::1", 80),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
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
    [
        *(("uds|/run/s", "/run/s"), ("uds:///run/s", "/run/s"), ("uds://s", "s"), ("uds|s", "s")),
        *(("/run/s", "/run/s"), ("./s", "./s"), ("../s", "../s"), ("/run/a b:1", "/run/a b:1")),
    ],
)
def test_uds(text: str, path: str) -> None:
    assert client_address(text) == UDSClientAddress(path)
    assert server_address(text) == UDSServerAddress(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an address: ''"),
        ("tcp", "not an address: 'tcp'"),
        ("7099", "not an address: '7099'"),
        ("localhost", "not an address: 'localhost'"),
        ("localhost:", "not an address: 'localhost:'"),
        (":7099", "not an address: ':7099'"),
        ("tcp:7099", "not an address: 'tcp:7099'"),
        ("uds:/run/s", "not an address: 'uds:/run/s'"),
        ("tcp:localhost:80", "an IPv6 address goes in brackets"),
        ("::1:80", "an IPv6 address goes in brackets"),
        ("tcp|host", "not an address: 'tcp|host'"),
        ("tcp|host|1|2", "neither tcp|HOST|PORT nor uds|PATH"),
        ("http://host:1", "not an address: 'http://host:1'"),
        ("TCP://host:1", "the scheme is written in small letters, tcp: 'TCP://host:1'"),
        ("Uds|/run/s", "the scheme is written in small letters, uds: 'Uds|/run/s'"),
        *(
            (f"{head}65536", "not a port: '65536'")
            for head in ("tcp://host:", "host:", "tcp|host|")
        ),
        *((f"{head}+80", "not a port: '+80'") for head in ("tcp://host:", "host:", "tcp|host|")),
        *((f"{head}-1", "not a port: '-1'") for head in ("tcp://host:", "host:", "tcp|host|")),
        ("tcp://host:\u0663", "not a port"),
        ("tcp://host: 80", "not a port: ' 80'"),
        ("tcp://host:x", "not a port"),
        ("tcp://host:1/", "not a port"),
        *((head, "there is a blank in the host") for head in ("tcp://a b:1", "a :1", "tcp| a|1")),
        ("tcp://[::1", "an IPv6 address goes in brackets"),
        *((f"{text} ", "there are blanks around") for text in ("tcp://host:1", "host:1", "/run/s")),
        (" /run/s", "there are blanks around ' /run/s'"),
        ("uds://", "the path is missing"),
        ("uds|", "the path is missing"),
        *((f"{head}a|b", "neither tcp|HOST|PORT nor uds|PATH") for head in ("uds://", "/", "uds|")),
        *((f"{head}{'x' * 200}", "path longer than") for head in ("uds://", "/", "uds|")),
        ("uds://a\0b", "an address cannot contain this"),
        ("uds://\udc80", "an address cannot contain this"),
        ("/run/a\nb", "an address cannot contain this"),
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(text: str, why: str) -> None:
    for read in (client_address, server_address):
        with pytest.raises(AddressError) as caught:
            read(text)
        assert why in str(caught.value)
        assert "cannot contain this" in why or "an address is HOST:PORT, [" in str(caught.value)


def test_a_refusal_names_every_scheme() -> None:
    with pytest.raises(AddressError) as caught:
        client_address("")
    assert re.findall(r"(\w+)://", str(caught.value)) == ["tcp", "tls", "uds", "mem"]


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = client_address(text)
    except AddressError:
        return
    assert client_address(address_text(address)) == address


@pytest.mark.parametrize(
    "text", ["tcp://[::1]:80", "tcp://example.org:80", "uds:///run/s", "mem://jobs"]
)
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert address_text(client_address(text)) == text
    assert address_text(server_address(text)) == text


def test_no_address_is_written_as_a_question_mark() -> None:
    assert address_text(WrongAddress("whatever")) == "?"


@pytest.mark.parametrize("text", ["tls://example.org:5", "tls://[::1]:5"])
def test_tls(text: str) -> None:
    client, server = client_address(text), server_address(text)
    assert isinstance(client, TLSClientAddress)
    assert isinstance(server, TLSServerAddress)
    assert address_text(client) == address_text(server) == text
