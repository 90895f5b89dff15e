from pathlib import Path
from typing import Final, assert_never

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytofu.values.address import (
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
from pytofu.values.errors import NullMessageException, WrongAddressException
from pytofu.values.header import OpCode
from pytofu.values.message import Message, MessageReleasedError


def with_headers(text: str) -> Message:
    return Message(text_headers=text.encode())


def formatted(address: Address, message: Message | None = None) -> str:
    message = message or Message()
    address.format(message)
    return message.text_headers.to_bytes().decode()


class TestDefaults:
    def test_client(self) -> None:
        assert TCPClientAddress() == TCPClientAddress("127.0.0.1", 7099)
        assert TCPClientAddress(None, None) == TCPClientAddress()
        assert TCPClientAddress("h") == TCPClientAddress("h", 7099)
        assert TCPClientAddress(port=80).host == "127.0.0.1"
        assert TCPClientAddress("", 0) != TCPClientAddress()

    def test_server(self) -> None:
        assert TCPServerAddress("h") == TCPServerAddress("h", None) == TCPServerAddress("h", 7099)
        assert TCPServerAddress(None).host == ""
        assert TCPServerAddress("h", 0).port == 0

    def test_paths_may_be_path_objects(self) -> None:
        assert UDSClientAddress(Path("/run/x.sock")) == UDSClientAddress("/run/x.sock")
        assert UDSServerAddress(Path("/run/x.sock")).path == "/run/x.sock"

    def test_addresses_are_values(self) -> None:
        addresses: set[Address] = {TCPClientAddress("h", 1), TCPServerAddress("h", 1)}
        addresses |= {TCPClientAddress("h", 1), UDSClientAddress("h"), UDSServerAddress("h")}
        addresses |= {MemoryClientAddress("h"), MemoryServerAddress("h")}
        assert len(addresses) == 6

    def test_wrong_addresses_are_equal_whatever_their_reasons(self) -> None:
        assert WrongAddress() == WrongAddress("because")
        assert len({WrongAddress(), WrongAddress("because")}) == 1

    def test_union_is_matched_exhaustively(self) -> None:
        def kind(address: Address) -> str:
            match address:
                case TCPClientAddress(host, port) | TCPServerAddress(host, port):
                    return f"tcp {host} {port}"
                case TLSClientAddress(host, port) | TLSServerAddress(host, port):
                    return f"tls {host} {port}"
                case UDSClientAddress(path) | UDSServerAddress(path):
                    return f"uds {path}"
                case MemoryClientAddress(name) | MemoryServerAddress(name):
                    return f"mem {name}"
                case WrongAddress(reason):
                    return reason
                case _:
                    assert_never(address)

        assert kind(TCPServerAddress("h", 1)) == "tcp h 1"
        assert kind(TLSServerAddress("h", 1)) == "tls h 1"
        assert kind(UDSClientAddress("/p")) == "uds /p"
        assert kind(MemoryServerAddress("n")) == "mem n"
        assert kind(WrongAddress("because")) == "because"


NO_NAMES = [
    *("", "a|b", "a\nb", "a\rb", "a\0", " a", "a ", "\ta", "a\t", "\ud800"),
    *("n" * 108, "é" * 54),
]
"""What no listener within the process can be called."""


class TestFormat:
    @pytest.mark.parametrize(
        ("address", "opcode", "header"),
        [
            (TCPClientAddress(), OpCode.HELLO_REQUEST, "~connect_to:tcp|127.0.0.1|7099\r\n"),
            (TCPClientAddress("::1", 80), OpCode.HELLO_REQUEST, "~connect_to:tcp|::1|80\r\n"),
            (TCPServerAddress("h", 0), OpCode.WELCOME_REQUEST, "~listen_on:tcp|h|0\r\n"),
            (UDSClientAddress("/a b"), OpCode.HELLO_REQUEST, "~connect_to:uds|/a b\r\n"),
            (UDSServerAddress("/a:b"), OpCode.WELCOME_REQUEST, "~listen_on:uds|/a:b\r\n"),
            (UDSServerAddress(""), OpCode.WELCOME_REQUEST, "~listen_on:uds|\r\n"),
            (MemoryClientAddress("a b"), OpCode.HELLO_REQUEST, "~connect_to:mem|a b\r\n"),
            (MemoryServerAddress("é:1"), OpCode.WELCOME_REQUEST, "~listen_on:mem|é:1\r\n"),
        ],
    )
    def test_sets_the_opcode_and_appends_the_header(
        self, address: Address, opcode: OpCode, header: str
    ) -> None:
        message = with_headers("before:1\r\n")
        message.message_id = 7
        assert formatted(address, message) == "before:1\r\n" + header
        assert message.opcode is opcode
        assert message.message_id == 7

    @pytest.mark.parametrize(
        "host",
        [
            *("", "  ", "a b", "a\tb", "a\r\nx:1", "a/b", "a|b", "a@b", "a%b", "\0", "\ud800"),
            *("h:80", "[::1]", "::1%", "1::2::3", "\ufffd", "h" * 254),
        ],
    )
    def test_what_is_no_host(self, host: str) -> None:
        for address, opcode in (
            (TCPClientAddress(host, 80), OpCode.HELLO_REQUEST),
            (TCPServerAddress(host, 80), OpCode.WELCOME_REQUEST),
        ):
            message = with_headers("before:1\r\n")
            with pytest.raises(WrongAddressException, match="not a host"):
                address.format(message)
            assert message.opcode is opcode
            assert message.text_headers.to_bytes() == b"before:1\r\n"

    @pytest.mark.parametrize("port", [-1, 65536, 10**30])
    def test_what_is_no_port(self, port: int) -> None:
        for address in (TCPClientAddress("h", port), TCPServerAddress("h", port)):
            with pytest.raises(WrongAddressException, match=f"not a port: {port}"):
                address.format(Message())

    @pytest.mark.parametrize("path", ["/a|b", "/a\nx:1", "/a\r", "/a\0", "/a ", "/a\t", "/\udcff"])
    def test_what_a_header_cannot_carry(self, path: str) -> None:
        for address, opcode in (
            (UDSClientAddress(path), OpCode.HELLO_REQUEST),
            (UDSServerAddress(path), OpCode.WELCOME_REQUEST),
        ):
            message = Message()
            with pytest.raises(WrongAddressException, match="cannot carry"):
                address.format(message)
            assert message.opcode is opcode
            assert len(message.text_headers) == 0

    @pytest.mark.parametrize("name", NO_NAMES)
    def test_what_is_no_name(self, name: str) -> None:
        for address, opcode in (
            (MemoryClientAddress(name), OpCode.HELLO_REQUEST),
            (MemoryServerAddress(name), OpCode.WELCOME_REQUEST),
        ):
            message = Message()
            with pytest.raises(WrongAddressException, match="not a name"):
                address.format(message)
            assert message.opcode is opcode
            assert len(message.text_headers) == 0

    def test_a_wrong_address_leaves_the_message_alone(self) -> None:
        message = with_headers("before:1\r\n")
        with pytest.raises(WrongAddressException, match="WRONG_ADDRESS: because"):
            WrongAddress("because").format(message)
        assert message.opcode is OpCode.REQUEST
        assert message.text_headers.to_bytes() == b"before:1\r\n"

    def test_without_a_message(self) -> None:
        with pytest.raises(NullMessageException):
            TCPClientAddress().format(None)

    def test_with_a_released_message(self) -> None:
        with pytest.raises(MessageReleasedError):
            TCPClientAddress().format(Message().release())


class TestParse:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ("~connect_to:tcp|127.0.0.1|7099\r\n", TCPClientAddress("127.0.0.1", 7099)),
            ("~connect_to:tcp||7099\r\n", TCPClientAddress("", 7099)),
            ("~connect_to:tcp|fe80::1%eth0|80\r\n", TCPClientAddress("fe80::1%eth0", 80)),
            ("~connect_to: tcp|h|080 \r\n", TCPClientAddress("h", 80)),
            ("~connect_to:uds|/a b:c\r\n", UDSClientAddress("/a b:c")),
            ("~listen_on:tcp||0\r\n", TCPServerAddress("", 0)),
            ("~listen_on:tcp| h |80\r\n", TCPServerAddress(" h ", 80)),
            ("~listen_on:uds|\r\n", UDSServerAddress("")),
            ("x:1\r\n~listen_on:uds|/a\r\n~connect_to:bad\r\n", UDSServerAddress("/a")),
            ("~connect_to:mem|a b", MemoryClientAddress("a b")),
            ("~listen_on: mem|" + "n" * 107 + " ", MemoryServerAddress("n" * 107)),
            ("~connect_to:tcp|a|1\r\n~listen_on:tcp|b|2\r\n", TCPClientAddress("a", 1)),
            ("~connect_to:tcp|bücher.example|1", TCPClientAddress("bücher.example", 1)),
        ],
    )
    def test_right(self, headers: str, expected: Address) -> None:
        assert parse_address(with_headers(headers)) == expected

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ("", "neither"),
            ("other:tcp|h|80\r\n", "neither"),
            ("~CONNECT_TO:tcp|h|80\r\n", "neither"),
            (":x\r\n~connect_to:tcp|h|80\r\n", "neither"),
            ("~connect_to:bad\r\n~listen_on:tcp|b|2\r\n", "'bad'"),
            ("~connect_to:\r\n", "''"),
            ("~connect_to:tcp|h\r\n", "tcp|h"),
            ("~connect_to:tcp|h|80|x\r\n", "tcp|h|80|x"),
            ("~connect_to:uds|/a|5\r\n", "uds|/a|5"),
            ("~connect_to:TCP|h|80\r\n", "TCP"),
            ("~connect_to:tcp |h|80\r\n", "tcp "),
            ("~connect_to:foo|h|80\r\n", "foo"),
            ("~connect_to:tcp|h:1|80\r\n", "not a host: 'h:1'"),
            ("~connect_to:tcp|[::1]|80\r\n", "not a host: '[::1]'"),
            ("~connect_to:tcp|a b|80\r\n", "not a host"),
            ("~connect_to:tcp| |80\r\n", "not a host"),
            ("~listen_on:foo\r\n", "foo"),
            ("~connect_to:mem\r\n", "'mem'"),
            ("~connect_to:mem|\r\n", "not a name: ''"),
            ("~connect_to:mem| a\r\n", "not a name: ' a'"),
            ("~listen_on:mem|\ta\r\n", "not a name: '\\ta'"),
            ("~listen_on:mem|a\0b\r\n", "not a name: 'a\\x00b'"),
            ("~listen_on:mem|a\rb\r\n", "not a name: 'a\\rb'"),
            ("~listen_on:mem|" + "é" * 54, "not a name"),
            ("~listen_on:mem|a|b\r\n", "mem|a|b"),
            ("~listen_on:MEM|a\r\n", "MEM|a"),
        ],
    )
    def test_wrong(self, headers: str, reason: str) -> None:
        address = parse_address(with_headers(headers))
        assert isinstance(address, WrongAddress)
        assert reason in address.reason

    @pytest.mark.parametrize(
        "port", ["", "65536", "99999", "+80", "-0", "8_0", " 80", "0x50", "٣", "²", "9" * 5000]
    )
    def test_wrong_ports(self, port: str) -> None:
        for name in ("~connect_to", "~listen_on"):
            address = parse_address(with_headers(f"{name}:tcp|h|{port}\r\n"))
            assert isinstance(address, WrongAddress)
            assert address.reason.startswith("not a port")

    @pytest.mark.parametrize("port", ["65535", "065535", "0" * 5000 + "65535"])
    def test_leading_zeros(self, port: str) -> None:
        address = parse_address(with_headers(f"~connect_to:tcp|h|{port}\r\n"))
        assert address == TCPClientAddress("h", 65535)

    def test_path_has_to_fit_the_platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytofu.values.address._UDS_PATH_SIZE", 108)
        fits, too_long = "/" + "p" * 106, "/" + "é" * 54
        assert parse_address(with_headers(f"~listen_on:uds|{fits}")) == UDSServerAddress(fits)
        wrong = parse_address(with_headers(f"~connect_to:uds|{too_long}"))
        assert isinstance(wrong, WrongAddress)
        assert wrong.reason.startswith("path longer than 107 bytes")

    def test_bytes_that_are_no_text(self) -> None:
        message = Message(text_headers=b"~connect_to:tcp|\xff|80\r\n")
        assert parse_address(message) == WrongAddress()

    def test_a_released_message(self) -> None:
        with pytest.raises(MessageReleasedError):
            parse_address(Message().release())


