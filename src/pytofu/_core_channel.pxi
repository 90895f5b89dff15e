# Channels: a read that brings whole messages, and a write that takes all there is. In anything else, and
# in every decision, the pure methods go on from where these are.

from cpython.time cimport perf_counter as now_by_clock
from libc.math cimport INFINITY as _INFINITY

cdef class Traffic:
    cdef public long long bytes_received
    cdef public long long bytes_sent
    cdef public long long messages_received
    cdef public long long messages_sent

    def __init__(self, messages_sent=0, messages_received=0, bytes_sent=0, bytes_received=0):
        self.messages_sent, self.messages_received = messages_sent, messages_received
        self.bytes_sent, self.bytes_received = bytes_sent, bytes_received


from time import perf_counter

cdef object _NEVER = float("inf"), _perf_counter = perf_counter


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


# ---------------------------------------------------------------------- reading


cdef bint may_read(channel, conversation) except -1:
    """Whether all is as nearly always, so that there is nothing to be done but to read."""
    if (
        _link.get(channel) is None
        or _ending.get(conversation) is not None
        or _paused.get(conversation) is not False
        or _is_open.get(channel) is not True
        or _state.get(conversation) is _FINISHING
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
    read_once(self, now)


cdef bint was_read(source, now) except -1:
    """Whether it is a channel that has been read from; else nothing has happened."""
    if (
        type(source) is not _IoChannel
        or not is_ordinary(source)
        or not may_read(source, _conversation.get(source))
    ):
        return False
    read_once(source, now)
    return True


cdef int read_once(channel, now) except -1:
    conversation, link = _conversation.get(channel), _link.get(channel)
    cdef FrameReader reader = _reader.get(conversation)
    cdef FrameWriter writer = _writer.get(conversation)
    cdef ChannelAccount account = _account.get(channel)
    cdef bint in_c = is_asked_in_c(link, "receive", _SocketLink_receive)
    if in_c:
        data = receive(link, reader.how_many(), _brings_much.get(channel) is True)
    else:
        data = link.receive(reader.how_many())
    if type(data) is not bytes or account.unfinished:
        channel._take_in(data, now)
        return 0
    cdef Py_ssize_t received = len(<bytes>data)
    cdef Traffic traffic = _traffic.get(_group.get(channel))
    traffic.bytes_received += received
    _brings_much.set(channel, received > _MUCH)
    reader.take(data)
    cdef long long room = account.room_now()
    cdef list messages
    messages, state = reader.messages(
        _conversation_number.get(conversation), _receive_rules.get(conversation), room
    )
    if state is not None or reader.violation is not None or reader.oversized:
        conversation.follow(messages, state, room, now)
    if not reader.kept:
        _frame_began.set(conversation, _NEVER)
    elif messages or <double>_frame_began.get(conversation) == _INFINITY:
        _frame_began.set(conversation, now)
    if messages:
        if writer.held < <long long>_queued.get(channel):
            channel._deliver(messages)
        else:
            account.count(len(messages), reader.read_len)
            writer.burst = _BURST
            traffic.messages_received += len(messages)
            deliver(_group.get(channel), _inbox.get(channel), messages)
    if _refused.get(conversation) is not None or (not in_c and link.buffered):
        channel._wake()
    cdef bint busy = reader.kept > 0 or reader._pos < len(reader._data)
    if busy:
        channel._note_unfinished(received)
    elif _state.get(conversation) is _OPEN:
        return 0
    channel._settle()
    return 0


cdef int deliver(group, inbox, list messages) except -1:
    cdef FairMailBox mailbox = _mailbox.get(group)
    if type(inbox) is not list or mailbox._closed or mailbox._waiting or _leads.get(group) is True:
        group.deliver(inbox, messages)
    else:
        mailbox.add(inbox, messages)
    return 0


# ---------------------------------------------------------------------- writing


cdef bint may_write(channel, conversation) except -1:
    """Whether all is as nearly always, so that what is queued has only to be written."""
    return (
        _link.get(channel) is not None
        and _ending.get(conversation) is None
        and _refused.get(conversation) is None
        and _is_open.get(channel) is True
        and _short.get(channel) is False
        and _full.get(channel) is False
        and _backed_up.get(channel) is False
        and _senders.get(channel) is None
    )


cdef bint wrote_all(channel, conversation) except -1:
    """Whether all that was queued is written, and no more than that has happened."""
    if not may_write(channel, conversation):
        return False
    cdef FrameWriter writer = _writer.get(conversation)
    cdef Py_ssize_t taken
    cdef Traffic traffic
    if writer.size:
        link = _link.get(channel)
        block = writer.next_block()
        if type(block) is bytes and is_asked_in_c(link, "send", _SocketLink_send):
            taken = send(link, block)
            if taken < 0:
                not_sent(link, taken)
        else:
            written = link.send(block)
            taken = written if type(written) is int else -1
        if taken < 0:
            return False  # nothing was taken: the pure method asks again, and hears the same
        traffic = _traffic.get(_group.get(channel))
        traffic.messages_sent += writer.note_written(taken)
        traffic.bytes_sent += taken
    return not writer.size and writer.held == <long long>_queued.get(channel)


cdef bint is_at_ease(channel, conversation) except -1:
    """Whether to have written has changed nothing."""
    cdef FrameReader reader = _reader.get(conversation)
    return (
        <double>_alarm.get(channel) == _INFINITY
        and _state.get(conversation) is _OPEN
        and _paused.get(conversation) is False
        and <double>_full_since.get(conversation) == _INFINITY
        and not reader.kept
        and reader._pos >= len(reader._data)
    )


def IoChannel_work(self):
    if not is_ordinary(self):
        return IoChannel_work.__wrapped__(self)
    _has_work.set(self, False)
    conversation = _conversation.get(self)
    if not wrote_all(self, conversation):
        return IoChannel_work.__wrapped__(self)
    if not is_at_ease(self, conversation):
        self._settle()


cdef bint is_first_block(FrameWriter writer) except -1:
    """Whether what is queued is one block, nothing of it is written, and nothing written is kept."""
    return writer.size and not writer._keep and writer._sealed is None and not writer._block


cdef bint wrote_at_once(channel) except -1:
    """Whether all that was queued is written; else the channel's `work` is still to be done.

    For who must not be interrupted: it calls nothing that is Python and not protected.
    """
    if type(channel) is not _IoChannel or not is_ordinary(channel):
        return False
    conversation, link = _conversation.get(channel), _link.get(channel)
    cdef FrameWriter writer = _writer.get(conversation)
    if (
        not is_first_block(writer)
        or not is_at_ease(channel, conversation)
        or not may_write(channel, conversation)
        or <long long>_queued.get(channel)
        or not is_asked_in_c(link, "send", _SocketLink_send)
    ):
        return False
    cdef bytes block = writer.next_block()
    cdef Py_ssize_t taken = send(link, block)
    if taken < 0:
        not_sent(link, taken)
        return False
    cdef Traffic traffic = _traffic.get(_group.get(channel))
    traffic.messages_sent += writer.note_written(taken)
    traffic.bytes_sent += taken
    if writer.size:
        return False
    _has_work.set(channel, False)
    return True


cdef int work_on(group, channel) except -1:
    """As the group's own method, which is called where it has to be protected or may fail."""
    cdef bint done = False
    try:
        done = wrote_at_once(channel)
    except Exception:
        pass  # it will say so again
    if not done:
        group.work_on(channel)
    return 0


# ---------------------------------------------------------------------- settling


cdef bint has_consequences(channel, conversation) except -1:
    """Whether there is more to be done about what has happened than to look at the deadline."""
    cdef FrameReader reader = _reader.get(conversation)
    return (
        _ending.get(conversation) is not None
        or _returned.get(conversation) != []
        or _state.get(conversation) is _FINISHING
        or reader._pos < len(reader._data)
        or _short.get(channel) is not False
        or _backed_up.get(channel) is not False
        or _paused.get(conversation) is not False
    )


def IoChannel__settle(self):
    if not is_ordinary(self):
        return IoChannel__settle.__wrapped__(self)
    if _finished.get(self) is True:
        return None
    conversation = _conversation.get(self)
    if has_consequences(self, conversation):
        return IoChannel__settle.__wrapped__(self)
    cdef double deadline = conversation.deadline(), alarm = _alarm.get(self)
    if deadline < alarm or (deadline == _INFINITY and alarm != _INFINITY):
        _group.get(self).deadlines.expect(self)


# ---------------------------------------------------------------------- a group's list of work


cdef int schedule(group, channel) except -1:
    _has_work.set(channel, True)
    if _is_listed.get(channel) is not True:
        _is_listed.set(channel, True)
        channels = _with_work.get(group)
        if not channels:
            _turn.get(group).with_work[group] = None
        _append(channels, channel)
    return 0


cdef bint is_over(this) except -1:
    """As the property of a `Pass`."""
    clock = _passes["perf_counter"]
    cdef double now = now_by_clock() if clock is _perf_counter else clock()
    return now > <double>_end_of_pass.get(this)


def Group_work(self):
    find_slots()
    channels = _with_work.get(self)
    this = None
    while channels:
        channel = _popleft(channels)
        _is_listed.set(channel, False)
        if _has_work.get(channel) is True:  # else it has been served meanwhile
            if this is None and channels:
                this = _Pass()
            work_on(self, channel)
            if this is not None and is_over(this):
                break
    if channels:
        self._work_later()


cdef bint is_quiet(channel) except -1:
    return not _inbox.get(channel) if type(channel) is _IoChannel else channel.is_quiet


def Group__work_on_quiet(self):
    find_slots()
    channels, this = _with_work.get(self), _Pass()
    for _ in range(len(channels)):
        channel = _popleft(channels)
        if not is_quiet(channel):
            _append(channels, channel)
            continue
        _is_listed.set(channel, False)
        if _has_work.get(channel) is True:
            work_on(self, channel)
            if is_over(this):
                break
