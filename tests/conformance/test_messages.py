"""check_and_prepare and appendable."""

import re
from typing import Any, Final

import pytest

from pytofu.patterns.buffer import Appendable
from pytofu.patterns.result import OK, Err
from pytofu.protocol.framing import FrameReader, FrameWriter
from pytofu.values.header import BinaryHeader, MoreMessagesFlag, OriginFlag, ProtoFields
from pytofu.values.message import Message
from pytofu.values.status import AmpeStatus
from tests.conformance.loading import error_named, opcode_named, rows, status_named


def message_of(row: dict[str, Any]) -> Message:
    proto = ProtoFields(
        opcode_named(row["opcode"]),
        OriginFlag(row["origin"]),
        MoreMessagesFlag(row["more"]),
        bool(row["internalA"]),
    )
    header = BinaryHeader(row["channel_number"], proto, row["status"], int(row["message_id"]))
    return Message(header, b"h" * row["headers_len"], b"b" * row["body_len"])


def test_check_and_prepare() -> None:
    assert len(rows("check_and_prepare")) == 197
    for row in rows("check_and_prepare"):
        message = message_of(row)
        result = message.check_and_prepare()
        if row["result"] == "ok":
            assert result is OK, row
        else:
            assert result == Err(error_named(row["result"])), row

        after = row["after"]
        header = message.header
        assert header.proto == ProtoFields(
            opcode_named(after["opcode"]),
            OriginFlag(after["origin"]),
            MoreMessagesFlag(after["more"]),
            bool(after["internalA"]),
        ), row
        assert header.channel_number == after["channel_number"], row
        assert header.status == after["status"], row
        assert AmpeStatus.from_wire(header.status) is status_named(after["status_name"]), row
        assert header.text_headers_len == after["text_headers_len"], row
        assert header.body_len == after["body_len"], row
        if after["message_id"] == "assigned":
            assert header.message_id > 0, row
        else:
            assert header.message_id == int(after["message_id"]), row


def test_what_is_in_order_travels() -> None:
    for row in rows("check_and_prepare"):
        message = message_of(row)
        if message.check_and_prepare() is not OK:
            continue
        writer = FrameWriter()
        writer.push(message)
        data = bytes(writer.block())
        message.header.proto_byte &= 0b0011_1111  # the internal bits stay at home
        assert data == message.to_bytes(), row
        reader = FrameReader()
        reader.feed(data)
        (received,), _ = reader.read(message.channel_number, (None,) * 256, 9)
        assert received.to_bytes() == data, row


OPERATION: Final = re.compile(r"(\w+)\((\d*)\)")


def test_appendable() -> None:
    buffer = Appendable()
    for operation, result, capacity, length, has_body in rows("appendable"):
        found = OPERATION.fullmatch(operation)
        assert found is not None
        name, argument = found[1], int(found[2] or 0)
        error = ""
        match name:
            case "init":
                buffer = Appendable(capacity=argument)
            case "append":
                buffer.append(b"a" * argument)
            case "copy":
                buffer.copy(b"c" * argument)
            case "reset":
                buffer.reset()
            case "change" | "shrink":
                try:
                    getattr(buffer, name)(argument)
                except ValueError as raised:
                    error = type(raised).__name__
            case _:
                pytest.fail(f"no such operation: {operation}")
        assert (error or "ok") == result, operation
        assert (buffer.capacity, len(buffer), buffer.body is not None) == (
            capacity,
            length,
            has_body,
        ), operation
