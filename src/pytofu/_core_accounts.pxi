from collections import OrderedDict, deque

# Accounts: what is counted for each message. All else of the classes is the pure ones' (`twin`).

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()


cdef class Message  # which it lends
cdef class _Loans


cdef class Budget:
    cdef public object _dry
    cdef public object _forgotten
    cdef public object _loans
    cdef public object _token
    cdef public object _waiting
    cdef public set _warned
    cdef public object _watching
    cdef public long long bytes_held
    cdef public long long bytes_begun
    cdef public long long bytes_unfinished
    cdef public long long eased
    cdef public long long free
    cdef public object initial
    cdef public long long max_bytes
    cdef public long long maximum
    cdef public long long share
    cdef public long long share_bytes
    cdef public object spells
    cdef public unsigned long long thread
    cdef public long long watchers

    def __init__(self, initial, maximum, max_bytes, share):
        self.initial = initial
        self.maximum = max(initial, maximum)
        self.free = initial
        self.share = max(1, int(initial * share))
        self.share_bytes = max(1, int(max_bytes * share))
        self.spells = 0
        self.max_bytes = max_bytes
        self.thread = PyThread_get_thread_ident()
        self._dry = self._watching = False
        self._waiting = OrderedDict()
        self._warned = set()
        self._loans = _Loans(self)
        self._forgotten = deque()

    def get(self, strategy):
        return self.lend() if self.free > 0 else Budget._pure.get(self, strategy)

    cdef Message lend(self):
        cdef Message message = new_message()
        self.free -= 1
        message._account = self._loans
        return message

    def put(self, message):
        if type(message) is not Message or not self.takes_back(message):
            Budget._pure.put(self, message)

    cdef bint takes_back(self, Message message) except -1:
        """Whether it came from a pool, and is taken back; else nothing has changed."""
        if message._account is None or not message.goes_quietly():
            return False
        message.give_up()
        return True


cdef bint counts_here(Budget budget) noexcept:
    """Whether this thread is the engine's: in others nothing is counted."""
    return PyThread_get_thread_ident() == budget.thread


cdef class _Loans:
    cdef public Budget _budget

    # As the base class in Python has them.
    budget = None
    closed = False
    number = 0

    def __init__(self, Budget budget not None):
        self._budget = budget

    def credit(self, cost):
        self.count_back()

    cdef int count_back(self) except -1:
        cdef Budget budget = self._budget
        if not counts_here(budget):
            budget.credit_later(self, 0)
            return 0
        if budget.free < budget.maximum:
            budget.free += 1
        if budget.watchers:
            budget.relieve()
        return 0


cdef class ChannelAccount:
    cdef public Budget budget
    cdef public object _on_room
    cdef public object _waiting
    cdef public object _queued
    cdef public long long _received
    cdef public bint closed
    cdef public long long cost
    cdef public long long held
    cdef public object number
    cdef public object spell
    cdef public long long begun
    cdef public long long unfinished

    def __init__(self, Budget budget not None, on_room):
        self.budget = budget
        self.number = self.spell = 0
        self._on_room = on_room
        self._waiting = self._queued = False

    @property
    def room(self):
        """How many messages the channel may deliver now."""
        return self.room_now()

    cdef long long room_now(self):
        cdef Budget budget = self.budget
        cdef long long room = 0
        if budget.free > 0 and budget.bytes_held < budget.max_bytes:
            room = min(budget.share - self.held, budget.free)
            if room and self.cost < budget.share_bytes:
                return room
        return 0 if self.held else 1

    def charge(self, count, received):
        self.count(count, received)

    cdef int count(self, long long count, long long received) except -1:
        cdef Budget budget = self.budget
        cdef long long cost = received - self._received
        self._received = received
        self.held += count
        self.cost += cost
        budget.free -= count
        budget.bytes_held += cost
        return 0

    def credit(self, cost):
        self.count_back(cost)

    cdef int count_back(self, long long cost) except -1:
        cdef Budget budget = self.budget
        if not counts_here(budget):
            budget.credit_later(self, cost)
            return 0
        self.held -= 1
        self.cost -= cost
        if budget.free < budget.maximum:
            budget.free += 1
        budget.bytes_held -= cost
        if budget.watchers:
            budget.relieve()
            if self._waiting:
                budget.eased += 1
                if not self.held or self._has_half_its_share():
                    self._look_for_room()
        return 0
