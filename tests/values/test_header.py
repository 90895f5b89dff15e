import copy

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytofu.patterns.result import Err, Ok
from pytofu.values.errors import AmpeException, InvalidMessageException, InvalidOpCodeException
from pytofu.values.header import (
    HEADER_LEN,
    BinaryHeader,
    MessageRole,
    MessageType,
    MoreMessagesFlag,
    OpCode,
    OriginFlag,
    ProtoFields,
)
from pytofu.values.status import AmpeError, AmpeStatus

properties = settings(deadline=None)

uint16 = st.integers(0, 0xFFFF)
uint64 = st.integers(0, 2**64 - 1)
proto_fields = st.builds(
    ProtoFields,
    st.sampled_from(OpCode),
    st.sampled_from(OriginFlag),
    st.sampled_from(MoreMessagesFlag),
    st.booleans(),
    st.booleans(),
)
headers = st.builds(BinaryHeader, uint16, proto_fields, st.integers(0, 255), uint64, uint16, uint16)


def test_types_and_roles_are_all_different() -> None:
    assert [member.name for member in MessageType] == ["REGULAR", "WELCOME", "HELLO", "BYE"]
    assert [member.name for member in MessageRole] == ["REQUEST", "RESPONSE", "SIGNAL"]


class TestOpCode:
    def test_numbers_are_those_of_the_wire(self) -> None:
        assert [opcode.value for opcode in OpCode] == list(range(10))

    @pytest.mark.parametrize("opcode", OpCode)
    def test_types_and_roles_follow_the_names(self, opcode: OpCode) -> None:
        prefix, _, suffix = opcode.name.rpartition("_")
        assert opcode.type is (MessageType[prefix] if prefix else MessageType.REGULAR)
        assert opcode.role is MessageRole[suffix]

    @pytest.mark.parametrize("opcode", OpCode)
    def test_echo(self, opcode: OpCode) -> None:
        match opcode:
            case OpCode.SIGNAL:
                assert opcode.echo() == Ok(OpCode.SIGNAL)
            case _ if opcode.name.endswith("REQUEST"):
                answer = OpCode[opcode.name.replace("REQUEST", "RESPONSE")]
                assert opcode.echo() == Ok(answer)
            case _:
                assert opcode.echo() == Err(AmpeError.INVALID_OP_CODE)


class TestProtoFields:
    def test_all_256_bytes(self) -> None:
        for byte in range(256):
            match ProtoFields.from_byte(byte):
                case Ok(fields):
                    assert byte & 15 <= 9
                    assert fields.to_byte() == byte
                    assert fields == ProtoFields(
                        OpCode(byte & 15),
                        OriginFlag(byte >> 4 & 1),
                        MoreMessagesFlag(byte >> 5 & 1),
                        bool(byte & 64),
                        bool(byte & 128),
                    )
                    assert type(fields.internal_a) is type(fields.internal_b) is bool
                case Err(error):
                    assert byte & 15 >= 10
                    assert error is AmpeError.INVALID_OP_CODE

    @given(proto_fields)
    @properties
    def test_round_trip(self, fields: ProtoFields) -> None:
        assert ProtoFields.from_byte(fields.to_byte()) == Ok(fields)

    def test_each_field_has_its_bits(self) -> None:
        assert ProtoFields(OpCode.WELCOME_RESPONSE).to_byte() == 0b0000_1001
        assert ProtoFields(OpCode.REQUEST, origin=OriginFlag.ENGINE).to_byte() == 0b0001_0000
        assert ProtoFields(OpCode.REQUEST, more=MoreMessagesFlag.MORE).to_byte() == 0b0010_0000
        assert ProtoFields(OpCode.REQUEST, internal_a=True).to_byte() == 0b0100_0000
        assert ProtoFields(OpCode.REQUEST, internal_b=True).to_byte() == 0b1000_0000

    @pytest.mark.parametrize("opcode", OpCode)
    def test_default(self, opcode: OpCode) -> None:
        fields = ProtoFields.default(opcode)
        assert fields == ProtoFields(opcode, internal_a=opcode is OpCode.BYE_SIGNAL)

    def test_is_a_value(self) -> None:
        fields = ProtoFields(OpCode.SIGNAL)
        assert hash(fields) == hash(ProtoFields(OpCode.SIGNAL))
        changed = attrs.evolve(fields, more=MoreMessagesFlag.MORE)
        assert changed.more is MoreMessagesFlag.MORE
        assert fields.more is MoreMessagesFlag.LAST
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            fields.opcode = OpCode.REQUEST  # type: ignore[misc]

    @pytest.mark.parametrize("opcode", [-1, 10, 15, 16])
    def test_no_opcode(self, opcode: int) -> None:
        with pytest.raises(ValueError, match="is not a valid OpCode"):
            ProtoFields(opcode)


