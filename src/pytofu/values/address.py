"""Addresses, and the text headers that carry them.

An address travels as `~connect_to` in a HelloRequest or `~listen_on` in a WelcomeRequest, with
the value `tcp|HOST|PORT` or `uds|PATH`; pytofu adds `mem|NAME`, for within one process, and
`tls|HOST|PORT`, to which a client may add `|SERVER_HOSTNAME`. Source: PROTOCOL 1
(addresses); the tagged union is the pattern guide's, section 1.
"""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import AddressValueError, IPv6Address
from typing import Final

import attrs

from pytofu.patterns.arguments import must_be, whole_number, wrong_type
from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.errors import AmpeException
from pytofu.values.header import OpCode
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

CONNECT_TO_HEADER: Final = "~connect_to"
"""The header that names the address of a HelloRequest."""
LISTEN_ON_HEADER: Final = "~listen_on"
"""The header that names the address of a WelcomeRequest."""
DEFAULT_HOST: Final = "127.0.0.1"
"""Where a TCP client connects to unless told otherwise."""
DEFAULT_PORT: Final = 7099
"""The TCP port unless told otherwise."""

_SCHEMES: Final = ("tcp", "uds", "tls", "mem")
_MAX_PORT: Final = 65535
_UDS_PATH_SIZE: Final = 108 if sys.platform == "linux" else 104  # of sun_path, with its NUL
_MAX_NAME: Final = 107

# What no host name contains (the URL standard's list), and U+FFFD, which stands for a byte that
# was not UTF-8. At most 253 characters, as in the DNS.
_HOST: Final = re.compile(r"[^\s\x00-\x20\x7f-\x9f#/<>?@\[\\\]^|\ud800-\udfff\ufffd]{1,253}")
# What an address header cannot carry: its separators, half a surrogate pair, blanks at the end.
_NOT_IN_PATHS: Final = re.compile(r"[|\r\n\x00\ud800-\udfff]|[ \t]\Z")
_NOT_IN_NAMES: Final = re.compile(r"[|\r\n\x00\ud800-\udfff]|\A[ \t]|[ \t]\Z")


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise wrong_type(what, "str", value)
    return value


def _host_or_default(host: str | None) -> str:
    return DEFAULT_HOST if host is None else _text("host", host)


def _host_or_empty(host: str | None) -> str:
    return "" if host is None else _text("host", host)


def _port_or_default(port: int | None) -> int:
    return DEFAULT_PORT if port is None else whole_number("port", port)


def _path_as_text(path: str | os.PathLike[str]) -> str:
    given: object = path
    if isinstance(given, bytes):
        raise wrong_type("path", "str or a Path", given, "os.fsdecode(path)")
    must_be("path", "str or a Path", (str, os.PathLike), given)
    return _text("path", os.fspath(path))


def _name(name: str) -> str:
    return _text("name", name)


def _name_or_none(name: str | None) -> str | None:
    return None if name is None else _text("server_hostname", name)


def _reason(reason: str) -> str:
    return _text("reason", reason)


@attrs.frozen
class TCPClientAddress:
    """Where to connect to over TCP: a host name or IP literal, and a port.

    None stands for the default, 127.0.0.1 and 7099. Source: PROTOCOL 1 (addresses).
    """

    host: str = attrs.field(default=None, converter=_host_or_default)
    port: int = attrs.field(default=None, converter=_port_or_default)

    def format(self, message: Message | None) -> None:
        """Make the message a HelloRequest to this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the host is empty or no host, or the port is out of range;
                the opcode is set, no header is appended.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.HELLO_REQUEST, CONNECT_TO_HEADER, _tcp_value(self.host, self.port))


@attrs.frozen
class TCPServerAddress:
    """Where to listen over TCP: a host name or IP literal, and a port; 0 lets the system choose.

    To listen on all interfaces give `0.0.0.0` or `::`. An address that was read from a header
    may also have an empty host, which means the same. None stands for the default port, 7099;
    there is no default host. Source: PROTOCOL 1 (addresses).
    """

    host: str = attrs.field(converter=_host_or_empty)
    port: int = attrs.field(default=None, converter=_port_or_default)

    def format(self, message: Message | None) -> None:
        """Make the message a WelcomeRequest for this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the host is empty or no host, or the port is out of range;
                the opcode is set, no header is appended.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.WELCOME_REQUEST, LISTEN_ON_HEADER, _tcp_value(self.host, self.port))


@attrs.frozen
class TLSClientAddress:
    """Where to connect to over TLS: as `TCPClientAddress`, and whom the server has to be.

    Its certificate has to be for `server_hostname`, or else for the host. The engine, or the
    channel group, needs a context for it: `Options.tls_client`. An addition of pytofu's.
    """

    host: str = attrs.field(default=None, converter=_host_or_default)
    port: int = attrs.field(default=None, converter=_port_or_default)
    server_hostname: str | None = attrs.field(default=None, converter=_name_or_none)

    def format(self, message: Message | None) -> None:
        """Make the message a HelloRequest to this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the host or the server's name is empty or no host, or the port
                is out of range; the opcode is set, no header is appended.
            NullMessageException: there is no message (it is None).
        """
        value = _tls_value(self.host, self.port, self.server_hostname)
        _write(message, OpCode.HELLO_REQUEST, CONNECT_TO_HEADER, value)