hosts = st.one_of(
    st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}(\.[a-z0-9]{1,20}){0,3}", fullmatch=True),
    st.ip_addresses().map(str),
    st.text(min_size=1, max_size=20),
)
ports = st.integers(0, 65535)
paths = st.text(max_size=40)
addresses = st.one_of(
    st.builds(TCPClientAddress, hosts, ports),
    st.builds(TCPServerAddress, hosts, ports),
    st.builds(UDSClientAddress, paths),
    st.builds(UDSServerAddress, paths),
    st.builds(MemoryClientAddress, paths),
    st.builds(MemoryServerAddress, paths),
)


@given(addresses)
@example(UDSClientAddress(" /leading blank"))
@example(TCPServerAddress(" h ", 1))
def test_what_can_be_formatted_reads_back_the_same(address: Address) -> None:
    message = Message()
    try:
        address.format(message)
    except WrongAddressException:
        assert len(message.text_headers) == 0
        return
    assert [header.name for header in message.text_headers] == [
        "~connect_to" if message.opcode is OpCode.HELLO_REQUEST else "~listen_on"
    ]
    read = parse_address(message)
    if isinstance(read, WrongAddress):
        assert read.reason.startswith("path longer")  # 40 characters may be 160 bytes
    else:
        assert read == address


@given(st.one_of(st.binary(max_size=60), st.from_regex(rb"~(connect_to|listen_on):\w*\|?.*")))
def test_any_bytes_at_all_are_some_address(raw: bytes) -> None:
    address = parse_address(Message(text_headers=raw))
    assert isinstance(address, Address.__value__)


