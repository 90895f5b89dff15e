"""What is looked for among all worlds: ways out, and what stays as it is; see `test_search`."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Final

from pytofu.protocol.lifecycle import State
from pytofu.values.header import OpCode
from tests.protocol.frozen import thaw
from tests.protocol.side import Wrong
from tests.protocol.world import Search, Step, World

BY_APPLICATIONS: Final = {"post", "close", "abort", "make_room"}
NOT_BY_MESSAGES: Final = {"close", "abort", "wait", "link_fails"}
ENDS_BY_POSTING: Final = {OpCode.BYE_SIGNAL, OpCode.HELLO_REQUEST}


FROM_A_CORRECT_PEER: Final = {
    State.HELLO_AWAITED: "HELLO_REQUEST",
    State.HELLO_RECEIVED: "REQUEST BYE_REQUEST",
    State.HELLO_SENT: "HELLO_RESPONSE BYE_RESPONSE",
    State.HELLO_THEN_BYE_SENT: "HELLO_RESPONSE BYE_RESPONSE",
    State.OPEN: "REQUEST HELLO_RESPONSE BYE_REQUEST BYE_RESPONSE",
    State.BYE_SENT: "REQUEST HELLO_RESPONSE BYE_REQUEST BYE_RESPONSE",
    State.BYE_CROSSED: "BYE_RESPONSE",
    State.BYE_ANSWERED: "REQUEST HELLO_RESPONSE BYE_REQUEST BYE_RESPONSE",
}
"""What arrives in which state if both sides are ours. What the table has besides is for others."""

AT_REST: Final = {("OPEN", "OPEN"), ("over", "over"), ("over", "not begun")}
"""What stays as it is until an application does something, if there is room for what comes."""


def explored(*, wire_len: int, eager: bool, scarce: bool = True) -> Search:
    """All worlds."""
    search = Search(wire_len=wire_len, queue_len=1, eager=eager, scarce=scarce)
    search.run()
    return search


def is_over(search: Search, world: World) -> bool:
    """Whether both sides have ended; a server that never began has nothing to end."""
    client, server = search.both(world)
    return client.over and server.conversation is None


def is_peaceful(search: Search, world: World) -> bool:
    """Whether nobody has left or aborted, and no time limit has struck."""
    return not any(side.lossy for side in search.both(world))


def goes_by_itself(step: Step) -> bool:
    """Whether it happens without any application doing something."""
    return step.action.name not in BY_APPLICATIONS


def goes_by_messages(step: Step) -> bool:
    """Whether no side leaves or aborts by it, no time limit strikes, and no link fails."""
    name, what = step.action
    return name not in NOT_BY_MESSAGES and not (name == "post" and what in ENDS_BY_POSTING)


def with_a_way_to(
    search: Search, goals: Collection[World], may: Callable[[Step], bool]
) -> set[World]:
    """All worlds from which steps of that kind lead to one of these."""
    before: dict[World, list[World]] = {}
    for world, steps in search.steps.items():
        for step, behind in steps:
            if may(step):
                before.setdefault(behind, []).append(world)
    found, ahead = set(goals), list(goals)
    while ahead:
        for world in before.get(ahead.pop(), ()):
            if world not in found:
                found.add(world)
                ahead.append(world)
    return found


def check_ways_out(search: Search) -> None:
    """Raise `Wrong` for the first world from which there is no way to an end."""
    over = [world for world in search.found if is_over(search, world)]
    peacefully = [world for world in over if is_peaceful(search, world)]
    by_any_step = with_a_way_to(search, over, lambda _: True)
    by_messages = with_a_way_to(search, peacefully, goes_by_messages)
    for world in search.found:
        if world not in by_any_step:
            raise Wrong(f"there is no way out:\n{search.way_to(world)}")
        if is_peaceful(search, world) and world not in by_messages:
            raise Wrong(f"there is no way out by messages:\n{search.way_to(world)}")


def stays(steps: list[tuple[Step, World]]) -> bool:
    """Whether these steps are all by applications."""
    return not any(goes_by_itself(step) for step, _ in steps)


def quiet(search: Search) -> Counter[tuple[str, str]]:
    """The worlds that stay as they are until an application does something, by what both sides
    are: a state, with "unread" if there is no room for what has come, or "over".
    """

    def names(world: World) -> Iterator[str]:
        for side in search.both(world):
            if side.conversation is None:
                yield "over" if side.over else "not begun"
            else:
                yield thaw(side.conversation).state.name + (" unread" if side.unread else "")

    found: Counter[tuple[str, str]] = Counter()
    for world, steps in search.steps.items():
        if stays(steps):
            client, server = names(world)
            found[client, server] += 1
    return found