@attrs.frozen
class TLSServerAddress:
    """Where to listen over TLS: as `TCPServerAddress`.

    The engine, or the channel group, needs a context for it: `Options.tls_server`. An addition of
    pytofu's.
    """

    host: str = attrs.field(converter=_host_or_empty)
    port: int = attrs.field(default=None, converter=_port_or_default)

    def format(self, message: Message | None) -> None:
        """Make the message a WelcomeRequest for this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the host is empty or no host, or the port is out of range;
                the opcode is set, no header is appended.
            NullMessageException: there is no message (it is None).
        """
        value = _tls_value(self.host, self.port, None)
        _write(message, OpCode.WELCOME_REQUEST, LISTEN_ON_HEADER, value)


@attrs.frozen
class UDSClientAddress:
    """Which Unix domain socket to connect to: the path of its file.

    Source: PROTOCOL 1 (addresses).
    """

    path: str = attrs.field(converter=_path_as_text)

    def format(self, message: Message | None) -> None:
        """Make the message a HelloRequest to this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the path contains `|`, CR, LF or NUL, is no Unicode text, or
                ends with a blank; the opcode is set, no header is appended. Whether the path
                fits the platform is found by who reads the address.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.HELLO_REQUEST, CONNECT_TO_HEADER, _uds_value(self.path))


@attrs.frozen
class UDSServerAddress:
    """Which Unix domain socket to listen on: the path of its file.

    Source: PROTOCOL 1 (addresses).
    """

    path: str = attrs.field(converter=_path_as_text)

    def format(self, message: Message | None) -> None:
        """Make the message a WelcomeRequest for this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the path contains `|`, CR, LF or NUL, is no Unicode text, or
                ends with a blank; the opcode is set, no header is appended. Whether the path
                fits the platform is found by who reads the address.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.WELCOME_REQUEST, LISTEN_ON_HEADER, _uds_value(self.path))


