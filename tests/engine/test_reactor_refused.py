"""What the system refuses to a reactor: nothing of it is left."""

import os
import select
import socket
from pathlib import Path

import pytest

from pytofu import open_ampe
from pytofu.engine.reactor import EpollReactor
from pytofu.engine.readiness import Source
from pytofu.engine.turns import EndOfTurn
from tests.links.ends import no_more_files

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")


class At(Source):
    """What is at a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.calls = 0

    def fileno(self) -> int:
        return self.descriptor

    def on_readable(self, now: float) -> None:
        self.calls += 1

    def on_writable(self, now: float) -> None:
        raise AssertionError

    def on_defect(self) -> None:
        raise AssertionError


class Group:
    """Whose reactor it is."""

    def work(self) -> None:
        raise AssertionError

    def take_lead(self) -> None:
        raise AssertionError


async def test_a_descriptor_that_was_refused_is_the_next_ones_to_watch(tmp_path: Path) -> None:
    reactor = EpollReactor(Group(), EndOfTurn(), 0)
    descriptor = os.open(tmp_path / "no socket", os.O_CREAT | os.O_RDWR)
    refused, watched = At(descriptor), At(descriptor)
    with pytest.raises(PermissionError):
        reactor.watch(refused, read=True, write=False)
    reactor.unwatch(refused)
    mine, other = socket.socketpair()
    with mine, other:
        os.dup2(mine.fileno(), descriptor)
        reactor.watch(watched, read=True, write=False)
        other.send(b"a")
        reactor.serve()
        reactor.unwatch(watched)
    os.close(descriptor)
    reactor.close()
    assert (refused.calls, watched.calls) == (0, 1)


async def test_where_no_file_is_left_for_a_group_nobody_leads_it() -> None:
    async with open_ampe() as ampe:
        turn = ampe._engine._turn
        assert turn is not None
        for files in range(2):
            with no_more_files(but=files), pytest.raises(OSError, match="Too many open files"):
                ampe.create()
        assert turn.leaderless == set()
        async with ampe.open_channel_group():
            assert len(turn.leaderless) == 1
