# What programs call for each message. All else of the classes is the pure ones', and what is wrong is theirs to say.

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()


cdef class Belonging:
    cdef public unsigned long long _thread
    cdef object __weakref__

    def __init__(self):
        Belonging._pure.__init__(self)

    cdef bint is_here(self):
        return PyThread_get_thread_ident() == self._thread


cdef class ChannelGroup(Belonging):
    cdef public object _group
    cdef public FairMailBox _mailbox
    cdef public object _next_checkpoint
    cdef public Poster _poster
    cdef public object _token

    def __init__(self, group):
        ChannelGroup._pure.__init__(self, group)

    def post(self, holder):
        if self.is_here():
            message = getattr(holder, "_value", None)
            if type(message) is Message and self._poster.posted(message):
                holder._value = None
                return (<Message>message)._header
        return ChannelGroup._pure.post(self, holder)

    def receive_nowait(self):
        cdef FairMailBox mailbox = self._mailbox
        if self.is_here() and mailbox.taken < mailbox.look_at and mailbox.turns:
            return mailbox.next()
        return ChannelGroup._pure.receive_nowait(self)


cdef class Ampe(Belonging):
    cdef public Budget _budget
    cdef public object _engine

    def __init__(self, engine):
        Ampe._pure.__init__(self, engine)

    def get(self, strategy=AllocationStrategy.ALWAYS):
        if self._budget.free > 0 and self.is_here() and not self._engine.closing:
            return self._budget.lend()
        return Ampe._pure.get(self, strategy)

    def put(self, holder):
        if self.is_here():
            message = getattr(holder, "_value", self)  # itself: that is no message
            if message is None:
                return
            if type(message) is Message and self._budget.takes_back(message):
                holder._value = None
                return
        Ampe._pure.put(self, holder)
