"""What is said when a limit is reached."""

import pytest
import trio

from pytofu.engine.limits import Limits


async def test_a_limit_is_counted_always_and_spoken_of_once_a_spell(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits()
    assert limits.reached("max_channels")
    assert not limits.reached("max_channels")
    await trio.sleep(9.9)
    assert not limits.reached("max_channels")
    await trio.sleep(0.1)
    assert limits.reached("max_channels")
    assert limits.counts == {"max_channels": 4}
    assert [record.getMessage() for record in caplog.records] == [
        "limit max_channels reached (1 times since this was last said)",
        "limit max_channels reached (3 times since this was last said)",
    ]


async def test_each_limit_has_spells_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits()
    assert limits.reached("one")
    assert limits.reached("other")
    assert not limits.reached("one")
    assert limits.counts == {"one": 2, "other": 1}
    assert len(caplog.records) == 2
