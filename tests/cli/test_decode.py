"""`pytofu decode`."""

import re
import sys
from pathlib import Path

import click
import pytest

from pytofu import OpCode
from pytofu.cli.decode import decode, from_hex
from pytofu.cli.output import Output, harmless
from pytofu.cli.running import CommandError
from tests.cli.packets import ACK, CLIENT, SERVER, SYN, pcap, tcp
from tests.cli.peers import Printed
from tests.cli.terminal import Paper, Terminal
from tests.support import frame, hello

REQUEST = frame(OpCode.REQUEST, 7, text=b"a:\x1b[2J\r\n", body=bytes(range(65, 91)))


def shown(argument: str, *, whole: bool = False, body_bytes: int = 64) -> str:
    file = Paper()
    decode(argument, Output(file=file), port=None, whole=whole, body_bytes=body_bytes)
    return file.getvalue()


def test_a_tree() -> None:
    text = shown((hello() + REQUEST).hex(" ").upper(), body_bytes=16)
    assert text == (
        f"bytes: {len(hello() + REQUEST)} bytes from the side that connects\n"
        "├── HELLO_REQUEST at byte 0, 35 bytes\n"
        "│   ├── channel 1, id 1, from application, status 0\n"
        "│   └── text headers, 19 bytes at byte 16\n"
        "│       └── ~connect_to: uds|x\n"
        "└── REQUEST at byte 35, 50 bytes\n"
        "    ├── channel 1, id 7, from application, status 0\n"
        "    ├── text headers, 8 bytes at byte 51\n"
        "    │   └── a: \\x1b[2J\n"
        "    └── body, 26 bytes at byte 59\n"
        "        003b  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP\n"
        "        and 10 more\n"
    )


def test_a_narrow_terminal_gets_everything_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = shown(
        frame(OpCode.REQUEST, 7, text=b"a:" + b"word " * 20, body=bytes(16)).hex()
    ).splitlines()
    assert all(len(line) <= 50 for line in lines)
    assert sum(line.count("word") for line in lines) == 20
    assert sum(len(re.findall(r"\b00\b", line)) for line in lines) == 16


def test_machines_get_everything() -> None:
    printed = Printed()
    decode(REQUEST.hex(), printed.output, port=None, whole=False, body_bytes=0)
    (record,) = printed.records
    assert (record["offset"], record["length"], record["opcode"]) == (0, 50, "REQUEST")
    assert record["headers"] == [["a", "\x1b[2J"]]


def test_where_and_why_bytes_break_the_protocol() -> None:
    data = (hello() + frame(12)).hex()
    with pytest.raises(CommandError, match="bytes: byte 37: the proto byte is 0x0c, opcode 12"):
        shown(data)
    printed = Printed()
    with pytest.raises(CommandError):
        decode(data, printed.output, port=None, whole=False, body_bytes=0)
    broken = printed.records[1]
    assert (broken["broken_at"], broken["frame_at"]) == (37, 35)
    assert broken["error"] == "invalid_op_code"


def test_the_wrong_byte_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = Terminal()
    with pytest.raises(CommandError):
        decode(frame(12).hex(), Output(file=file), port=None, whole=False, body_bytes=0)
    assert "0000  00 01 \x1b[1;31m0c\x1b[0m 00" in file.getvalue()
    assert "breaks the protocol: INVALID_OP_CODE, at byte 2" in file.getvalue()


def test_bytes_that_end_too_early() -> None:
    file = Paper()
    with pytest.raises(CommandError, match="byte 5: the header has 16 bytes, and only 5 are here"):
        decode("0001000000", Output(file=file), port=None, whole=False, body_bytes=0)
    assert "ends too early, at byte 5" in file.getvalue()


def test_the_whole_channel_begins_with_a_hello() -> None:
    assert "in the middle of a channel" in shown(REQUEST.hex())
    with pytest.raises(CommandError, match=r"byte 2: .* has to be a HELLO_REQUEST"):
        shown(REQUEST.hex(), whole=True)
    assert "accepts" in shown(frame(OpCode.HELLO_RESPONSE).hex(), whole=True)


def test_a_capture(tmp_path: Path) -> None:
    packets = [
        tcp(b"", 0, SYN),
        tcp(b"", 0, SYN | ACK, source=SERVER, target=CLIENT),
        tcp(hello(), 1),
        tcp(frame(OpCode.REQUEST), 1, source=SERVER, target=CLIENT),
        tcp(b"lost", 1 + len(hello()) + 9),
        tcp(frame(OpCode.REQUEST), 1, target=("10.0.0.2", 80)),
    ]
    path = tmp_path / "capture"
    path.write_bytes(pcap(packets))
    file = Paper()
    with pytest.raises(CommandError, match=r"byte 2 \(packet 4\): .* answer the HELLO_REQUEST"):
        decode(str(path), Output(file=file), port=7099, whole=False, body_bytes=0)
    text = file.getvalue()
    assert "10.0.0.1:40000 to 10.0.0.2:7099: 35 bytes from the side that connects" in text
    assert "10.0.0.2:7099 to 10.0.0.1:40000: 16 bytes from the side that accepts" in text
    assert "9 bytes are missing here in the capture" in text
    assert ":80:" not in text
    path.write_bytes(pcap(packets[5:]))
    assert "one side, in the middle of a channel" in shown(str(path))


def test_a_broken_capture_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pcap([tcp(REQUEST)]) + b"!")
    file = Paper()
    with pytest.raises(CommandError, match=f"{path}: the pcap file ends at byte"):
        decode(str(path), Output(file=file), port=None, whole=False, body_bytes=0)
    assert "REQUEST at byte 0 (packet 1), 50 bytes" in file.getvalue()


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file(tmp_path: Path, as_text: bool) -> None:
    path = tmp_path / "raw"
    path.write_bytes(REQUEST.hex("\n").encode() if as_text else REQUEST)
    assert "REQUEST at byte 0, 50 bytes" in shown(str(path))


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raw").write_bytes(REQUEST)
    with (tmp_path / "raw").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert "standard input: 50 bytes" in shown("-")
    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(click.UsageError, match="pipe something in"):
        shown("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CommandError, match="standard input is closed"):
        shown("-")


@pytest.mark.parametrize("name", ["-x", "a\nb", "\udcff", " blank ", "x" * 100])
def test_a_file_with_an_odd_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(REQUEST[:20])
    monkeypatch.chdir(tmp_path)
    file = Paper()
    with pytest.raises(CommandError) as caught:
        decode(name, Output(file=file), port=None, whole=False, body_bytes=0)
    assert str(caught.value).startswith(f"{harmless(name)}: byte 20: the text headers should")
    assert file.getvalue().startswith(harmless(name))


@pytest.mark.parametrize("argument", ["no such file", "abc", "0x0"])
def test_neither_a_file_nor_bytes(argument: str) -> None:
    with pytest.raises(CommandError, match="neither a file nor bytes in hexadecimal"):
        shown(argument)


def test_nothing_to_decode(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pcap([]))
    for argument in ("", str(path)):
        with pytest.raises(CommandError, match="nothing to decode"):
            shown(argument)


def test_hexadecimal() -> None:
    assert from_hex(b"0x00:ff\n0a 0B") == b"\x00\xff\x0a\x0b"
    assert from_hex(b"0") is None
    assert from_hex(b"xy") is None
