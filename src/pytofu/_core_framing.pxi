# Framing: each frame of a read becomes a message, and each ordinary message a frame, in C.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

cdef enum:
    _BURST = 32
    _LONG_BURST = 128
    _BLOCK_LEN = 64 * 1024
    _HEADER_LEN = 16
    _LARGE = 32 * 1024
    _RECEIVE_LEN = 16 + 65535
    _SENT_BITS = 0b0010_1111
    _ENGINE_BIT = 0b0001_0000
    _RESPONSE = 1
    _SIGNAL = 2
    _LONGEST_PART = 65535
    _COPIED = 1024  # bytes of a body up to which a copy costs less than another object in a list


cdef unsigned int two_bytes(const unsigned char* at) noexcept:
    return at[0] << 8 | at[1]


cdef unsigned long long eight_bytes(const unsigned char* at) noexcept:
    cdef unsigned long long number = 0
    cdef int i
    for i in range(8):
        number = number << 8 | at[i]
    return number


cdef class FrameReader:
    cdef public object _account
    cdef public list _chunks
    cdef public bytes _data
    cdef public Py_ssize_t _needed
    cdef public Py_ssize_t _pos
    cdef public Py_ssize_t kept
    cdef public Py_ssize_t longest
    cdef public bint oversized
    cdef public long long read_len
    cdef public object refused
    cdef public object violation

    def __init__(self, account=None):
        self._account = account
        self._chunks = []
        self._data = self.refused = b""
        self._needed = _HEADER_LEN
        self.longest = _HEADER_LEN + 2 * _LONGEST_PART

    @property
    def unread(self):
        """Bytes that were fed and that `read` has not looked at yet, stopped by its limit."""
        return len(self._data) - self._pos

    @property
    def busy(self):
        """Whether there is more than what was read: unread bytes, or a part of a frame."""
        return self.kept > 0 or self._pos < len(self._data)

    @property
    def wanted(self):
        """How many bytes to ask for.

        That is the rest of a large frame, so that the next call begins with a frame, or else as
        much as makes sense.
        """
        return self.how_many()

    cdef Py_ssize_t how_many(self):
        if self._needed < _LARGE or not self.kept:
            return min(self.longest, _RECEIVE_LEN)
        return self._needed - self.kept

    def feed(self, data):
        self.take(data)

    cdef int take(self, data) except -1:
        if self.kept or self.oversized or self.violation is not None or type(data) is not bytes:
            FrameReader._pure.feed(self, data)
        else:
            self._data = data
            self._pos = 0
        return 0

    def read(self, channel_number, rules, Py_ssize_t limit):
        return self.messages(channel_number, rules, limit)

    cdef tuple messages(self, channel_number, rules, Py_ssize_t limit):
        cdef list messages = []
        cdef bytes data = self._data
        cdef Py_ssize_t pos = self._pos, end = len(data), text_at, body_at, stop
        cdef const unsigned char* start = <const unsigned char*>PyBytes_AS_STRING(data)
        cdef unsigned int text_len, body_len
        cdef int proto
        cdef Message message
        cdef tuple table = rules if type(rules) is tuple else tuple(rules)
        if not end:
            return messages, None
        while end - pos >= _HEADER_LEN:
            proto = start[pos + 2]
            rule = table[proto]
            if rule is not None and isinstance(rule, AmpeError):
                self.violation = rule
                self.refused = data[pos : pos + _HEADER_LEN]
                self.stop_at(pos)
                return messages, None
            text_len = two_bytes(start + pos + 12)
            body_len = two_bytes(start + pos + 14)
            text_at = pos + _HEADER_LEN
            body_at = text_at + text_len
            stop = body_at + body_len
            if stop - pos > self.longest:
                self.oversized = True
                self.stop_at(pos)
                return messages, None
            if stop > end:
                self._needed = stop - pos
                break
            if len(messages) == limit:
                self.read_len += pos - self._pos
                self._pos = pos
                return messages, None
            text = b""
            if text_len:
                text = without_local_lines(data[text_at:body_at])
                text_len = len(text)
            message = Message.__new__(Message)
            message._account = self._account
            message._cost = stop - pos
            message._header = header_of(
                channel_number,
                proto & _SENT_BITS,
                eight_bytes(start + pos + 4),
                text_len,
                body_len,
            )
            message._text = text
            message._body = PyBytes_FromStringAndSize(<char*>start + body_at, body_len)
            message._released = False
            messages.append(message)
            pos = stop
            if rule is not None:
                self.read_len += pos - self._pos
                self._pos = pos
                return messages, rule
        else:
            self._needed = _HEADER_LEN
        if pos < end:
            self._chunks = [data[pos:] if pos else data]
            self.kept = end - pos
        self.stop_at(pos)
        return messages, None

    cdef int stop_at(self, Py_ssize_t pos) except -1:
        self.read_len += pos - self._pos
        self._data = b""
        self._pos = 0
        return 0


