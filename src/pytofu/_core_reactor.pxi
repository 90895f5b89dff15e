# The reactor: sources that were found ready, served in turn. What was left, or asked for, is the pure method's.

cdef enum:
    _EVENT_WRITABLE = 4  # all others are a reason to read


def PollingReactor_serve(self):
    find_slots()
    cdef list ready
    if _epoll.is_in(self):
        ready = _epoll.get(self).poll(0, _reactor_module["_MOST_EVENTS"])
    else:
        ready = self._poll()
    if _left.get(self) or _again.get(self):
        return self._serve(ready)
    cdef Py_ssize_t count = len(ready)
    if not count:
        return None
    now = _current_time()
    cdef dict sources = _sources.get(self)
    if count > 1:
        return serve_many(self, ready, sources, now)
    source = sources.get(ready[0][0])
    if source is not None:
        serve_one(source, ready[0][1], now)
    elif ready[0][0] == _bell.get(self)[0]:
        self._answer_bell()


cdef serve_many(reactor, list ready, dict sources, now):
    cdef Py_ssize_t at = 0, others = 0
    this, turns = _Pass(), _turns.get(reactor)
    turns.begin(len(ready))
    for descriptor, events in ready:
        at += 1
        source = sources.get(descriptor)
        if source is None:  # the bell, or closed by one that was served before it
            if descriptor == _bell.get(reactor)[0]:
                reactor._answer_bell()
        elif not brings_much(source):
            others += 1
            serve_one(source, events, now)
        else:
            turns.places += others
            others = 0
            if turns.has_one(source):
                serve_one(source, events, now)
            else:
                _left.get(reactor)[descriptor] = events
        if is_over(this):
            _left.get(reactor).update(ready[at:])
            break
    turns.places += others


cdef bint brings_much(source) except -1:
    return (_brings_much.get(source) if type(source) is _IoChannel else source.brings_much) is True


cdef int serve_one(source, int events, now) except -1:
    try:
        if events & _EVENT_WRITABLE:
            source.on_writable(now)
        if events & ~_EVENT_WRITABLE:
            if not was_read(source, now):
                source.on_readable(now)
    except Exception:
        source.on_defect()
    return 0
