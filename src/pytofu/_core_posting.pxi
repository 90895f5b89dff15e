# Posting: an ordinary message on a channel that takes it. All else is the pure class's, which says what is wrong.
#
# A Ctrl-C is noticed where Python runs, and a frame of C protects nothing. So from the moment a
# message is queued until it is its poster's no more nothing is called that is Python.

cdef class SendQueues:
    cdef public object _max_channel
    cdef public object _max_total
    cdef public object _most
    cdef public long long limit
    cdef public long long limit_to_read
    cdef public object returning
    cdef public bint too_much
    cdef public object total

    def __init__(self, max_channel, max_total):
        SendQueues._pure.__init__(self, max_channel, max_total)


cdef class Poster:
    cdef public dict _channels
    cdef public object _group
    cdef public FairMailBox _mailbox
    cdef public object _numbers
    cdef public SendQueues _queues
    cdef public long long answered

    def __init__(self, group, numbers, mailbox):
        find_slots()
        Poster._pure.__init__(self, group, numbers, mailbox)

    cdef bint posted(self, Message message, bint at_once) except -1:
        """Whether it was ordinary, and is posted; else nothing has changed.

        If not `at_once`, only on a channel whose senders need not wait.
        """
        if type(message._header) is not BinaryHeader or not message.goes_quietly():
            return False
        number = (<BinaryHeader>message._header).channel_number
        cdef Py_ssize_t proto = small((<BinaryHeader>message._header).proto_byte)
        if proto < 0 or proto & 15 > _SIGNAL or type(number) is not int:
            return False
        channel = self._channels.get(number)
        if (
            channel is None
            or not _senders.is_in(channel)  # a listener
            or _group.get(channel) is not self._group
            or not _mailbox.is_in(self._group)
            or self._mailbox._closed  # the group is closing
        ):
            return False
        if type(message._account) is ChannelAccount and (<ChannelAccount>message._account).closed:
            return False
        conversation = _conversation.get(channel)
        if not _writer.is_in(conversation):
            return False
        rules = _post_rules.get(conversation)
        if type(rules) is not tuple or (<tuple>rules)[proto & 15] is not None:
            return False
        writer = _writer.get(conversation)
        if type(writer) is not FrameWriter or (<FrameWriter>writer).size > self._queues.limit:
            return False
        if not at_once and (
            _senders.get(channel) is not None
            or (<FrameWriter>writer).held > <long long>_high_water.get(channel)
        ):
            return False
        cdef int burst = (<FrameWriter>writer).queue(message)
        if burst < 0:
            return False
        message.give_up()
        if burst:
            work_on(self._group, channel)
        elif not _has_work.get(channel):
            if not self._mailbox.turns and self._mailbox.taken != self.answered:
                self.answered = self._mailbox.taken
                work_on(self._group, channel)
            else:
                schedule(self._group, channel)
        return True
