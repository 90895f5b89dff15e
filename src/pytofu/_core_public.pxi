# What programs call for each message. All else of the classes is the pure ones', and what is wrong is theirs to say.

cdef class Belonging:
    cdef public unsigned long long _thread
    cdef object __weakref__

    def __init__(self):
        Belonging._pure.__init__(self)

    cdef bint is_here(self):
        # Nowhere as long as it has not been made: then nothing of what it has is None.
        return PyThread_get_thread_ident() == self._thread


cdef bint has_room(Poster poster, Message message) except -1:
    """Whether it is for a channel whose senders need not wait."""
    if type(message._header) is not BinaryHeader:
        return False
    channel = poster._channels.get((<BinaryHeader>message._header).channel_number)
    if not _senders.is_in(channel) or _senders.get(channel) is not None:
        return False
    conversation = _conversation.get(channel)
    if not _writer.is_in(conversation):
        return False
    writer = _writer.get(conversation)
    return type(writer) is FrameWriter and (<FrameWriter>writer).held <= _high_water.get(channel)


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
            message = _held.get(holder) if _held.is_in(holder) else None
            if type(message) is Message and self._poster.posted(message):
                _held.set(holder, None)
                return (<Message>message)._header
        return ChannelGroup._pure.post(self, holder)

    def _before_sending(self, holder):
        if self.is_here() and _held.is_in(holder) and type(_held.get(holder)) is Message:
            return self._next_checkpoint()
        return ChannelGroup._pure._before_sending(self, holder)

    def _post_if_room(self, holder):
        message = _held.get(holder) if _held.is_in(holder) else None
        if (
            type(message) is Message
            and has_room(self._poster, message)
            and self._poster.posted(message)
        ):
            _held.set(holder, None)
            return (<Message>message)._header
        return ChannelGroup._pure._post_if_room(self, holder)

    def _take(self):
        cdef FairMailBox mailbox = self._mailbox
        if mailbox.taken < mailbox.look_at and mailbox.turns:
            return mailbox.next()
        return ChannelGroup._pure._take(self)

    def receive_nowait(self):
        cdef FairMailBox mailbox = self._mailbox
        if self.is_here() and mailbox.taken < mailbox.look_at and mailbox.turns:
            return mailbox.next()
        return ChannelGroup._pure.receive_nowait(self)


cdef class Ampe(Belonging):
    cdef public Budget _budget
    cdef public object _engine

    def __init__(self, engine):
        find_slots()
        Ampe._pure.__init__(self, engine)

    def get(self, strategy=AllocationStrategy.ALWAYS):
        return self._budget.lend() if self.can_lend(strategy) else Ampe._pure.get(self, strategy)

    cdef bint can_lend(self, strategy) except -1:
        return (
            type(strategy) is AllocationStrategy
            and self.is_here()
            and self._budget.free > 0
            and not self._engine.closing
        )

    def put(self, holder):
        if not self.took_back(holder):
            Ampe._pure.put(self, holder)

    cdef bint took_back(self, holder) except -1:
        """Whether the holder is empty now; else nothing has changed."""
        if not self.is_here() or not _held.is_in(holder):
            return False
        message = _held.get(holder)
        if message is None:
            return True
        if type(message) is not Message or not self._budget.takes_back(message):
            return False
        _held.set(holder, None)
        return True


cdef Slot _ampe = None, _strategy = None


def borrowed_message___enter__(self):
    global _ampe, _strategy
    if _strategy is None:
        from pytofu.public.borrowing import borrowed_message

        _ampe, _strategy = Slot(borrowed_message, "_ampe"), Slot(borrowed_message, "_strategy")
    if _held is not None and _ampe.is_in(self) and _held.get(self) is None:
        ampe = _ampe.get(self)
        if type(ampe) is Ampe and (<Ampe>ampe).can_lend(_strategy.get(self)):
            _held.set(self, (<Ampe>ampe)._budget.lend())
            return self
    return borrowed_message___enter__.__wrapped__(self)


def borrowed_message___exit__(self, exc_type, exc, traceback):
    if _ampe is not None and _ampe.is_in(self):
        ampe = _ampe.get(self)
        if type(ampe) is Ampe and (<Ampe>ampe).took_back(self):
            return None
    return borrowed_message___exit__.__wrapped__(self, exc_type, exc, traceback)
