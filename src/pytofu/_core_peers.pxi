# Calls: what is done to an ordinary one, from the mailbox to the handler and from its answer to the caller. No part of
# a body, no stream, no error, no limit reached, nobody who waits. All else is the pure methods', before anything has changed.

from cpython.contextvars cimport PyContext_CopyCurrent
from libc.math cimport INFINITY

cdef extern from "Python.h":
    bint PyCoro_CheckExact(thing)
    object PyType_GenericAlloc(PyTypeObject* kind, Py_ssize_t count)

# Of peers, by class; found once, when the first message comes or the first call is made.
cdef Slot _hub_ampe = None, _hub_chnls, _hub_links
cdef Slot _link_answering, _link_asking, _link_heard
cdef Slot _outlet_ampe, _outlet_chnls, _outlet_number, _outlet_room, _outlet_senders
cdef Slot _asking_budget, _asking_busy, _asking_features, _asking_in_line, _asking_leaving, _asking_next_id
cdef Slot _asking_on_idle, _asking_open, _asking_outlet, _asking_slots
cdef Slot _answering_by_id, _answering_coming, _answering_context, _answering_limit, _answering_on_idle
cdef Slot _answering_outlet, _answering_ready, _answering_running, _answering_waiting
cdef Slot _answering_handler, _answering_refusing
cdef Slot _incoming_body, _incoming_headers, _incoming_method, _incoming_missed, _incoming_stream, _incoming_topic
cdef object _Incoming, _no_headers, _never
cdef object _effective_deadline, _reschedule
cdef object _coroutine_of, _encoded_once, _read_headers, _read_timeout, _request_lines, _timeout_line, _user_headers
cdef object _METHOD, _REFUSED, _STATUS, _TIMEOUT, _REQUEST_CODE
cdef tuple _NO_ORDINARY_REQUEST
cdef Py_ssize_t _PART_LEN
cdef int _ROW

cdef enum:
    _REQUEST = 0


cdef int find_peers() except -1:
    """Once; not before all of pytofu has been imported."""
    global _hub_ampe, _hub_chnls, _hub_links
    global _link_answering, _link_asking, _link_heard
    global _outlet_ampe, _outlet_chnls, _outlet_number, _outlet_room, _outlet_senders
    global _asking_budget, _asking_busy, _asking_features, _asking_in_line, _asking_leaving, _asking_next_id
    global _asking_on_idle, _asking_open, _asking_outlet, _asking_slots
    global _answering_by_id, _answering_coming, _answering_context, _answering_limit, _answering_on_idle
    global _answering_outlet, _answering_ready, _answering_running, _answering_waiting
    global _answering_handler, _answering_refusing
    global _incoming_body, _incoming_headers, _incoming_method, _incoming_missed, _incoming_stream, _incoming_topic
    global _Incoming, _no_headers, _never
    global _effective_deadline, _reschedule
    global _coroutine_of, _encoded_once, _read_headers, _read_timeout, _request_lines, _timeout_line, _user_headers
    global _METHOD, _REFUSED, _STATUS, _TIMEOUT, _REQUEST_CODE
    global _NO_ORDINARY_REQUEST
    global _PART_LEN, _ROW
    if _hub_ampe is not None:
        return 0
    find_slots()
    from trio import current_effective_deadline as _effective_deadline
    from trio.lowlevel import reschedule as _reschedule

    from pytofu.peers import answering, asking, calls, ctrl_c, handling, hub, incoming, link, outlet, wire

    _link_answering, _link_asking = Slot(link.Link, "answering"), Slot(link.Link, "asking")
    _link_heard = Slot(link.Link, "heard")
    _outlet_ampe, _outlet_chnls = Slot(outlet.Outlet, "_ampe"), Slot(outlet.Outlet, "_chnls")
    _outlet_number, _outlet_room = Slot(outlet.Outlet, "number"), Slot(outlet.Outlet, "_room")
    _outlet_senders = Slot(outlet.Outlet, "_senders")
    asks, answers = asking.Asking, answering.Answering
    _asking_budget, _asking_busy = Slot(asks, "_budget"), Slot(asks, "busy")
    _asking_features, _asking_in_line = Slot(asks, "features"), Slot(asks, "_in_line")
    _asking_leaving, _asking_next_id = Slot(asks, "_leaving"), Slot(asks, "_next_id")
    _asking_on_idle, _asking_open = Slot(asks, "_on_idle"), Slot(asks, "_open")
    _asking_outlet, _asking_slots = Slot(asks, "_outlet"), Slot(asks, "_slots")
    _answering_by_id, _answering_coming = Slot(answers, "_by_id"), Slot(answers, "_coming")
    _answering_context, _answering_limit = Slot(answers, "_context"), Slot(answers, "_limit")
    _answering_on_idle, _answering_outlet = Slot(answers, "_on_idle"), Slot(answers, "_outlet")
    _answering_ready, _answering_running = Slot(answers, "_ready"), Slot(answers, "_running")
    _answering_waiting = Slot(answers, "_waiting")
    _answering_handler, _answering_refusing = Slot(answers, "handler"), Slot(answers, "refusing")
    _Incoming = incoming.Incoming
    _incoming_body, _incoming_headers = Slot(_Incoming, "body"), Slot(_Incoming, "headers")
    _incoming_method, _incoming_missed = Slot(_Incoming, "method"), Slot(_Incoming, "missed")
    _incoming_stream, _incoming_topic = Slot(_Incoming, "stream"), Slot(_Incoming, "topic")
    _no_headers, _never = incoming.NO_HEADERS, handling.NEVER
    _coroutine_of = ctrl_c.coroutine_of
    _encoded_once, _request_lines = calls._encoded_once, calls.request_lines
    _timeout_line = calls.timeout_line
    _read_headers, _read_timeout, _user_headers = wire.read_headers, wire.read_timeout, wire.user_headers
    _METHOD, _REFUSED, _STATUS, _TIMEOUT = wire.METHOD, wire.REFUSED, wire.STATUS, wire.TIMEOUT
    _NO_ORDINARY_REQUEST = (wire.SUBSCRIBE, wire.STREAM, wire.ITEM)
    _REQUEST_CODE = _OPCODE.REQUEST
    _PART_LEN, _ROW = wire.PART_LEN, hub._ROW
    _hub_ampe, _hub_chnls = Slot(hub.Hub, "ampe"), Slot(hub.Hub, "chnls")
    _hub_links = Slot(hub.Hub, "links")
    return 0


