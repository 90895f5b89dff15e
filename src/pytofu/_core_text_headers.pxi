# Text headers: adding a line of plain text, finding one, and taking out those that are local. All else of the class is the pure one's (`twin`).

from cpython.bytearray cimport (
    PyByteArray_AS_STRING,
    PyByteArray_FromStringAndSize,
    PyByteArray_GET_SIZE,
    PyByteArray_Resize,
)
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char* PyUnicode_DATA(object text)


cdef bint is_padding(char byte) noexcept:
    return byte == b" " or byte == b"\t"


cdef bint is_on_one_line(const char* text, Py_ssize_t length) noexcept:
    cdef Py_ssize_t i
    for i in range(length):
        if text[i] == b"\r" or text[i] == b"\n" or text[i] == 0:
            return False
    return length > 0


@cython.freelist(64)
cdef class TextHeaders:
    cdef public bytearray _raw

    def __init__(self, raw=b""):
        self._raw = bytearray(raw if type(raw) is bytes else as_bytes("TextHeaders", raw))

    def append(self, name, value):
        if not self.appended(name, value):
            TextHeaders._pure.append(self, name, value)

    def try_append(self, name, value):
        return OK if self.appended(name, value) else TextHeaders._pure.try_append(self, name, value)

    cdef bint appended(self, name, value) except -1:
        """Whether this is text that goes as it is, and is there now; else nothing has changed."""
        if (
            type(self) is not TextHeaders
            or type(name) is not str
            or type(value) is not str
            or not PyUnicode_IS_ASCII(name)
            or not PyUnicode_IS_ASCII(value)
            or self._raw is None
        ):
            return False
        cdef const char* name_at = PyUnicode_DATA(name)
        cdef const char* value_at = PyUnicode_DATA(value)
        cdef Py_ssize_t name_len = PyUnicode_GET_LENGTH(name)
        cdef Py_ssize_t value_len = PyUnicode_GET_LENGTH(value)
        if (
            not is_on_one_line(name_at, name_len)
            or not is_on_one_line(value_at, value_len)
            or is_padding(name_at[0])
            or is_padding(name_at[name_len - 1])
            or memchr(name_at, b":", name_len) != NULL
        ):
            return False
        cdef Py_ssize_t length = PyByteArray_GET_SIZE(self._raw)
        PyByteArray_Resize(self._raw, length + name_len + value_len + 3)
        cdef char* at = PyByteArray_AS_STRING(self._raw) + length
        memcpy(at, name_at, name_len)
        at[name_len] = b":"
        memcpy(at + name_len + 1, value_at, value_len)
        memcpy(at + name_len + 1 + value_len, b"\r\n", 2)
        return True


    def get(self, name):
        if (
            type(self) is not TextHeaders
            or type(name) is not str
            or not PyUnicode_IS_ASCII(name)
            or self._raw is None
        ):
            return TextHeaders._pure.get(self, name)
        cdef const char* wanted = PyUnicode_DATA(name)
        cdef Py_ssize_t wanted_len = PyUnicode_GET_LENGTH(name), name_len
        cdef const char* at = PyByteArray_AS_STRING(self._raw)
        cdef const char* end = at + PyByteArray_GET_SIZE(self._raw)
        cdef const char* behind
        cdef const char* stop
        cdef const char* colon
        while at < end:
            behind = stop = behind_line(at, end)
            if stop - at >= 2 and stop[-2] == b"\r" and stop[-1] == b"\n":
                stop -= 2
            if at < stop:
                colon = <const char*>memchr(at, b":", stop - at)
                name_len = (stop if colon == NULL else colon) - at
                if not name_len:
                    return None
                if name_len == wanted_len and not memcmp(at, wanted, name_len):
                    return stripped(stop if colon == NULL else colon + 1, stop)
            at = behind
        return None


cdef str stripped(const char* at, const char* end):
    while at < end and is_padding(at[0]):
        at += 1
    while at < end and is_padding(end[-1]):
        end -= 1
    return PyUnicode_DecodeUTF8(at, end - at, "replace")


cdef TextHeaders new_text_headers(bytes raw):
    cdef TextHeaders headers = TextHeaders.__new__(TextHeaders)
    headers._raw = PyByteArray_FromStringAndSize(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
    return headers


def without_local_headers(raw):
    if type(raw) is not bytes:
        return without_local_headers.__wrapped__(raw)
    return without_local_lines(raw)


cdef bytes without_local_lines(bytes raw):
    cdef const char* at = PyBytes_AS_STRING(raw)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(raw)
    if not may_be_local(at, length):
        return raw
    cdef const char* end = at + length
    cdef const char* behind
    cdef bytes kept = PyBytes_FromStringAndSize(NULL, length)
    cdef char* start = PyBytes_AS_STRING(kept)
    cdef char* to = start
    while at < end:
        behind = behind_line(at, end)
        if not is_local(at, behind - at):
            memcpy(to, at, behind - at)
            to += behind - at
        at = behind
    return raw if to - start == length else kept[: to - start]


cdef const char* behind_line(const char* at, const char* end) noexcept:
    while end - at >= 2:
        if at[0] == b"\r" and at[1] == b"\n":
            return at + 2
        at += 1
    return end


cdef bint is_local(const char* line, Py_ssize_t length) noexcept:
    """Whether the line, with its end, if it has one, begins with a name that is the engine's."""
    if not begins_local(line, length):
        return False
    return length == 7 or line[7] == b":" or (length == 9 and line[7] == b"\r" and line[8] == b"\n")


cdef bint begins_local(const char* at, Py_ssize_t length) noexcept:
    return (
        length >= 7
        and at[0] == b"~"
        and (not memcmp(at + 1, b"reason", 6) or not memcmp(at + 1, b"detail", 6))
    )


cdef bint may_be_local(const char* text, Py_ssize_t length) noexcept:
    """Whether one of the names is somewhere in it."""
    cdef const char* end = text + length
    cdef const char* at = <const char*>memchr(text, b"~", length)
    if at == NULL:
        return False
    while end - at >= 7:  # byte by byte: they may all be that one
        if begins_local(at, end - at):
            return True
        at += 1
    return False
