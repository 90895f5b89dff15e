# Slots of classes that stay Python's, read where they lie: asking for an attribute by its name takes much longer.

from types import MemberDescriptorType

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF

cdef extern from "Python.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member
    bint PyObject_TypeCheck(object thing, PyTypeObject* kind)


@cython.final
cdef class Slot:
    """A slot in all objects of a class, and of those that inherit from it."""

    cdef object owner
    cdef Py_ssize_t at

    def __init__(self, owner, name):
        slot = vars(owner)[name]
        if type(slot) is not MemberDescriptorType:
            raise TypeError(f"{owner.__name__}.{name} is no slot")
        self.owner = owner
        self.at = (<PyMemberDescrObject*>slot).d_member.offset

    cdef inline bint is_in(self, thing) noexcept:
        return PyObject_TypeCheck(thing, <PyTypeObject*>self.owner)

    cdef inline get(self, thing):
        """What it holds, None if nothing; only of what it `is_in`."""
        cdef PyObject* value = (<PyObject**>(<char*><PyObject*>thing + self.at))[0]
        return None if value == NULL else <object>value

    cdef inline void set(self, thing, value) noexcept:
        """Only of what it `is_in`."""
        cdef PyObject** place = <PyObject**>(<char*><PyObject*>thing + self.at)
        cdef PyObject* former = place[0]
        Py_INCREF(value)
        place[0] = <PyObject*>value
        Py_XDECREF(former)


# Of a holder; of a channel, its link and its conversation; of a group, its traffic and its reactor.
cdef Slot _held = None
cdef Slot _accepted, _account, _alarm, _backed_up, _backlog, _brings_much, _conversation, _full
cdef Slot _group, _has_work, _high_water, _inbox, _is_listed, _is_open, _link, _queued, _senders, _short
cdef Slot _writes_after_reading
cdef Slot _descriptor, _end_of_pass, _finished, _returned
cdef Slot _conversation_number, _ending, _frame_began, _full_since, _paused, _post_rules, _reader
cdef Slot _receive_rules, _refused, _state, _writer
cdef Slot _leads, _mailbox, _queues, _traffic, _turn, _with_work
cdef Slot _again, _bell, _epoll, _left, _sources, _turns
cdef dict _passes, _reactor_module
cdef object _IoChannel, _Pass, _SocketLink_receive, _SocketLink_send, _current_time
cdef object _FINISHING, _OPEN, _READABLE, _WRITABLE
cdef object _wrote_protected  # of the writer; None while there is no engine


cdef int find_slots() except -1:
    """Once; not before all of pytofu has been imported."""
    global _held
    global _accepted, _account, _alarm, _backed_up, _backlog, _brings_much, _conversation, _full
    global _group, _has_work, _high_water, _inbox, _is_listed, _is_open, _link, _queued, _senders, _short
    global _writes_after_reading
    global _descriptor, _end_of_pass, _finished, _returned
    global _conversation_number, _ending, _frame_began, _full_since, _paused, _post_rules, _reader
    global _receive_rules, _refused, _state, _writer
    global _leads, _mailbox, _queues, _traffic, _turn, _with_work
    global _again, _bell, _epoll, _left, _sources, _turns, _reactor_module
    global _IoChannel, _Pass, _SocketLink_receive, _SocketLink_send, _current_time, _passes
    global _FINISHING, _OPEN, _READABLE, _WRITABLE, _wrote_protected
    if _held is not None:
        return 0
    from trio import current_time as _current_time
    from trio.lowlevel import enable_ki_protection

    from pytofu.engine.context import Channel
    from pytofu.engine.deadlines import Timed
    from pytofu.engine.group import Group
    from pytofu.engine.io_channel import IoChannel as _IoChannel
    from pytofu.engine.opening import OpeningChannel
    from pytofu.engine import passes, reactor
    from pytofu.engine.sending import SendingChannel
    from pytofu.links import sockets
    from pytofu.links.base import Wait
    from pytofu.protocol.conversation import Conversation
    from pytofu.protocol.lifecycle import State
    from pytofu.values.holder import Holder

    _alarm = Slot(Timed, "alarm")
    _group, _has_work = Slot(Channel, "group"), Slot(Channel, "has_work")
    _is_listed = Slot(Channel, "is_listed")
    _conversation, _link = Slot(OpeningChannel, "conversation"), Slot(OpeningChannel, "_link")
    _is_open = Slot(OpeningChannel, "_open")
    _high_water, _senders = Slot(SendingChannel, "_high_water"), Slot(SendingChannel, "_senders")
    _accepted, _account = Slot(_IoChannel, "_accepted"), Slot(_IoChannel, "account")
    _backed_up, _backlog = Slot(_IoChannel, "_backed_up"), Slot(_IoChannel, "_backlog")
    _brings_much, _full = Slot(_IoChannel, "brings_much"), Slot(_IoChannel, "_full")
    _inbox, _queued, _short = Slot(_IoChannel, "_inbox"), Slot(_IoChannel, "queued"), Slot(_IoChannel, "_short")
    _writes_after_reading = Slot(_IoChannel, "_writes_after_reading")
    _descriptor = Slot(sockets.SocketLink, "_descriptor")
    _SocketLink_receive, _SocketLink_send = sockets.SocketLink.receive, sockets.SocketLink.send
    _finished, _returned = Slot(SendingChannel, "_finished"), Slot(Conversation, "_returned")
    _conversation_number, _ending = Slot(Conversation, "number"), Slot(Conversation, "ending")
    _frame_began, _full_since = Slot(Conversation, "frame_began"), Slot(Conversation, "_full_since")
    _paused, _post_rules = Slot(Conversation, "paused"), Slot(Conversation, "post_rules")
    _reader, _receive_rules = Slot(Conversation, "reader"), Slot(Conversation, "_receive_rules")
    _refused, _state = Slot(Conversation, "_refused"), Slot(Conversation, "state")
    _writer = Slot(Conversation, "writer")
    _leads, _mailbox = Slot(Group, "_receiver_leads"), Slot(Group, "mailbox")
    _queues, _traffic = Slot(Group, "queues"), Slot(Group, "traffic")
    _turn, _with_work = Slot(Group, "_turn"), Slot(Group, "_with_work")
    _end_of_pass = Slot(passes.Pass, "_end")
    _reactor_module, polling = vars(reactor), reactor.PollingReactor
    _again, _bell, _left = Slot(polling, "_again"), Slot(polling, "_bell"), Slot(polling, "_left")
    _sources, _turns = Slot(polling, "_sources"), Slot(polling, "_turns")
    _epoll = Slot(reactor.EpollReactor, "_epoll")
    _wrote_protected = enable_ki_protection(FrameWriter._pure.wrote)
    _Pass, _passes, _FINISHING, _OPEN = passes.Pass, vars(passes), State.FINISHING, State.OPEN
    _READABLE, _WRITABLE = Wait.READABLE, Wait.WRITABLE
    _held = Slot(Holder, "_value")  # last: whoever finds it finds all
    return 0