# ---------------------------------------------------------------------- out

cdef bint posted_in_turn(outlet, int opcode, ident, bytes lines, bytes body) except -1:
    """Whether `send` would not have waited, for certain, and it is posted; else nothing has changed."""
    if not _outlet_room.is_in(outlet) or _outlet_senders.get(outlet):
        return False
    cdef long long room = _outlet_room.get(outlet)
    ampe, chnls = _outlet_ampe.get(outlet), _outlet_chnls.get(outlet)
    if (
        room < 0
        or type(ampe) is not Ampe
        or type(chnls) is not ChannelGroup
        or not (<ChannelGroup>chnls).is_here()
    ):
        return False
    # Whether the pool has one, or the engine is closing, is not asked: what is lent is given back before anybody looks,
    # and where the engine is closing the group is too, so that nothing is posted.
    cdef Message message = (<Ampe>ampe)._budget.lend()
    cdef BinaryHeader header = message._header
    header.proto_byte = opcode
    header.channel_number = _outlet_number.get(outlet)
    header.message_id = ident
    message._text = lines
    message._body = body
    if not (<ChannelGroup>chnls)._poster.posted(message, True):
        give_back(ampe, message)
        return False
    _outlet_room.set(outlet, room - _HEADER_LEN - header.text_headers_len - header.body_len)
    return True


def Outlet_post_in_turn(self, opcode, ident, lines, body):
    find_peers()
    if type(lines) is bytes and type(body) is bytes and posted_in_turn(self, opcode, ident, lines, body):
        return True
    return Outlet_post_in_turn.__wrapped__(self, opcode, ident, lines, body)


cdef int give_back(ampe, Message message) except -1:
    if type(ampe) is not Ampe or not (<Ampe>ampe)._budget.takes_back(message):
        from pytofu.values.holder import Holder

        ampe.put(Holder(message))
    return 0


# ---------------------------------------------------------------------- in

def Hub__give_row(self, message):
    cdef int row
    cdef bint taken
    cdef FairMailBox mailbox
    find_peers()
    if not _hub_links.is_in(self):
        return Hub__give_row.__wrapped__(self, message)
    chnls, ampe = _hub_chnls.get(self), _hub_ampe.get(self)
    if type(chnls) is not ChannelGroup or type(ampe) is not Ampe:
        return Hub__give_row.__wrapped__(self, message)
    cdef dict links = _hub_links.get(self)
    row, mailbox = _ROW, (<ChannelGroup>chnls)._mailbox
    while message is not None and row:
        try:
            taken = type(message) is Message and is_taken(links, message)
        except:
            give_back(ampe, message)
            raise
        if taken:
            give_back(ampe, message)
        else:
            self._give(message)
        row -= 1
        if not row:
            return False
        if (<ChannelGroup>chnls).is_here() and mailbox.taken < mailbox.look_at and mailbox.turns:
            message = mailbox.next()
        else:
            message = chnls.receive_nowait()
    return True


