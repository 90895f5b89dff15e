"""The classes that have a compiled twin, and what can be done to them at random.

A class that gets a twin is added to TWINS, and that is all: its members, and how many arguments
they take, are read from the pure one.
"""

import inspect
from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.compiled.worlds import HOW, SELF, Make, Step


@attrs.frozen
class Twin:
    """Where the class is, and members that are not called at random, with the reason beside it."""

    place: str
    left_out: frozenset[str] = frozenset()


TWINS: Final = [
    Twin("values.header.BinaryHeader"),
    Twin("values.message.Message"),
    Twin("values.text_headers.TextHeaders"),
]

INSIDE: Final = frozenset(
    {
        "engine.accounts.Budget",
        "engine.accounts.ChannelAccount",
        "engine.accounts._Loans",
        "engine.fair_mailbox.FairMailBox",
        "engine.observer.Traffic",
        "engine.posting.Poster",
        "engine.queues.SendQueues",
        "peers.calls.Call",
        "peers.handling.Handling",
        "protocol.framing.FrameReader",
        "protocol.framing.FrameWriter",
        "public.ampe.Ampe",
        "public.belonging.Belonging",
        "public.channel_group.ChannelGroup",
    }
)
"""Twins that no program ever calls: what the engine does to them is compared, in test_inside.py and
test_fuzzed_frames.py, and not what anybody could. Their numbers are C's."""

# ---------------------------------------------------------------------- arguments

_EDGES: Final = [-1, 0, 1, 255, 256, 65534, 65535, 65536, 2**63, 2**64 - 1, 2**64, 10**30]
_NUMBERS: Final = st.sampled_from(_EDGES) | st.integers(0, 255) | st.integers()
# Sixteen bytes are a header: its third has the opcode, its last two pairs the lengths.
_FRAMES: Final = st.builds(
    lambda start, opcode, rest, text, body, behind: (
        start + bytes([opcode]) + rest + bytes([0, text, 0, body]) + behind
    ),
    *(st.binary(min_size=2, max_size=2), st.integers(0, 255), st.binary(min_size=9, max_size=9)),
    *(st.integers(0, 20), st.integers(0, 20), st.binary(max_size=48)),
)
_BYTES: Final = st.binary(max_size=20) | _FRAMES
_THINGS: Final = st.one_of(
    st.builds(
        lambda kind, data: Make(kind, (data,)), st.sampled_from(["bytearray", "memoryview"]), _BYTES
    ),
    st.builds(lambda code: Make("values.header.OpCode", (code,)), st.integers(0, 9)),
    st.builds(lambda code: Make("values.status.AmpeStatus", (code,)), st.integers(0, 9)),
    st.builds(
        lambda code, *flags: Make("values.header.ProtoFields", (code, *flags)),
        *(st.integers(0, 9), st.integers(0, 1), st.integers(0, 1), st.booleans(), st.booleans()),
    ),
    st.sampled_from([Make(twin.place) for twin in TWINS]),
)
_OTHERS: Final = st.sampled_from([None, True, False, 1.0, "", "text", "7", (), [1]])
# What is often right, and now and then is not. What is stored is never the object itself: to print
# or to pickle that never ends.
STORED: Final = _NUMBERS | _BYTES | _THINGS | _OTHERS
ARGUMENTS: Final = STORED | st.just(SELF)


def _many(function: Any, *, bound: bool) -> SearchStrategy[tuple[Any, ...]]:
    """Arguments for it: as many as it takes, or one more or less."""
    parameters = list(inspect.signature(function).parameters.values())[bound:]
    least = sum(parameter.default is inspect.Parameter.empty for parameter in parameters)
    counts = st.integers(least, len(parameters)) | st.integers(
        max(least - 1, 0), len(parameters) + 1
    )
    return counts.flatmap(lambda count: st.tuples(*[ARGUMENTS] * count))


def starts(pure: type) -> SearchStrategy[tuple[Any, ...]]:
    """What one of them is made with."""
    return _many(pure.__init__, bound=True)  # type: ignore[misc]


def steps(twin: Twin, pure: type) -> SearchStrategy[list[Step]]:
    """What is then done to it."""
    choices: list[SearchStrategy[Step]] = [
        st.builds(Step, st.sampled_from(sorted(HOW))),
        st.builds(Step, st.just("pickle"), st.just(""), st.tuples(st.integers(0, 5))),
        st.builds(Step, st.just("equal"), st.just(""), st.tuples(ARGUMENTS)),
        # An attribute that it has not.
        st.builds(Step, st.just("set"), st.just("no_such_name"), st.tuples(ARGUMENTS)),
    ]
    for name in dir(pure):
        if name.startswith("_") or name in twin.left_out:
            continue
        member = inspect.getattr_static(pure, name)
        if inspect.isdatadescriptor(member):
            choices.append(st.builds(Step, st.just("set"), st.just(name), st.tuples(STORED)))
        elif callable(function := getattr(pure, name)):
            bound = inspect.isfunction(member)
            arguments = _many(function, bound=bound)
            choices.append(st.builds(Step, st.just("call"), st.just(name), arguments))
    return st.lists(st.one_of(choices), max_size=12)
