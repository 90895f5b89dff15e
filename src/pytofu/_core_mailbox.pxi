# The mailbox: the next of what waits. All else of the class is the pure one's (`twin`).

# Methods of whatever deque: to find them by their names takes longer than what they do.
cdef object _append = deque.append, _popleft = deque.popleft


cdef class FairMailBox:
    # As the base class in Python has them.
    cdef public object _bell
    cdef public object _closed
    cdef public object _interrupted
    cdef public object _items
    cdef public object _ring
    cdef public object _thread
    cdef public object _waiting
    # Its own.
    cdef public object _due
    cdef public object _own
    cdef public list _own_turn
    cdef public long long _sent
    cdef public long long look_at
    cdef public long long taken
    cdef public object turns

    def __init__(self):
        FairMailBox._pure.__init__(self)

    def send_to(self, list inbox not None, list messages not None):
        if self._closed or self._waiting:
            return FairMailBox._pure.send_to(self, inbox, messages)
        self.add(inbox, messages)
        return OK

    cdef int add(self, list inbox, list messages) except -1:
        cdef Py_ssize_t count = len(messages)
        if not inbox:
            _append(self.turns, inbox)
        if count == 1 and not inbox:
            inbox.append(messages[0])
        else:
            inbox[:0] = messages[::-1]
        self._sent += count
        return 0

    def take(self):
        return self.next()

    cdef next(self):
        cdef Py_ssize_t count = len(self.turns)
        if not count:
            return None
        cdef list inbox = self.turns[0]
        if inbox is self._own_turn:
            return FairMailBox._pure.take(self)
        self.taken += 1
        message = inbox.pop()
        if not inbox:
            _popleft(self.turns)
        elif count > 1:
            self.turns.rotate(-1)
        return message