cdef bint is_taken(dict links, Message message) except -1:
    """Whether it is a whole request, or a whole answer, for a link, which has taken it; else nothing has changed."""
    if message._released or type(message._header) is not BinaryHeader:
        return False
    cdef BinaryHeader header = message._header
    if type(header.proto_byte) is not int:
        return False
    cdef int proto = header.proto_byte  # not from the engine, no `more`
    if proto != _REQUEST and proto != _RESPONSE:
        return False
    link = links.get(header.channel_number)
    if link is None or not _link_asking.is_in(link):
        return False
    cdef dict asked_for
    headers = _read_headers(message) if header.text_headers_len else _no_headers
    if proto == _REQUEST:
        if not is_started(_link_answering.get(link), message, header.message_id, headers):
            return False
    else:
        asking = _link_asking.get(link)
        if not _asking_open.is_in(asking):
            return False
        asked_for = _asking_open.get(asking)
        asked = asked_for.get(header.message_id)
        if type(asked) is not Call or _REFUSED in headers or not (<Call>asked).takes(message, headers):
            return False
    if _link_heard.get(link) is not None:
        _link_heard.set(link, _current_time())
    return True


cdef incoming_of(body, headers, method, stream):
    incoming = PyType_GenericAlloc(<PyTypeObject*>_Incoming, 0)
    _incoming_body.set(incoming, body)
    _incoming_headers.set(incoming, headers)
    _incoming_method.set(incoming, method)
    _incoming_stream.set(incoming, stream)
    _incoming_topic.set(incoming, "")
    _incoming_missed.set(incoming, 0)
    return incoming


# ---------------------------------------------------------------------- calls

@cython.freelist(64)
cdef class Call:
    cdef public object _assembly
    cdef public object _budget
    cdef public object _caller
    cdef public object _headers
    cdef public object answer
    cdef public object deadline
    cdef public object error
    cdef public object ident

    def __init__(self, budget, ident, deadline):
        find_peers()
        Call._pure.__init__(self, budget, ident, deadline)

    def arrived(self, message, headers):
        if (
            type(message) is not Message
            or (<Message>message)._released
            or (<Message>message)._header.proto_byte & 32
            or not self.takes(message, headers)
        ):
            Call._pure.arrived(self, message, headers)

    cdef bint takes(self, Message message, headers) except -1:
        """Whether it is all of the answer, and no error; else nothing has changed."""
        if self._assembly is not None or self.answer is not None or self.error is not None or _STATUS in headers:
            return False
        body = message._body if isinstance(message._body, bytes) else bytes(message._body)
        self.answer = incoming_of(body, _user_headers(headers) if headers else {}, "", None)
        if self._caller is not None:
            _reschedule(self._caller)
            self._caller = None
        return True

    def puts_to_sleep(self, caller):
        if self.answer is not None or self.error is not None:
            return False
        self._caller = caller
        return True


def Asking__ask_at_once(self, method, headers, body):
    find_peers()
    if not _asking_slots.is_in(self):
        return Asking__ask_at_once.__wrapped__(self, method, headers, body)
    cdef dict asked_for = _asking_open.get(self)
    cdef long long slots = _asking_slots.get(self)
    if not slots or _asking_leaving.get(self) or type(body) is not bytes or len(<bytes>body) > _PART_LEN:
        return None
    if type(method) is not str or headers is not _no_headers:
        lines = _request_lines(method, headers)
    else:
        lines = _encoded_once(_METHOD, method) if method else b""
    deadline = _effective_deadline()
    cdef double until = deadline
    if until == -INFINITY:
        return None
    if until != INFINITY and _asking_features.get(self) is not None:
        lines += _timeout_line(deadline)
    ident, outlet = _asking_next_id.get(self), _asking_outlet.get(self)
    if not posted_in_turn(outlet, _REQUEST, ident, lines, body):
        if not outlet.post_in_turn(_REQUEST_CODE, ident, lines, body):
            return None
    cdef Call call = Call.__new__(Call)
    call._budget = _asking_budget.get(self)
    call._headers = _no_headers
    call.deadline = deadline
    call.ident = ident
    _asking_slots.set(self, slots - 1)
    _asking_busy.set(self, _asking_busy.get(self) + 1)
    _asking_next_id.set(self, ident + 2)
    asked_for[ident] = call
    return call


