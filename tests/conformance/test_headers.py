"""binary_header, binary_header_decode, opcodes and statuses: the first 16 bytes of a frame."""

from typing import Any

import pytest

from pytofu.patterns.result import Err, Ok
from pytofu.values.header import (
    BinaryHeader,
    MessageRole,
    MessageType,
    MoreMessagesFlag,
    OpCode,
    OriginFlag,
    ProtoFields,
)
from pytofu.values.status import AmpeError, AmpeStatus
from tests.conformance.loading import error_named, load, opcode_named, rows, status_named


class TestBinaryHeader:
    COLUMNS = (
        *("opcode", "origin", "more", "internalA", "internalB", "channel_number"),
        *("status", "message_id", "text_headers_len", "body_len", "hex"),
    )

    def test_columns(self) -> None:
        assert tuple(load("binary_header")["columns"]) == self.COLUMNS
        assert len(rows("binary_header")) == 4020

    def test_encode_and_decode(self) -> None:
        for row in rows("binary_header"):
            opcode, origin, more, internal_a, internal_b, *fields, text = row
            channel_number, status, message_id, text_headers_len, body_len = fields
            proto = ProtoFields(opcode, origin, more, internal_a, internal_b)
            header = BinaryHeader(
                channel_number, proto, status, int(message_id), text_headers_len, body_len
            )
            data = bytes.fromhex(text)
            assert header.to_bytes() == data, row
            read = BinaryHeader.from_bytes(data)
            assert read == header, row
            assert read.proto == proto, row
            assert AmpeStatus.from_wire(read.status) == min(status, AmpeStatus.UNKNOWN_ERROR), row


@pytest.mark.parametrize("row", rows("binary_header_decode"), ids=lambda row: row["hex"])
def test_binary_header_decode(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["hex"])
    header = BinaryHeader.from_bytes(data)
    assert header.proto == ProtoFields(
        opcode_named(row["opcode"]),
        OriginFlag[row["origin"].upper()],
        MoreMessagesFlag[row["more"].upper()],
        row["internalA"] == "on",
        row["internalB"] == "on",
    )
    assert header.channel_number == row["channel_number"]
    assert header.status == row["status"]
    assert AmpeStatus.from_wire(header.status) is status_named(row["status_name"])
    assert header.message_id == int(row["message_id"])
    assert header.text_headers_len == row["text_headers_len"]
    assert header.body_len == row["body_len"]
    assert header.to_bytes() == data


class TestOpcodes:
    def test_there_are_no_others(self) -> None:
        assert [opcode_named(row["name"]) for row in rows("opcodes")] == list(OpCode)

    @pytest.mark.parametrize("row", rows("opcodes"), ids=lambda row: row["name"])
    def test_row(self, row: dict[str, Any]) -> None:
        opcode = opcode_named(row["name"])
        assert opcode == row["value"]
        assert opcode.type is MessageType[row["type"].upper()]
        assert opcode.role is MessageRole[row["role"].upper()]
        assert (opcode.role is MessageRole.REQUEST) is row["isRequest"]
        assert (opcode.role is MessageRole.RESPONSE) is row["isResponse"]
        assert (opcode.role is MessageRole.SIGNAL) is row["isSignal"]
        echo = row["echo"]
        if isinstance(echo, str):
            assert opcode.echo() == Ok(opcode_named(echo))
        else:
            assert opcode.echo() == Err(error_named(echo["error"]))
        fields = ProtoFields.default(opcode)
        assert fields.to_byte() == row["default_proto_byte"]
        assert ProtoFields.from_byte(row["default_proto_byte"]) == Ok(fields)
        header = BinaryHeader(proto=fields)
        assert header.to_bytes().hex() == row["init_hex"]
        assert BinaryHeader.from_bytes(bytes.fromhex(row["init_hex"])) == header


class TestStatuses:
    def test_numbers(self) -> None:
        numbers: dict[str, int] = load("statuses")["status"]
        assert len(numbers) == len(AmpeStatus)
        for name, byte in numbers.items():
            status = status_named(name)
            assert status == byte
            assert AmpeStatus.from_wire(byte) is status
        for byte in range(max(numbers.values()) + 1, 256):
            assert AmpeStatus.from_wire(byte) is AmpeStatus.UNKNOWN_ERROR

    def test_errors(self) -> None:
        errors: dict[str, str | None] = load("statuses")["status_to_error"]
        assert len(errors) == len(AmpeStatus) == len(AmpeError) + 1
        for name, error_name in errors.items():
            status = status_named(name)
            if error_name is None:
                assert status.to_error() is None
            else:
                assert status.to_error() is error_named(error_name)
                assert error_named(error_name).to_status() is status