# ---------------------------------------------------------------------- what is written elsewhere


FORMS: Final = "neither tcp|HOST|PORT nor uds|PATH nor tls|HOST|PORT nor mem|NAME: "


@pytest.mark.parametrize("header", ["~connect_to", "~listen_on"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("tcp|h|+80", "not a port: '+80', which is digits for 0 to 65535"),
        ("TCP|h|80", f"{FORMS}'TCP|h|80'; the scheme is written tcp"),
        ("Tls|h|80", f"{FORMS}'Tls|h|80'; the scheme is written tls"),
        ("ftp|h|80", f"{FORMS}'ftp|h|80'"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(header: str, value: str, reason: str) -> None:
    message = Message()
    message.text_headers.append(header, value)
    address = parse_address(message)
    assert isinstance(address, WrongAddress)
    assert address.reason == reason


class TestTLS:
    @pytest.mark.parametrize(
        "address",
        [
            TLSClientAddress("example.org", 5),
            TLSClientAddress("127.0.0.1", 5, "example.org"),
            TLSServerAddress("::1", 0),
        ],
    )
    def test_what_is_written_is_read(self, address: TLSClientAddress | TLSServerAddress) -> None:
        message = Message()
        address.format(message)
        assert parse_address(message) == address

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("~connect_to", "tls|h|1|"),
            ("~connect_to", "tls|h|1|a b"),
            ("~connect_to", "tls|h|99999"),
            ("~connect_to", "tls|h|1|n|n"),
            ("~connect_to", "tcp|h|1|n"),
            ("~listen_on", "tls|h|1|n"),
        ],
    )
    def test_what_is_wrong(self, name: str, value: str) -> None:
        message = Message()
        message.text_headers.append(name, value)
        assert isinstance(parse_address(message), WrongAddress)

    @pytest.mark.parametrize(
        "address",
        [TLSClientAddress("", 5), TLSClientAddress("h", 5, "a b"), TLSServerAddress("h", 70000)],
    )
    def test_what_cannot_be_written(self, address: TLSClientAddress | TLSServerAddress) -> None:
        with pytest.raises(WrongAddressException):
            address.format(Message())