def Asking__end(self, call):
    find_peers()
    if type(call) is not Call or (<Call>call)._assembly is not None or not _asking_open.is_in(self):
        return Asking__end.__wrapped__(self, call)
    cdef dict asked_for = _asking_open.get(self)
    del asked_for[(<Call>call).ident]
    cdef long long busy = _asking_busy.get(self), slots = _asking_slots.get(self)
    if not slots and _asking_in_line.get(self):
        self._free_slot()
        return (<Call>call).answer
    _asking_busy.set(self, busy - 1)
    _asking_slots.set(self, slots + 1)
    if busy == 1:
        _asking_on_idle.get(self)()
    return (<Call>call).answer


# ---------------------------------------------------------------------- handlers

@cython.freelist(64)
cdef class Handling:
    cdef public object assembly
    cdef public object body
    cdef public object deadline
    cdef public bint given_up
    cdef public object headers
    cdef public object held
    cdef public object ident
    cdef public bint running
    cdef public object scope
    cdef public object stream

    def __init__(self, ident, headers):
        Handling._pure.__init__(self, ident, headers)

    def is_cut_short(self):
        return self.is_over()

    cdef bint is_over(self) except -1:
        if self.deadline is _never or self.deadline == _never:
            return self.given_up
        return self.scope.cancel_called

    def start(self, handler):
        find_peers()
        if self.assembly is not None:
            return Handling._pure.start(self, handler)
        if self.is_over():
            return None
        headers = self.headers
        if headers:
            request = incoming_of(self.body, _user_headers(headers), headers.get(_METHOD, ""), self.stream)
        else:
            request = incoming_of(self.body, _no_headers, "", self.stream)
        awaitable = handler(request)
        return awaitable if PyCoro_CheckExact(awaitable) else _coroutine_of(handler, awaitable)


cdef bint is_started(answering, Message message, ident, headers) except -1:
    """Whether it is a request that can be carried out now, and will be; else nothing has changed."""
    if not _answering_ready.is_in(answering):
        return False
    cdef dict by_id = _answering_by_id.get(answering)
    cdef set running = _answering_running.get(answering)
    handler = _answering_handler.get(answering)
    if ident in by_id or handler is None or _answering_refusing.get(answering) or len(running) >= _answering_limit.get(answering):
        return False
    if headers:
        for name in _NO_ORDINARY_REQUEST:
            if name in headers:
                return False
    cdef Handling handling = Handling.__new__(Handling)
    handling.ident = ident
    handling.headers = headers
    handling.body = message._body if isinstance(message._body, bytes) else bytes(message._body)
    handling.deadline = _never
    if headers and _TIMEOUT in headers:
        handling.deadline = _current_time() + _read_timeout(headers[_TIMEOUT])
    handling.running = True
    by_id[ident] = handling
    running.add(handling)
    _answering_ready.get(answering).append(handling)
    if not _answering_coming.get(answering):
        answering._call_task(handler, 1)
    return True


def Answering__next(self, handler, helpers):
    find_peers()
    if not _answering_ready.is_in(self):
        return Answering__next.__wrapped__(self, handler, helpers)
    ready = _answering_ready.get(self)
    if not ready:
        return None
    try:
        if PyContext_CopyCurrent() != _answering_context.get(self):
            return None
    except Exception:  # of a value that cannot be compared
        return None
    handling = ready.popleft()
    while _answering_coming.get(self) < helpers and _answering_coming.get(self) < len(ready):
        self._call_task(handler)
    return handling


def Answering__is_answered(self, handling, handler, lines, body):
    find_peers()
    if (
        type(handling) is not Handling
        or not _answering_waiting.is_in(self)
        or (<Handling>handling).stream is not None
        or (<Handling>handling).assembly is not None
        or type(lines) is not bytes
        or type(body) is not bytes
        or len(<bytes>body) > _PART_LEN
        or _answering_waiting.get(self)
        or (<Handling>handling).is_over()
        or not posted_in_turn(_answering_outlet.get(self), _RESPONSE, (<Handling>handling).ident, lines, body)
    ):
        return Answering__is_answered.__wrapped__(self, handling, handler, lines, body)
    cdef dict by_id = _answering_by_id.get(self)
    cdef set running = _answering_running.get(self)
    (<Handling>handling).scope = None
    running.discard(handling)
    if by_id.get((<Handling>handling).ident) is handling:
        del by_id[(<Handling>handling).ident]
    if not running:
        _answering_on_idle.get(self)()
    return True


def result_of(reply, longest):
    if type(reply) is bytes and len(<bytes>reply) <= longest:
        return b"", reply
    return result_of.__wrapped__(reply, longest)
