"""Everything that can happen between two sides, in every order, and what always holds.

Each step of `side` checks that a conversation ends once, with an ending that never changes; that
each message which was accepted is delivered at the peer or comes back, once and in order; and that
whatever `post` accepts is no violation at the other side. Exempt are three things, and no others.
What is on the way to a side is lost if that side has left, has aborted, or ended by a time limit.
What is on the way from a side is lost if that side resets the link. And where a HelloRequest was
not answered in time, everything comes back, and the peer may have got it as well. Nor does a side
end without agreement as long as nobody has left and no time limit has struck.

Here the worlds as a whole are looked at: from each there is a way to the end of both sides, and as
long as nobody has left and no time limit has struck, one by messages alone.
"""

from graphlib import TopologicalSorter

import pytest

from pytofu.protocol.lifecycle import State
from tests.protocol.frozen import thaw
from tests.protocol.search import (
    AT_REST,
    FROM_A_CORRECT_PEER,
    check_ways_out,
    explored,
    goes_by_itself,
    quiet,
)
from tests.protocol.world import Search

pytestmark = pytest.mark.timeout(180)  # some twenty seconds, which a busy machine can multiply


@pytest.fixture(scope="module")
def eager() -> Search:
    """The link takes 3 messages each way, and what is queued as soon as it can."""
    return explored(wire_len=3, eager=True)


@pytest.fixture(scope="module")
def lazy() -> Search:
    """The link takes 3 messages each way, each at any time or never."""
    return explored(wire_len=3, eager=False)


class TestEveryWorld:
    def test_there_is_always_a_way_out(self, eager: Search) -> None:
        assert len(eager.found) > 50_000
        check_ways_out(eager)

    def test_there_is_always_a_way_out_whenever_the_link_takes_something(
        self, lazy: Search
    ) -> None:
        assert len(lazy.found) > 150_000
        check_ways_out(lazy)

    def test_what_stays_until_an_application_does_something(self, eager: Search) -> None:
        found = quiet(eager)
        waiting_for_room = {pair for pair in found if any("unread" in name for name in pair)}
        assert set(found) - waiting_for_room == AT_REST
        assert found["OPEN", "OPEN"] == 1

    def test_without_applications_nothing_goes_in_circles(self, eager: Search) -> None:
        graph = {
            world: [behind for step, behind in steps if goes_by_itself(step)]
            for world, steps in eager.steps.items()
        }
        TopologicalSorter(graph).prepare()  # raises CycleError

    def test_a_link_that_takes_all_at_once_leaves_nothing_out(
        self, eager: Search, lazy: Search
    ) -> None:
        def states(search: Search) -> set[State]:
            conversations = (side.conversation for side in search.sides)
            return {thaw(frozen).state for frozen in conversations if frozen is not None}

        assert states(lazy) == states(eager) == set(State) - {State.CLOSED}
        assert set(quiet(lazy)) == set(quiet(eager))


def test_what_arrives_from_a_correct_peer(lazy: Search) -> None:
    found: dict[State, set[str]] = {}
    for world, steps in lazy.steps.items():
        for step, _ in steps:
            if step.action.name == "read":
                conversation = lazy.both(world)[step.side].conversation
                assert conversation is not None
                found.setdefault(thaw(conversation).state, set()).add(step.action.what.name)
    del found[State.FINISHING]  # nobody looks at it then
    assert found == {state: set(names.split()) for state, names in FROM_A_CORRECT_PEER.items()}
