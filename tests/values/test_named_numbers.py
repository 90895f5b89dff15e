"""How the numbers of the wire are shown (values/named_numbers.py)."""

import json
import pickle
from enum import IntEnum

import pytest

import pytofu
from pytofu import AmpeError, AmpeStatus, OpCode

PUBLIC = [
    kind
    for kind in map(pytofu.__dict__.get, pytofu.__all__)
    if isinstance(kind, type) and issubclass(kind, IntEnum)
]
MEMBERS = [member for kind in PUBLIC for member in kind]


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_shown_by_name(member: IntEnum) -> None:
    assert str(member) == member.name
    assert f"{member}" == f"{member:s}" == "%s" % member == member.name  # noqa: UP031
    assert f"{member:>40}" == f"{member.name:>40}"


@pytest.mark.parametrize("member", MEMBERS, ids=repr)
def test_still_a_number_where_one_is_asked_for(member: IntEnum) -> None:
    number = member.value
    assert f"{member:d}" == f"{number:d}"
    assert f"{member:#04x}" == f"{number:#04x}"
    assert "%d" % member == f"{number}"  # noqa: UP031
    assert json.dumps([member, {"key": member}]) == json.dumps([number, {"key": number}])
    assert member == number
    assert hash(member) == hash(number)
    assert pickle.loads(pickle.dumps(member)) is member


def test_all_of_them_are_looked_at() -> None:
    assert {AmpeStatus, AmpeError, OpCode} <= set(PUBLIC)
    assert repr(AmpeStatus.COMMUNICATION_FAILED) == "<AmpeStatus.COMMUNICATION_FAILED: 18>"
