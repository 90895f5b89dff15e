"""The fixture `nothing_left`, which the tests of the engine and of the public storey run under."""

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio

from tests.leaks import live_tasks, open_files


def _run[T](
    test: Callable[[], Awaitable[T]],
    *,
    clock: trio.abc.Clock | None,
    instruments: Sequence[trio.abc.Instrument],
) -> T:
    """`trio.run`, with the tasks counted before and after."""

    async def main() -> T:
        before = live_tasks()
        result = await test()
        assert live_tasks() == before
        return result

    return trio.run(main, clock=clock, instruments=instruments)


@pytest.fixture
def nothing_left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """After the test there are no more tasks, open files and socket files than before.

    The garbage collector is not asked: what waits for it has not been closed as it should.
    """
    if request.node.get_closest_marker("trio") is not None:
        request.node.add_marker(pytest.mark.trio(run=_run), append=False)
    before = open_files()
    yield
    after = open_files()
    assert {number: what for number, what in after.items() if number not in before} == {}
    assert [name for name in os.listdir(tmp_path) if (tmp_path / name).is_socket()] == []
