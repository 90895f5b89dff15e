# Channels: a read that brings whole messages, and a write that takes all there is. In anything else, and
# in every decision, the pure methods go on from where these are.

cdef object _NEVER = float("inf")

cdef enum:
    _MUCH = 16 * 1024


cdef bint is_ordinary(channel) except -1:
    """Whether it is what the slots are those of, and so is what it works with."""
    find_slots()
    return (
        _account.is_in(channel)
        and _state.is_in(_conversation.get(channel))
        and _mailbox.is_in(_group.get(channel))
        and type(_reader.get(_conversation.get(channel))) is FrameReader
        and type(_writer.get(_conversation.get(channel))) is FrameWriter
    )


cdef bint may_read(channel, conversation) except -1:
    """Whether all is as nearly always, so that there is nothing to be done but to read."""
    if (
        _link.get(channel) is None
        or _ending.get(conversation) is not None
        or _paused.get(conversation) is not False
        or _is_open.get(channel) is not True
        or _state.get(conversation) is not _OPEN
        or _writes_after_reading.get(channel) is not False
        or type(_account.get(channel)) is not ChannelAccount
    ):
        return False
    cdef Budget budget = (<ChannelAccount>_account.get(channel)).budget
    cdef SendQueues queues = _queues.get(_group.get(channel))
    cdef long long queued = (<FrameWriter>_writer.get(conversation)).size
    return (
        budget.free > 0
        and 2 * budget.bytes_unfinished <= budget.max_bytes
        and not queues.too_much
        and (
            not queued
            or _accepted.get(channel) is False
            or (queued <= _backlog.get(channel) and queued <= queues.limit_to_read)
        )
    )


def IoChannel_on_readable(self, now, *, at_last=False):
    if not is_ordinary(self) or not may_read(self, _conversation.get(self)):
        return IoChannel_on_readable.__wrapped__(self, now, at_last=at_last)
    conversation = _conversation.get(self)
    cdef FrameReader reader = _reader.get(conversation)
    cdef FrameWriter writer = _writer.get(conversation)
    cdef ChannelAccount account = _account.get(self)
    link = _link.get(self)
    data = link.receive(reader.wanted)
    if type(data) is not bytes or account.unfinished:
        return self._take_in(data, now)
    traffic = _traffic.get(_group.get(self))
    add_to(_bytes_received, traffic, len(<bytes>data))
    _brings_much.set(self, len(<bytes>data) > _MUCH)
    reader.feed(data)
    cdef long long room = account.room_now()
    cdef list messages
    messages, state = reader.read(
        _conversation_number.get(conversation), _receive_rules.get(conversation), room
    )
    if state is not None or reader.violation is not None or reader.oversized:
        conversation.follow(messages, state, room, now)
    if not reader.kept:
        _frame_began.set(conversation, _NEVER)
    elif messages or _frame_began.get(conversation) == _NEVER:
        _frame_began.set(conversation, now)
    if messages:
        if writer.held < _queued.get(self):
            self._deliver(messages)
        else:
            account.count(len(messages), reader.read_len)
            writer.burst = _BURST
            add_to(_messages_received, traffic, len(messages))
            deliver(_group.get(self), _inbox.get(self), messages)
    if link.buffered or _refused.get(conversation) is not None:
        self._wake()
    cdef bint busy = reader.kept > 0 or reader._pos < len(reader._data)
    if busy:
        self._note_unfinished(len(<bytes>data))
    elif _state.get(conversation) is _OPEN:
        return None
    self._settle()


cdef int add_to(Slot slot, thing, Py_ssize_t count) except -1:
    slot.set(thing, slot.get(thing) + count)
    return 0


cdef int deliver(group, inbox, list messages) except -1:
    cdef FairMailBox mailbox = _mailbox.get(group)
    if type(inbox) is not list or mailbox._closed or mailbox._waiting or _leads.get(group) is True:
        group.deliver(inbox, messages)
    else:
        mailbox.add(inbox, messages)
    return 0


cdef bint wrote_all(channel) except -1:
    """Whether all that was queued is written, and no more than that has happened."""
    conversation, link = _conversation.get(channel), _link.get(channel)
    if (
        link is None
        or _ending.get(conversation) is not None
        or _refused.get(conversation) is not None
        or _is_open.get(channel) is not True
        or _short.get(channel) is not False
        or _full.get(channel) is not False
        or _backed_up.get(channel) is not False
        or _senders.get(channel) is not None
    ):
        return False
    cdef FrameWriter writer = _writer.get(conversation)
    cdef Py_ssize_t size = writer.size
    if size:
        written = link.send(writer.block())
        if type(written) is not int:
            return False  # nothing was taken: the pure method asks again, and hears the same
        traffic = _traffic.get(_group.get(channel))
        add_to(_messages_sent, traffic, writer.wrote(written))
        add_to(_bytes_sent, traffic, written)
    return not writer.size and writer.held == _queued.get(channel)


def IoChannel_work(self):
    if not is_ordinary(self):
        return IoChannel_work.__wrapped__(self)
    _has_work.set(self, False)
    if not wrote_all(self):
        return IoChannel_work.__wrapped__(self)
    conversation = _conversation.get(self)
    cdef FrameReader reader = _reader.get(conversation)
    if (
        _alarm.get(self) != _NEVER
        or _state.get(conversation) is not _OPEN
        or _paused.get(conversation) is not False
        or _full_since.get(conversation) != _NEVER
        or reader.kept
        or reader._pos < len(reader._data)
    ):
        self._settle()


# ---------------------------------------------------------------------- a group's list of work


cdef int schedule(group, channel) except -1:
    _has_work.set(channel, True)
    if _is_listed.get(channel) is not True:
        _is_listed.set(channel, True)
        channels = _with_work.get(group)
        if not channels:
            _turn.get(group).with_work[group] = None
        channels.append(channel)
    return 0


def Group_work(self):
    find_slots()
    channels = _with_work.get(self)
    this = None
    while channels:
        channel = channels.popleft()
        _is_listed.set(channel, False)
        if _has_work.get(channel) is True:  # else it has been served meanwhile
            if this is None and channels:
                this = _Pass()
            try:
                channel.work()
            except Exception:
                channel.on_defect()
            if this is not None and this.is_over:
                break
    if channels:
        self._work_later()


# ---------------------------------------------------------------------- links over sockets


def SocketLink_receive(self, size):
    find_slots()
    try:
        data = _receive.get(self)(size)
    except BlockingIOError:
        return _READABLE
    except OSError as error:
        return self._cannot_receive(error)
    return data if data else self._end()


def SocketLink_send(self, data):
    find_slots()
    try:
        return _send.get(self)(data, _NO_SIGNAL)
    except BlockingIOError:
        return _WRITABLE
    except OSError as error:
        return self._cannot_send(error)
