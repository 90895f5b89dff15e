"""Channel numbers: random, unique while a channel lives, not reused at once (PROTOCOL 2)."""

from pytofu.engine.channel_numbers import FIRST, LAST, RECENT, ChannelNumbers
from pytofu.patterns.result import Err, Ok
from pytofu.values.status import AmpeError

ALL = range(FIRST, LAST + 1)


def all_in_use() -> ChannelNumbers[str]:
    numbers: ChannelNumbers[str] = ChannelNumbers()
    numbers.open.update(dict.fromkeys(ALL, "a channel"))
    return numbers


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert (FIRST, LAST, RECENT) == (1, 65534, 1024)


def test_numbers_are_unique_and_lead_to_their_channels() -> None:
    numbers: ChannelNumbers[int] = ChannelNumbers()
    given = [numbers.allocate(channel).unwrap() for channel in range(5_000)]
    assert len(set(given)) == 5_000
    assert set(given) <= set(ALL)
    assert [numbers.open[number] for number in given] == list(range(5_000))


def test_every_number_can_be_given_out_and_then_none() -> None:
    numbers = all_in_use()
    for number in [FIRST, LAST, 4711]:
        del numbers.open[number]
    assert {numbers.allocate("new").unwrap() for _ in range(3)} == {FIRST, LAST, 4711}
    assert numbers.allocate("one too many") == Err(AmpeError.ALLOCATION_FAILED)
    assert len(numbers.open) == len(ALL)
    assert "one too many" not in numbers.open.values()


def test_numbers_are_drawn_at_random() -> None:
    def draw() -> list[int]:
        numbers: ChannelNumbers[None] = ChannelNumbers()
        return [numbers.allocate(None).unwrap() for _ in range(8)]

    first, second = draw(), draw()  # equal with a probability below 1e-38
    assert first != second
    assert first != sorted(first) or second != sorted(second)


def test_the_numbers_closed_last_are_not_given_out() -> None:
    numbers = all_in_use()
    for number in range(1, RECENT + 1):
        numbers.release(number)
        assert numbers.allocate("new") == Err(AmpeError.ALLOCATION_FAILED)
    numbers.release(50_000)  # which makes the first one old enough
    assert numbers.allocate("new") == Ok(1)
    assert numbers.allocate("newer") == Err(AmpeError.ALLOCATION_FAILED)
    assert numbers.open[1] == "new"


def test_a_number_without_a_channel_is_closed_or_unknown() -> None:
    numbers = all_in_use()
    assert numbers.why_unknown(0) is AmpeError.INVALID_CHANNEL_NUMBER
    for number in range(1, RECENT + 1):
        numbers.release(number)
        assert number not in numbers.open
        assert numbers.why_unknown(number) is AmpeError.CHANNEL_CLOSED
    numbers.release(50_000)
    assert numbers.why_unknown(1) is AmpeError.INVALID_CHANNEL_NUMBER
    assert numbers.why_unknown(2) is AmpeError.CHANNEL_CLOSED
    assert numbers.why_unknown(50_000) is AmpeError.CHANNEL_CLOSED
