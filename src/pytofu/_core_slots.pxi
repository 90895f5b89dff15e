# Slots of classes that stay Python's, read where they lie: asking for an attribute by its name takes much longer.

from types import MemberDescriptorType

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF

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

    cdef bint is_in(self, thing) noexcept:
        return PyObject_TypeCheck(thing, <PyTypeObject*>self.owner)

    cdef get(self, thing):
        """What it holds, None if nothing; only of what it `is_in`."""
        cdef PyObject* value = (<PyObject**>(<char*><PyObject*>thing + self.at))[0]
        return None if value == NULL else <object>value

    cdef void set(self, thing, value) noexcept:
        """Only of what it `is_in`."""
        cdef PyObject** place = <PyObject**>(<char*><PyObject*>thing + self.at)
        cdef PyObject* former = place[0]
        Py_INCREF(value)
        place[0] = <PyObject*>value
        Py_XDECREF(former)


cdef Slot _held = None, _group = None, _has_work = None, _conversation = None
cdef Slot _post_rules = None, _writer = None, _high_water = None, _senders = None


cdef find_slots():
    """Not before all of pytofu has been imported."""
    global _held, _group, _has_work, _conversation, _post_rules, _writer, _high_water, _senders
    from pytofu.engine.context import Channel
    from pytofu.engine.opening import OpeningChannel
    from pytofu.engine.sending import SendingChannel
    from pytofu.protocol.conversation import Conversation
    from pytofu.values.holder import Holder

    _group, _has_work = Slot(Channel, "group"), Slot(Channel, "has_work")
    _conversation = Slot(OpeningChannel, "conversation")
    _high_water, _senders = Slot(SendingChannel, "_high_water"), Slot(SendingChannel, "_senders")
    _post_rules, _writer = Slot(Conversation, "post_rules"), Slot(Conversation, "writer")
    _held = Slot(Holder, "_value")