class TestBinaryHeader:
    @given(headers)
    @properties
    def test_round_trip(self, header: BinaryHeader) -> None:
        data = header.to_bytes()
        assert len(data) == HEADER_LEN
        assert BinaryHeader.from_bytes(data) == header
        assert BinaryHeader.from_bytes(memoryview(bytearray(data) + b"behind it")) == header

    @given(uint16, proto_fields, st.integers(0, 255), uint64, uint16, uint16)
    @properties
    def test_layout(
        self,
        channel_number: int,
        proto: ProtoFields,
        status: int,
        message_id: int,
        text_headers_len: int,
        body_len: int,
    ) -> None:
        header = BinaryHeader(channel_number, proto, status, message_id, text_headers_len, body_len)
        data = header.to_bytes()
        assert int.from_bytes(data[0:2]) == channel_number
        assert data[2] == proto.to_byte()
        assert data[3] == status
        assert int.from_bytes(data[4:12]) == message_id
        assert int.from_bytes(data[12:14]) == text_headers_len
        assert int.from_bytes(data[14:16]) == body_len
        read = BinaryHeader.from_bytes(data)
        assert (
            read.channel_number,
            read.proto,
            read.status,
            read.message_id,
            read.text_headers_len,
            read.body_len,
        ) == (channel_number, proto, status, message_id, text_headers_len, body_len)

    @given(st.binary(max_size=40))
    @properties
    def test_any_bytes_are_a_header_or_a_named_error(self, data: bytes) -> None:
        if len(data) < HEADER_LEN:
            error = AmpeError.INVALID_MESSAGE
        elif data[2] & 15 >= 10:
            error = AmpeError.INVALID_OP_CODE
        else:
            assert BinaryHeader.from_bytes(data).to_bytes() == data[:16]
            return
        with pytest.raises(InvalidMessageException) as caught:
            BinaryHeader.from_bytes(data)
        assert caught.value.error_code is error

    def test_defaults(self) -> None:
        assert BinaryHeader().to_bytes() == bytes(16)
        assert BinaryHeader().proto == ProtoFields(OpCode.REQUEST)

    def test_too_few_bytes(self) -> None:
        with pytest.raises(InvalidMessageException, match="16 bytes, here are 15"):
            BinaryHeader.from_bytes(bytes(15))

    @pytest.mark.parametrize("opcode", range(10, 16))
    def test_invalid_opcodes(self, opcode: int) -> None:
        data = bytes([0, 0, opcode, *bytes(13)])
        with pytest.raises(InvalidOpCodeException):
            BinaryHeader.from_bytes(data)
        with pytest.raises(AmpeException) as caught:
            _ = BinaryHeader(proto=opcode).proto
        assert caught.value.error_code is AmpeError.INVALID_OP_CODE

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("channel_number", 65536),
            ("channel_number", -1),
            ("proto_byte", 256),
            ("status", 256),
            ("message_id", 2**64),
            ("message_id", -1),
            ("text_headers_len", 65536),
            ("body_len", 65536),
        ],
    )
    def test_out_of_range(self, field: str, value: int) -> None:
        header = BinaryHeader()
        setattr(header, field, value)
        with pytest.raises(ValueError, match=rf"^BinaryHeader\.{field} is 0 to \d+, not int, "):
            header.to_bytes()
        # It has no bytes, but one can ask what it is, and whether it is another.
        assert header != BinaryHeader()
        assert repr(header)

    def test_proto_can_be_written(self) -> None:
        header = BinaryHeader()
        header.proto = ProtoFields(OpCode.BYE_SIGNAL, internal_a=True)
        assert header.proto_byte == 0x47
        assert header.proto.opcode is OpCode.BYE_SIGNAL

    def test_proto_may_be_given_as_a_byte(self) -> None:
        assert BinaryHeader(proto=0x47) == BinaryHeader(
            proto=ProtoFields.default(OpCode.BYE_SIGNAL)
        )

    @given(headers)
    @properties
    def test_copies_are_independent(self, header: BinaryHeader) -> None:
        for duplicate in (header.copy(), copy.copy(header), copy.deepcopy(header)):
            assert duplicate == header
            duplicate.message_id ^= 1
            assert duplicate != header

    @pytest.mark.parametrize(
        "field",
        ["channel_number", "proto_byte", "status", "message_id", "text_headers_len", "body_len"],
    )
    def test_equality_compares_every_field(self, field: str) -> None:
        header = BinaryHeader()
        setattr(header, field, 1)
        assert header != BinaryHeader()
        setattr(header, field, 0)
        assert header == BinaryHeader()

    def test_equals_nothing_else(self) -> None:
        assert BinaryHeader() != bytes(16)
        assert BinaryHeader() != None  # noqa: E711

    def test_has_no_hash(self) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(BinaryHeader())

    def test_has_no_other_attributes(self) -> None:
        with pytest.raises(AttributeError):
            BinaryHeader().chanel_number = 1  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("header", "text"),
        [
            (
                BinaryHeader(),
                "<BinaryHeader REQUEST channel=0 id=0 application success headers=0B body=0B>",
            ),
            (
                BinaryHeader(7, 0b0011_0001, AmpeStatus.POOL_EMPTY, 9, 1, 2),
                "<BinaryHeader RESPONSE channel=7 id=9 engine pool_empty, more headers=1B body=2B>",
            ),
            (
                BinaryHeader(proto=12, status=200),
                "<BinaryHeader opcode 12 channel=0 id=0 application unknown_error"
                " headers=0B body=0B>",
            ),
        ],
    )
    def test_repr(self, header: BinaryHeader, text: str) -> None:
        assert repr(header) == text
