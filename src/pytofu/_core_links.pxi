# Links over sockets: the system is asked in C, for the link's descriptor. What it says but for how many bytes there were
# is for the link's own methods to understand.

cdef extern from *:
    """
    #ifdef MS_WINDOWS
    static int asks_in_c(void) { return 0; }
    static Py_ssize_t receive_now(int fd, void *at, size_t size) { return -1; }
    static Py_ssize_t send_now(int fd, const void *at, size_t size) { return -1; }
    static int is_no_error(int code) { return 0; }
    #else
    #include <errno.h>
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    static int asks_in_c(void) { return 1; }
    static Py_ssize_t receive_now(int fd, void *at, size_t size) {
        Py_ssize_t count = recv(fd, at, size, MSG_DONTWAIT);
        return count < 0 ? -errno : count;
    }
    static Py_ssize_t send_now(int fd, const void *at, size_t size) {
        Py_ssize_t count = send(fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        return count < 0 ? -errno : count;
    }
    static int is_no_error(int code) {
        return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
    }
    #endif
    """
    bint asks_in_c() noexcept
    Py_ssize_t receive_now(int fd, void* at, size_t size) noexcept nogil
    Py_ssize_t send_now(int fd, const void* at, size_t size) noexcept nogil
    bint is_no_error(int code) noexcept  # but that there is nothing now

cdef extern from "Python.h":
    PyObject* _PyType_Lookup(type kind, object name)
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char* data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject** data, Py_ssize_t size) except -1

cdef enum:
    _MUCH = 16 * 1024  # as in engine/readiness.py; what copies so much lets other threads run

# Most reads bring far less than is asked for. Nobody else runs while it is used.
cdef unsigned char _arrived[_RECEIVE_LEN]


cdef bint has_descriptor(link) except -1:
    return asks_in_c() and <int>_descriptor.get(link) >= 0


cdef bint is_asked_in_c(link, name, function) except -1:
    """Whether this method of the link is the one whose twin is here, and has a socket to ask for."""
    return (
        _descriptor.is_in(link)
        and _PyType_Lookup(type(link), name) == <PyObject*>function
        and has_descriptor(link)
    )


cdef receive(link, Py_ssize_t size, bint much):
    """As `Link.receive`; `much` if it is likely to be."""
    cdef int descriptor = _descriptor.get(link)
    cdef Py_ssize_t count
    if not much and size <= _RECEIVE_LEN:
        count = receive_now(descriptor, _arrived, size)
        return PyBytes_FromStringAndSize(<char*>_arrived, count) if count > 0 else no_bytes(link, count)
    cdef PyObject* data = new_bytes(NULL, size)
    cdef char* at = PyBytes_AS_STRING(<object>data)
    with nogil:
        count = receive_now(descriptor, at, size)
    _PyBytes_Resize(&data, max(count, 0))
    arrived = <object>data
    Py_DECREF(arrived)
    return arrived if count > 0 else no_bytes(link, count)


cdef no_bytes(link, Py_ssize_t count):
    if not count:
        return link._end()
    return _READABLE if is_no_error(-count) else link._cannot_receive(OSError(-count, strerror(-count)))


cdef Py_ssize_t send(link, bytes data) noexcept:
    """How many bytes were taken, or a negative error number, which `not_sent` understands."""
    cdef int descriptor = _descriptor.get(link)
    cdef const char* at = PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), count
    if size < _MUCH:
        return send_now(descriptor, at, size)
    with nogil:
        count = send_now(descriptor, at, size)
    return count


cdef not_sent(link, Py_ssize_t count):
    return _WRITABLE if is_no_error(-count) else link._cannot_send(OSError(-count, strerror(-count)))


def SocketLink_receive(self, size):
    find_slots()
    if type(size) is not int or size <= 0 or not has_descriptor(self):
        return SocketLink_receive.__wrapped__(self, size)
    return receive(self, size, True)


def SocketLink_send(self, data):
    find_slots()
    if type(data) is not bytes or not has_descriptor(self):
        return SocketLink_send.__wrapped__(self, data)
    cdef Py_ssize_t count = send(self, data)
    return count if count >= 0 else not_sent(self, count)