cdef class FrameWriter:
    cdef public Py_ssize_t _begin
    cdef public bytes _block
    cdef public Py_ssize_t _block_count
    cdef public Py_ssize_t _count
    cdef public Py_ssize_t _joined
    cdef public object _keep
    cdef public object _kept
    cdef public Py_ssize_t _offset
    cdef public list _open
    cdef public Py_ssize_t _open_len
    cdef public object _sealed
    cdef public Py_ssize_t burst
    cdef public long long held
    cdef public long long size

    def __init__(self, *, keep=False):
        self._begin = self._block_count = self._offset = 0
        self._block = b""
        self._keep = keep
        self._kept = []
        self._open = []
        self.burst = _BURST

    def push_ordinary(self, Message message not None):
        cdef int burst = self.queue(message)
        return type(self)._pure.push_ordinary(self, message) if burst < 0 else burst == 1

    cdef int queue(self, Message message) except -2:
        """Whether it was ordinary, and a burst is complete now; -1, and nothing is done, if not.

        What that may be is for the pure code, which names what is wrong.
        """
        if type(message._header) is not BinaryHeader or type(message._body) is not bytes:
            return -1
        cdef BinaryHeader header = message._header
        if (
            type(header.proto_byte) is not int
            or type(header.message_id) is not int
            or type(header.channel_number) is not int
            or not 0 <= header.proto_byte <= 255
            or not 0 < header.channel_number <= 65535
            or not 0 <= header.message_id <= 0xFFFF_FFFF_FFFF_FFFF
            or message._released
        ):
            return -1
        raw = message._text
        if type(raw) is TextHeaders:
            raw = (<TextHeaders>raw)._raw
        cdef const char* text
        cdef Py_ssize_t text_len
        if type(raw) is bytes:
            text, text_len = PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)
        elif type(raw) is bytearray:
            text, text_len = PyByteArray_AS_STRING(raw), PyByteArray_GET_SIZE(raw)
        else:
            return -1
        cdef int proto = <int>header.proto_byte & ~_ENGINE_BIT
        cdef unsigned int channel_number = header.channel_number
        cdef unsigned long long message_id = header.message_id
        cdef bytes body = message._body
        cdef Py_ssize_t length = len(body), copied
        if (
            proto & 15 > _SIGNAL
            or (not message_id and proto & 15 == _RESPONSE)
            or length > _LONGEST_PART
            or text_len > _LONGEST_PART
            or (text_len and may_be_local(text, text_len))
            # To find an id is Python's work, during which another thread may move an array's bytes.
            or (not message_id and type(raw) is bytearray and text_len)
        ):
            return -1
        if not message_id:
            header.message_id = _of_message()["next_message_id"]()
            message_id = header.message_id
        header.proto_byte = proto
        header.status = 0
        header.text_headers_len = text_len
        header.body_len = length
        copied = length if length <= _COPIED else 0
        cdef bytes frame = PyBytes_FromStringAndSize(NULL, _HEADER_LEN + text_len + copied)
        cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(frame)
        cdef int i
        at[0] = channel_number >> 8
        at[1] = channel_number & 255
        at[2] = proto & _SENT_BITS
        at[3] = 0
        for i in range(8):
            at[11 - i] = message_id & 255
            message_id >>= 8
        at[12] = text_len >> 8
        at[13] = text_len & 255
        at[14] = length >> 8
        at[15] = length & 255
        memcpy(at + _HEADER_LEN, text, text_len)
        memcpy(at + _HEADER_LEN + text_len, PyBytes_AS_STRING(body), copied)
        self._open.append(frame)
        if length > copied:
            self._open.append(body)
        length += _HEADER_LEN + text_len
        self.size += length
        self.held += length
        self._open_len += length
        self._count += 1
        if self._open_len >= _BLOCK_LEN:
            self.seal()
            return 1
        if self._count == self.burst:
            self.burst = _LONG_BURST
            return 1
        return 0

    cdef int seal(self) except -1:
        if self._sealed is None:
            self._sealed = deque()
        self._sealed.append((self.joined(), self._count))
        return self.open_anew()

    cdef bytes joined(self):
        return self._open[0] if len(self._open) == 1 else b"".join(self._open)

    cdef int open_anew(self) except -1:
        self._open = []
        self._joined = self._open_len = self._count = 0
        return 0

    def block(self):
        return self.next_block()

    cdef next_block(self):
        if self._block or self._sealed is not None:
            return FrameWriter._pure.block(self)
        self._block = self.joined()
        self._block_count = self._count
        self.open_anew()
        return self._block

    def wrote(self, Py_ssize_t length):
        return self.note_written(length)

    cdef Py_ssize_t note_written(self, Py_ssize_t length) except -1:
        if self._keep or self._offset + length < len(self._block):
            return (_wrote_protected or FrameWriter._pure.wrote)(self, length)
        self.size -= length
        self.held -= length
        self._block = b""
        self._offset = self._begin = 0
        return self._block_count
