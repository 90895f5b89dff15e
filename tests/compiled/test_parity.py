"""The compiled twins do what the pure classes do: the same calls and bytes to both, and the same
values, errors, texts and pickles of them.
"""

import inspect
import pickle
import re
from typing import Any, Final, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytofu.values.header import BinaryHeader
from tests.compiled import worlds
from tests.compiled.twins import INSIDE, TWINS, Twin, starts, steps
from tests.compiled.worlds import Step, World, history, plain

PLACES: Final = {twin.place for twin in TWINS}
each_twin = pytest.mark.parametrize("twin", TWINS, ids=[twin.place for twin in TWINS])


def found(world: World, place: str) -> Any:
    with world.active():
        return world.find(place)


@each_twin
@pytest.mark.timeout(60)
@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_calls_come_to_the_same(
    twin: Twin, compiled: World, pure: World, data: st.DataObject
) -> None:
    cls = found(pure, twin.place)
    first = data.draw(starts(cls), "made with")
    then = data.draw(steps(twin, cls), "then")
    assert history(compiled, twin.place, first, then) == history(pure, twin.place, first, then)


@each_twin
def test_pickles_go_from_one_to_the_other(twin: Twin, compiled: World, pure: World) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickles = []
        for world in (compiled, pure):
            with world.active():
                pickles.append(pickle.dumps(world.find(twin.place)(), protocol))
        assert pickles[0] == pickles[1]


def test_ids_that_messages_are_given_are_the_same(compiled: World, pure: World) -> None:
    """Though each world counts them for itself."""
    steps = [
        Step("set", "channel_number", (1,)),
        Step("call", "check_and_prepare"),
        Step("call", "clone"),
    ]
    place = "values.message.Message"
    with pure.active():
        pure.find("values.message.next_message_id")()
    ours = history(compiled, place, (), steps)
    assert ours == history(pure, place, (), steps)
    assert ours != history(pure, place, (), steps[:1])


def test_a_difference_is_found(pure: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What compares the two is not blind: here one of them is changed."""
    other = worlds.pure()
    place, steps = "values.header.BinaryHeader", [Step("call", "to_bytes"), Step("repr")]
    assert history(pure, place, (1,), steps) == history(other, place, (1,), steps)
    changed = found(other, place)
    assert changed is not found(pure, place)
    assert changed is not BinaryHeader
    for name, wrong in [
        ("to_bytes", lambda self: bytes(16)),
        ("__repr__", lambda self: "<BinaryHeader>"),
        ("proto", property(lambda self: None)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(changed, name, wrong)
            assert history(pure, place, (1,), steps) != history(other, place, (1,), steps)


# ---------------------------------------------------------------------- what they say of themselves


def described(cls: type) -> dict[str, Any]:
    """All that help(), inspect and type checkers at run time can know, without what is C's own."""
    told: dict[str, Any] = {
        "class": (cls.__module__, cls.__qualname__, cls.__name__, repr(cls), cls.__doc__),
        "bases": [base.__qualname__ for base in cls.__mro__],
        "signature": str(inspect.signature(cls)),
        "slots": cls.__slots__,  # type: ignore[attr-defined]
        "weak references": cls.__weakrefoffset__ != 0,
        "a __dict__": cls.__dictoffset__ != 0,
        "match": getattr(cls, "__match_args__", None),
        "abstract": inspect.isabstract(cls),
        "not hashable": cls.__hash__ is None,
    }
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        if name.startswith("_") or name in told["slots"]:
            continue  # of a slot nothing is said
        value = getattr(cls, name)
        told[name] = [type(member) if isinstance(member, classmethod | staticmethod) else None]
        if inspect.isdatadescriptor(member):
            told[name] += ["data", inspect.cleandoc(value.__doc__ or "")]
        elif callable(value):
            told[name] += [str(inspect.signature(value)), value.__doc__]
            told[name] += [value.__module__, value.__qualname__, repr(get_type_hints(value))]
        else:
            told[name] += [plain(value)]
    return told


@each_twin
def test_they_say_the_same_of_themselves(twin: Twin, compiled: World, pure: World) -> None:
    ours, theirs = found(compiled, twin.place), found(pure, twin.place)
    assert ours is not theirs
    assert described(ours) == described(theirs)


@each_twin
def test_they_can_be_subclassed(twin: Twin, compiled: World, pure: World) -> None:
    told = []
    for world in (compiled, pure):
        with world.active():
            cls = world.find(twin.place)
            own = type("Own", (cls,), {"more": 1, "__slots__": ("note",), "__module__": __name__})
            one = own()
            one.note = 2
            other = type("Loose", (cls,), {"__module__": __name__})()
            other.anything = 3
            told.append((isinstance(one, cls), one.more, one.note, vars(other), repr(one)))
    assert told[0] == told[1]


def test_every_twin_is_compared(pure: World) -> None:
    chosen = {
        ".".join((*file.relative_to(worlds.ACTUAL).with_suffix("").parts, name))
        for file in worlds.ACTUAL.rglob("*.py")
        for name in re.findall(r"^    (\w+) = twin\(\1\)$", file.read_text("utf-8"), re.MULTILINE)
    }
    assert {place for place in chosen if inspect.isclass(found(pure, place))} == PLACES | INSIDE
