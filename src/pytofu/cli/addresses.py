"""ADDRESS on the command line: `tcp://HOST:PORT`, `uds://PATH`, `tcp|HOST|PORT` or `uds|PATH`.

The forms with `|` are those of the protocol and need quoting in a shell; the others do not. What
is left out is the protocol's default (PROTOCOL 1): port 7099, and host 127.0.0.1 to connect to,
all interfaces to listen on.
"""

import re
from collections.abc import Sequence
from typing import Final

import click

from pytofu import (
    Address,
    AmpeException,
    Message,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
    parse_address,
)
from pytofu.values.address import CONNECT_TO_HEADER, DEFAULT_HOST, DEFAULT_PORT, LISTEN_ON_HEADER

type ClientAddress = TCPClientAddress | UDSClientAddress
type ServerAddress = TCPServerAddress | UDSServerAddress

_ALL_INTERFACES: Final = "0.0.0.0"
_HOST_AND_PORT: Final = re.compile(r"(?:\[([^]]*)\]|([^:\[\]]*))(?::([^:]*))?")


class AddressError(ValueError):
    """The text is no address; the exception's text says why."""


def client_address(text: str) -> ClientAddress:
    """Where to connect to. Raises `AddressError`."""
    address = _parse(text, CONNECT_TO_HEADER, DEFAULT_HOST)
    assert isinstance(address, TCPClientAddress | UDSClientAddress)
    return address


def server_address(text: str) -> ServerAddress:
    """Where to listen. Raises `AddressError`."""
    address = _parse(text, LISTEN_ON_HEADER, _ALL_INTERFACES)
    assert isinstance(address, TCPServerAddress | UDSServerAddress)
    return address


def address_text(address: Address) -> str:
    """The address in the form without `|`; what a peer got wrong as a question mark."""
    match address:
        case TCPClientAddress(host, port) | TCPServerAddress(host, port):
            return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        case UDSClientAddress(path) | UDSServerAddress(path):
            return f"uds://{path}"
        case _:  # WrongAddress
            return "?"


def _parse(text: str, header_name: str, default_host: str) -> Address:
    """Let the protocol's own parser decide, on a header with the address."""
    message = Message()
    try:
        message.text_headers.append(header_name, _header_value(text, default_host))
    except AmpeException:
        raise AddressError(f"an address cannot contain this: {text!r}") from None
    address = parse_address(message)
    if isinstance(address, WrongAddress):
        raise AddressError(address.reason)
    return address


def _header_value(text: str, default_host: str) -> str:
    if text != text.rstrip():
        raise AddressError(f"blanks at the end: {text!r}")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, _, rest = text.partition("|")
    if scheme not in {"tcp", "uds"}:
        raise AddressError(f"neither tcp://HOST:PORT nor uds://PATH: {text!r:.80}")
    if scheme == "tcp" and separator:
        found = _HOST_AND_PORT.fullmatch(rest)
        if found is None:
            raise AddressError(f"not HOST:PORT (an IPv6 address goes in brackets): {rest!r}")
        literal, name, port = found.groups()
        return f"tcp|{literal or name or default_host}|{port or DEFAULT_PORT}"
    if scheme == "tcp":
        host, bar, port = rest.partition("|")
        if bar:
            return f"tcp|{host or default_host}|{port or DEFAULT_PORT}"
    elif separator:
        text = f"uds|{rest}"
    if text == "uds|":
        raise AddressError("the path is missing")
    return text


def to_client_address(
    context: click.Context, parameter: click.Parameter, text: str
) -> ClientAddress:
    """Callback of an argument: where to connect to."""
    try:
        return client_address(text)
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def to_server_addresses(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> Sequence[ServerAddress]:
    """Callback of an argument: where to listen."""
    try:
        return [server_address(text) for text in texts]
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None
