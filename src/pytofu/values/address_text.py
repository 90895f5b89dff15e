"""Addresses as people write them: HOST:PORT or a path, with or without `tcp://`, `uds://` in front.

`tcp|HOST|PORT` and `uds|PATH` are the forms of the protocol. What is left out behind a scheme is
the protocol's default (PROTOCOL 1): port 7099, and host 127.0.0.1 to connect to, all interfaces to
listen on.
"""

import re
from typing import Final

from pytofu.values.address import (
    CONNECT_TO_HEADER,
    DEFAULT_HOST,
    DEFAULT_PORT,
    LISTEN_ON_HEADER,
    Address,
    MemoryClientAddress,
    MemoryServerAddress,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
    parse_address,
)
from pytofu.values.errors import AmpeException
from pytofu.values.message import Message

type ClientAddress = TCPClientAddress | TLSClientAddress | UDSClientAddress | MemoryClientAddress
type ServerAddress = TCPServerAddress | TLSServerAddress | UDSServerAddress | MemoryServerAddress

_ALL_INTERFACES: Final = "0.0.0.0"
_SCHEMES: Final = ("tcp", "tls", "uds", "mem")
_HOST_AND_PORT: Final = re.compile(r"(?:\[([^]]*)\]|([^:\[\]]*))(?::([^:]*))?")
_PATH: Final = re.compile(r"\.{0,2}/")
_FORMS: Final = (
    "HOST:PORT, [IPV6]:PORT, /PATH, tcp://HOST:PORT, tls://HOST:PORT, uds://PATH, mem://NAME "
    "(within one process), 'tcp|HOST|PORT' or 'uds|PATH'"
)


class AddressError(ValueError):
    """The text is no address; the exception's text says why."""


def client_address(text: str) -> ClientAddress:
    """Where to connect to. Raises `AddressError`."""
    address = _parse(text, CONNECT_TO_HEADER, DEFAULT_HOST)
    assert isinstance(
        address, TCPClientAddress | TLSClientAddress | UDSClientAddress | MemoryClientAddress
    )
    return address


def server_address(text: str) -> ServerAddress:
    """Where to listen. Raises `AddressError`."""
    address = _parse(text, LISTEN_ON_HEADER, _ALL_INTERFACES)
    assert isinstance(
        address, TCPServerAddress | TLSServerAddress | UDSServerAddress | MemoryServerAddress
    )
    return address


def address_text(address: Address) -> str:
    """The address in the form without `|`; what a peer got wrong as a question mark."""
    match address:
        case TCPClientAddress(host, port) | TCPServerAddress(host, port):
            return f"tcp://{_host_and_port(host, port)}"
        case TLSClientAddress(host, port) | TLSServerAddress(host, port):
            return f"tls://{_host_and_port(host, port)}"
        case UDSClientAddress(path) | UDSServerAddress(path):
            return f"uds://{path}"
        case MemoryClientAddress(name) | MemoryServerAddress(name):
            return f"mem://{name}"
        case _:  # WrongAddress
            return "?"


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse(text: str, header_name: str, default_host: str) -> Address:
    """Let the protocol's own parser decide, on a header with the address."""
    try:
        value = _header_value(text, default_host)
        message = Message()
        message.text_headers.append(header_name, value)
    except AmpeException:
        raise AddressError(f"an address cannot contain this: {text!r:.80}") from None
    except ValueError as error:
        raise AddressError(f"{error}; an address is {_FORMS}") from None
    address = parse_address(message)
    if isinstance(address, WrongAddress):
        raise AddressError(f"{address.reason}; an address is {_FORMS}")
    return address


def _header_value(text: str, default_host: str) -> str:
    """The protocol's form. Raises ValueError."""
    if text != text.strip():
        raise ValueError(f"there are blanks around {text!r:.80}")
    scheme, mark, rest = _split(text)
    if scheme not in _SCHEMES:
        lower = scheme.lower()
        if lower in _SCHEMES:
            raise ValueError(f"the scheme is written in small letters, {lower}: {text!r:.80}")
        raise ValueError(f"not an address: {text!r:.80}")
    if scheme == "uds":
        if not rest:
            raise ValueError("the path is missing")
        return f"uds|{rest}"
    if scheme == "mem":
        return f"mem|{rest}"
    if mark == "|":
        host, bar, port = rest.partition("|")
        if not bar:
            raise ValueError(f"not an address: {text!r:.80}")
    else:
        found = _HOST_AND_PORT.fullmatch(rest)
        if found is None:
            raise ValueError(f"not HOST:PORT (an IPv6 address goes in brackets): {rest!r:.80}")
        literal, name, port = found.groups()
        host = literal or name
        if not mark and (not port or not host or host.lower() in _SCHEMES):
            raise ValueError(f"not an address: {text!r:.80}")
    if " " in host:
        raise ValueError(f"there is a blank in the host, {host!r:.80}")
    return f"{scheme}|{host or default_host}|{port or DEFAULT_PORT}"


def _split(text: str) -> tuple[str, str, str]:
    """The scheme, what marks its end (nothing, if it was left out), and the rest."""
    if _PATH.match(text):
        return "uds", "", text
    for mark in ("://", "|"):
        scheme, found, rest = text.partition(mark)
        if found:
            return scheme, mark, rest
    return "tcp", "", text
