"""address_parse and address_format."""

import re
from typing import Any, Final

import pytest

from pytofu.values.address import (
    Address,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
    parse_address,
)
from pytofu.values.errors import WrongAddressException
from pytofu.values.message import Message
from tests.conformance.loading import opcode_named, rows


def address_of(row: dict[str, Any]) -> Address:
    """The address that pytofu has to read, as the row says it."""
    match row.get("pytofu", row["zig"]):
        case {"kind": "wrong"}:
            return WrongAddress()
        case {"kind": "tcp_client_addr", "host": host, "port": port}:
            return TCPClientAddress(host, port)
        case {"kind": "tcp_server_addr", "host": host, "port": port}:
            return TCPServerAddress(host, port)
        case {"kind": "uds_client_addr", "path": path}:
            return UDSClientAddress(path)
        case {"kind": "uds_server_addr", "path": path}:
            return UDSServerAddress(path)
        case other:
            raise AssertionError(f"no address: {other}")


@pytest.mark.parametrize("row", rows("address_parse"), ids=lambda row: repr(row["headers"]))
def test_parse(row: dict[str, Any]) -> None:
    expected = address_of(row)
    assert parse_address(Message(text_headers=row["headers"].encode())) == expected
    message = Message()
    try:
        expected.format(message)
    except WrongAddressException:
        # No such address is ever written. One that is read may also have an empty host.
        assert isinstance(expected, WrongAddress) or "||" in row["headers"]
    else:
        assert parse_address(message) == expected


LABEL: Final = re.compile(r"(?P<kind>\w+)(?:\((?P<arguments>.*?)\))?(?P<rest>| empty struct|.*)")
CLASSES: Final = {
    "TCPClient": TCPClientAddress,
    "TCPServer": TCPServerAddress,
    "UDSClient": UDSClientAddress,
    "UDSServer": UDSServerAddress,
    "wrong": WrongAddress,
}
LETTERS: Final = {"TCPClient": "h", "UDSServer": "p"}


def labelled(label: str) -> Address:
    """The address that a label such as `TCPClient('h',80)` describes."""
    found = LABEL.fullmatch(label)
    assert found is not None
    kind, arguments = found["kind"], found["arguments"] or ""
    if arguments == "{}":  # the original's empty structure: no host
        arguments = "'',0"
    values: list[Any] = []
    for argument in filter(None, arguments.split(",")):
        if argument == "null":
            values.append(None)
        elif argument.endswith(" chars"):
            length = int(argument.removesuffix(" chars"))
            values.append(("/" if kind.startswith("UDS") else "h") + LETTERS[kind] * (length - 1))
        else:
            values.append(argument[1:-1] if argument[0] == "'" else int(argument))
    address: Address = CLASSES[kind](*values)
    return address


@pytest.mark.parametrize("row", rows("address_format"), ids=lambda row: row["label"])
def test_format(row: dict[str, Any]) -> None:
    address = labelled(row["label"])
    preset = b"before:1\r\n" if row["label"].endswith("message preset") else b""
    message = Message(text_headers=preset)
    if row["format_result"] == "ok":
        address.format(message)
        read = parse_address(message)
        if row["label"] == "UDSServer(108 chars)":  # does not fit the platform
            assert isinstance(read, WrongAddress)
        else:
            assert read == address
    else:
        with pytest.raises(WrongAddressException):
            address.format(message)
    assert message.opcode is opcode_named(row["opcode_after"])
    assert message.text_headers.to_bytes() == row["headers_bytes"].encode()
