# What programs call for each message. All else of the classes is the pure ones', and what is wrong is theirs to say.

cdef class Belonging:
    cdef public unsigned long long _thread
    cdef object __weakref__

    def __init__(self):
        Belonging._pure.__init__(self)

    cdef bint is_here(self) noexcept:
        # Nowhere as long as it has not been made: then nothing of what it has is None.
        return PyThread_get_thread_ident() == self._thread


# Of what runs in Trio, of a task, its cancellation and its runner.
cdef object _running = None
cdef Slot _cancel_points, _cancel_status, _cancelled, _ki_pending, _main_task, _runner
# Trio's checkpoint that does nothing but to look, if it is the one that is known here.
cdef object _light = None
cdef frozenset _LOOKS_AT = frozenset(
    ("current_task", "_cancel_status", "effectively_cancelled", "_runner", "main_task")
    + ("ki_pending", "_core", "checkpoint", "AssertionError", "_cancel_points")
)


cdef int find_trio() except -1:
    """Nothing is found in a Trio that looks at something else: there its checkpoint is asked, as in Python."""
    global _running, _light
    global _cancel_points, _cancel_status, _cancelled, _ki_pending, _main_task, _runner
    from trio.lowlevel import checkpoint_if_cancelled

    if _light is not None:
        return 0
    try:
        if _LOOKS_AT != set(checkpoint_if_cancelled.__code__.co_names):
            return 0
        names = checkpoint_if_cancelled.__globals__
        task, status, runner = names["Task"], names["CancelStatus"], names["Runner"]
        _cancel_points, _cancel_status = Slot(task, "_cancel_points"), Slot(task, "_cancel_status")
        _runner, _cancelled = Slot(task, "_runner"), Slot(status, "effectively_cancelled")
        _ki_pending, _main_task = Slot(runner, "ki_pending"), Slot(runner, "main_task")
        _running = names["GLOBAL_RUN_CONTEXT"]
    except (AttributeError, KeyError, TypeError):
        return 0
    _light = checkpoint_if_cancelled
    return 0


cdef task_to_go_on(dict running):
    """The task that runs, if a light checkpoint would only be counted now; else None."""
    task = running.get("task")
    if not _cancel_status.is_in(task):
        return None
    status, runner = _cancel_status.get(task), _runner.get(task)
    if not _cancelled.is_in(status) or _cancelled.get(status) is not False or not _main_task.is_in(runner):
        return None
    if _main_task.get(runner) is task and _ki_pending.get(runner) is not False:
        return None
    return task


cdef class ChannelGroup(Belonging):
    cdef public object _group
    cdef public FairMailBox _mailbox
    cdef public object _next_checkpoint
    cdef public Poster _poster
    cdef public object _token

    cdef object _checkpoints
    cdef dict _running

    def __init__(self, group):
        find_trio()
        ChannelGroup._pure.__init__(self, group)
        self._checkpoints = self._next_checkpoint.__self__  # the iterator
        self._running = None if _running is None else _running.__dict__  # of its thread

    def post(self, holder):
        if self.is_here():
            message = _held.get(holder) if _held.is_in(holder) else None
            if type(message) is Message and self._poster.posted(message, True):
                _held.set(holder, None)
                return (<Message>message)._header
        return ChannelGroup._pure.post(self, holder)

    def _before_sending(self, holder):
        message = _held.get(holder) if self.is_here() and _held.is_in(holder) else None
        if type(message) is not Message:
            return ChannelGroup._pure._before_sending(self, holder)
        checkpoint = next(self._checkpoints)
        if (
            checkpoint is _light
            and (task := task_to_go_on(self._running)) is not None
            and self._poster.posted(message, False)
        ):
            _held.set(holder, None)
            _cancel_points.set(task, _cancel_points.get(task) + 1)
            return (<Message>message)._header
        return checkpoint

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


cdef object _STRATEGY = AllocationStrategy


cdef class Ampe(Belonging):
    cdef public Budget _budget
    cdef public object _engine

    def __init__(self, engine):
        find_slots()
        find_borrowing()
        Ampe._pure.__init__(self, engine)

    def get(self, strategy=AllocationStrategy.ALWAYS):
        return self._budget.lend() if self.can_lend(strategy) else Ampe._pure.get(self, strategy)

    cdef bint can_lend(self, strategy) except -1:
        return (
            type(strategy) is _STRATEGY
            and self.is_here()
            and self._budget.free > 0
            and _engine_closing.is_in(self._engine)
            and not _engine_closing.get(self._engine)
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


# ---------------------------------------------------------------------- borrowing

cdef Slot _ampe = None, _engine_closing = None, _strategy = None


cdef int find_borrowing() except -1:
    global _ampe, _engine_closing, _strategy
    if _strategy is not None:
        return 0
    from pytofu.engine.engine import Engine
    from pytofu.public.borrowing import borrowed_message

    _engine_closing = Slot(Engine, "closing")
    _ampe, _strategy = Slot(borrowed_message, "_ampe"), Slot(borrowed_message, "_strategy")
    return 0


def borrowed_message___enter__(self):
    if _ampe is not None and _ampe.is_in(self) and _held.get(self) is None:
        ampe = _ampe.get(self)
        if type(ampe) is Ampe and (<Ampe>ampe).can_lend(_strategy.get(self)):
            _held.set(self, (<Ampe>ampe)._budget.lend())
            return self
    return borrowed_message___enter__.__wrapped__(self)


def borrowed_message___exit__(self, exc_type, exc, traceback):
    if _ampe is not None and _ampe.is_in(self):
        ampe = _ampe.get(self)
        if _held.get(self) is None or (type(ampe) is Ampe and (<Ampe>ampe).took_back(self)):
            return None
    return borrowed_message___exit__.__wrapped__(self, exc_type, exc, traceback)
