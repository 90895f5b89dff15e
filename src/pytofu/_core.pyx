# cython: language_level=3, binding=True, auto_pickle=False
"""The compiled core: twins of the classes that are hot, equal in everything but speed.

Each twin takes the place of its class at the end of the pure module that documents it (`twin` in
pytofu/_choice.py, which gives it that one's names, docstrings and signatures as well; a property's
docstring is repeated here). So this file runs while the first of these modules is being imported:
at its top it imports what lies below them all, or stands in that first one; the rest is imported
where it is needed.
"""

import struct
from os import strerror

cimport cython

from pytofu.patterns.arguments import as_bytes, whole_number
from pytofu.patterns.result import OK, Err
from pytofu.values.allocation import AllocationStrategy
from pytofu.values import header as _header
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError, AmpeStatus


cdef object _pack = _header.HEADER_STRUCT.pack
cdef object _unpack_from = _header.HEADER_STRUCT.unpack_from
cdef tuple _NAMES = _header._FIELDS
cdef object _SUCCESS = AmpeStatus.SUCCESS
# Until the end of that module its own class is there.
cdef object _repr = _header.BinaryHeader.__repr__


@cython.freelist(64)
cdef class BinaryHeader:
    cdef public object body_len
    cdef public object channel_number
    cdef public object message_id
    cdef public object proto_byte
    cdef public object status
    cdef public object text_headers_len

    def __init__(
        self,
        channel_number=0,
        proto=0,
        status=AmpeStatus.SUCCESS,
        message_id=0,
        text_headers_len=0,
        body_len=0,
    ):
        self.channel_number = channel_number
        self.proto_byte = proto if isinstance(proto, int) else _header.byte_of(proto)
        self.status = status
        self.message_id = message_id
        self.text_headers_len = text_headers_len
        self.body_len = body_len

    @property
    def proto(self):
        """The proto byte as fields.

        Reading an opcode of 10-15 raises `AmpeException` (INVALID_OP_CODE); `from_bytes` never
        makes such a header.
        """
        result = _header.ProtoFields.from_byte(self.proto_byte)
        if isinstance(result, Err):
            raise AmpeException.from_error(result.error)
        return result.value

    @proto.setter
    def proto(self, fields):
        self.proto_byte = _header.byte_of(fields)

    def _fields(self):
        return (
            self.channel_number,
            self.proto_byte,
            self.status,
            self.message_id,
            self.text_headers_len,
            self.body_len,
        )

    def to_bytes(self):
        try:
            return _pack(*self._fields())
        except struct.error:
            self.check_numbers()
            raise _header.out_of_range(self._fields()) from None

    def check_numbers(self):
        for name, value in zip(_NAMES, self._fields(), strict=True):
            if type(value) is not int:
                whole_number(f"BinaryHeader.{name}", value)

    @classmethod
    def from_bytes(cls, data):
        data = as_bytes("BinaryHeader.from_bytes", data)
        if len(data) < _header.HEADER_LEN:
            raise AmpeException.from_error(
                AmpeError.INVALID_MESSAGE,
                f"a header has {_header.HEADER_LEN} bytes, here are {len(data)}",
            )
        header = cls(*_unpack_from(data))
        _ = header.proto  # raises
        return header

    def copy(self):
        return type(self)(*self._fields())

    def __reduce__(self):
        return type(self), self._fields()

    __copy__ = copy

    def __eq__(self, other):
        if not isinstance(other, BinaryHeader):
            return NotImplemented
        return self._fields() == other._fields()

    def __repr__(self):
        return _repr(self)


cdef BinaryHeader new_header():
    cdef BinaryHeader header = BinaryHeader.__new__(BinaryHeader)
    header.channel_number = header.proto_byte = header.message_id = 0
    header.text_headers_len = header.body_len = 0
    header.status = _SUCCESS
    return header


cdef BinaryHeader header_of(
    channel_number,
    int proto,
    unsigned long long message_id,
    unsigned int text_headers_len,
    unsigned int body_len,
):
    cdef BinaryHeader header = BinaryHeader.__new__(BinaryHeader)
    header.channel_number = channel_number
    header.proto_byte = proto
    header.status = 0
    header.message_id = message_id
    header.text_headers_len = text_headers_len
    header.body_len = body_len
    return header


include "_core_slots.pxi"
include "_core_accounts.pxi"
include "_core_text_headers.pxi"
include "_core_message.pxi"
include "_core_framing.pxi"
include "_core_mailbox.pxi"
include "_core_posting.pxi"
include "_core_links.pxi"
include "_core_channel.pxi"
include "_core_reactor.pxi"
include "_core_public.pxi"
include "_core_peers.pxi"