@attrs.frozen
class MemoryClientAddress:
    """Which listener of the same process to connect to: its name.

    An addition of pytofu's: no peer in another process can be reached so. The other side may be
    another engine, also in another thread.
    """

    name: str = attrs.field(converter=_name)

    def format(self, message: Message | None) -> None:
        """Make the message a HelloRequest to this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the name is empty or longer than 107 bytes, contains `|`, CR,
                LF or NUL, is no Unicode text, or begins or ends with a blank; the opcode is set,
                no header is appended.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.HELLO_REQUEST, CONNECT_TO_HEADER, _mem_value(self.name))


@attrs.frozen
class MemoryServerAddress:
    """Under which name to listen to the same process. As `MemoryClientAddress`."""

    name: str = attrs.field(converter=_name)

    def format(self, message: Message | None) -> None:
        """Make the message a WelcomeRequest for this address: set the opcode, append the header.

        Raises:
            WrongAddressException: the name is empty or longer than 107 bytes, contains `|`, CR,
                LF or NUL, is no Unicode text, or begins or ends with a blank; the opcode is set,
                no header is appended.
            NullMessageException: there is no message (it is None).
        """
        _write(message, OpCode.WELCOME_REQUEST, LISTEN_ON_HEADER, _mem_value(self.name))


@attrs.frozen
class WrongAddress:
    """What a message without a usable address has; `reason` says why, for people only.

    All are equal, whatever their reasons. Source: PROTOCOL 1 (addresses).
    """

    reason: str = attrs.field(default="", eq=False, converter=_reason)

    def format(self, message: Message | None) -> None:
        """Raise `WrongAddressException`; the message stays as it is."""
        raise AmpeException.from_error(AmpeError.WRONG_ADDRESS, self.reason)


type Address = (
    TCPClientAddress
    | TCPServerAddress
    | TLSClientAddress
    | TLSServerAddress
    | UDSClientAddress
    | UDSServerAddress
    | MemoryClientAddress
    | MemoryServerAddress
    | WrongAddress
)
"""Any address: take it apart with `match`. Source: pattern guide, section 1; PROTOCOL 1."""


def parse_address(message: Message) -> Address:
    """Return the address of a message: that of its first `~connect_to` or `~listen_on` header.

    Strict: anything but `tcp|HOST|PORT`, `tls|HOST|PORT`, `uds|PATH` or `mem|NAME` in that header
    (for connecting also `tls|HOST|PORT|NAME`, NAME another HOST), with HOST a name or an IP literal
    (or empty), PORT in digits and at most 65535, PATH short enough for the
    platform, and NAME of 1 to 107 bytes and without blanks at its ends, is a `WrongAddress`, and
    so is a message without such a header. Raises only `MessageReleasedError`, and `TypeError` for
    what is no message. Source: PROTOCOL 1
    (addresses).
    """
    _must_be_message("parse_address", message)
    for name, value in message.text_headers:
        if name == CONNECT_TO_HEADER:
            return _read_connect_to(value)
        if name == LISTEN_ON_HEADER:
            return _read(
                value, TCPServerAddress, TLSServerAddress, UDSServerAddress, MemoryServerAddress
            )
    return WrongAddress(f"neither a {CONNECT_TO_HEADER} nor a {LISTEN_ON_HEADER} header")


def _read_connect_to(value: str) -> Address:
    server_hostname: str | None = None
    if value.startswith("tls|") and value.count("|") == 3:
        value, _, server_hostname = value.rpartition("|")
        if not _is_host(server_hostname):
            return WrongAddress(f"not a host: {server_hostname!r:.80}")
    tls = partial(TLSClientAddress, server_hostname=server_hostname)
    return _read(value, TCPClientAddress, tls, UDSClientAddress, MemoryClientAddress)


def _read[T, S, U, M](
    value: str,
    tcp: Callable[[str, int], T],
    tls: Callable[[str, int], S],
    uds: Callable[[str], U],
    mem: Callable[[str], M],
) -> T | S | U | M | WrongAddress:
    match value.split("|", 3):
        case ["tcp" | "tls" as scheme, host, digits]:
            port = _read_port(digits)
            if port is None:
                return WrongAddress(
                    f"not a port: {digits!r:.80}, which is digits for 0 to {_MAX_PORT}"
                )
            if host and not _is_host(host):
                return WrongAddress(f"not a host: {host!r:.80}")
            return tcp(host, port) if scheme == "tcp" else tls(host, port)
        case ["uds", path]:
            if len(path.encode()) >= _UDS_PATH_SIZE:
                return WrongAddress(f"path longer than {_UDS_PATH_SIZE - 1} bytes: {path!r:.80}")
            return uds(path)
        case ["mem", name]:
            return mem(name) if _is_name(name) else WrongAddress(f"not a name: {name!r:.80}")
        case _:
            return WrongAddress(_no_form(value))


def _no_form(value: str) -> str:
    scheme, _, _ = value.partition("|")
    lower = scheme.strip().lower()
    hint = f"; the scheme is written {lower}" if scheme != lower and lower in _SCHEMES else ""
    return f"neither tcp|HOST|PORT nor uds|PATH nor tls|HOST|PORT nor mem|NAME: {value!r:.60}{hint}"


def _read_port(digits: str) -> int | None:
    if not (digits.isascii() and digits.isdigit()):
        return None
    significant = digits.lstrip("0") or "0"  # int() refuses very long digit strings
    if len(significant) > len(str(_MAX_PORT)) or int(significant) > _MAX_PORT:
        return None
    return int(significant)


def _is_host(host: str) -> bool:
    name = host.strip(" ")  # the original takes blanks around a host, and keeps them
    if _HOST.fullmatch(name) is None:
        return False
    if ":" not in name:
        return "%" not in name
    try:
        IPv6Address(name)  # possibly with a zone: fe80::1%eth0
    except AddressValueError:
        return False
    return True


def _is_name(name: str) -> bool:
    return _NOT_IN_NAMES.search(name) is None and 0 < len(name.encode()) <= _MAX_NAME


def _tcp_value(host: str, port: int) -> Result[str, str]:
    if not _is_host(host):
        return Err(f"not a host: {host!r:.80}")
    if not 0 <= port <= _MAX_PORT:
        return Err(f"not a port: {port}, which is 0 to {_MAX_PORT}")
    return Ok(f"tcp|{host}|{port}")


def _tls_value(host: str, port: int, server_hostname: str | None) -> Result[str, str]:
    value = _tcp_value(host, port)
    if isinstance(value, Err):
        return value
    text = f"tls|{host}|{port}"
    if server_hostname is None:
        return Ok(text)
    if not _is_host(server_hostname):
        return Err(f"not a host: {server_hostname!r:.80}")
    return Ok(f"{text}|{server_hostname}")


def _uds_value(path: str) -> Result[str, str]:
    if _NOT_IN_PATHS.search(path):
        return Err(f"a header cannot carry this path: {path!r:.80}")
    return Ok(f"uds|{path}")


def _mem_value(name: str) -> Result[str, str]:
    return Ok(f"mem|{name}") if _is_name(name) else Err(f"not a name: {name!r:.80}")


def _must_be_message(what: str, message: object) -> None:
    held = isinstance(message, Holder)
    advice = "holder.unwrap() is the one in a holder" if held else ""
    must_be(what, "a Message", Message, message, advice)


def _write(message: Message | None, opcode: OpCode, name: str, value: Result[str, str]) -> None:
    if message is None:
        raise AmpeException.from_error(
            AmpeError.NULL_MESSAGE,
            "there is no message to write the address to: the holder is empty, or the pool was",
        )
    _must_be_message("format", message)
    message.opcode = opcode
    if isinstance(value, Err):
        raise AmpeException.from_error(AmpeError.WRONG_ADDRESS, value.error)
    message.text_headers.append(name, value.value)
