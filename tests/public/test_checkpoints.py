"""Checkpoints of `send`: a point of cancellation always, and a schedule point now and then."""

import signal
import subprocess
import sys
from typing import Final

import pytest
import trio
from trio.testing import assert_checkpoints

from pytofu import BinaryHeader, ChannelGroup, Holder, OpCode, Options, TCPServerAddress
from tests.resources import nothing_left as nothing_left
from tests.support import Pair, open_app, open_pair

pytestmark = pytest.mark.usefixtures("nothing_left")

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
ROOM: Final = Options(channel_share=1)  # so that the server has room for all
ROUND: Final = 64
"""Sends of which one is a schedule point."""


async def send(pair: Pair) -> None:
    """Send another message, which has a holder of its own."""
    app = pair.client.app
    holder = app.message(OpCode.SIGNAL, pair.client.number)
    try:
        await app.chnls.send(holder)
    finally:
        app.ampe.put(holder)


async def test_every_send_is_a_point_of_cancellation_whether_or_not_others_get_a_turn() -> None:
    async with open_pair(LOCALHOST, server_options=ROOM) as pair:
        for _ in range(ROUND + 2):
            with trio.CancelScope() as scope:
                scope.cancel()
                await send(pair)
            assert scope.cancelled_caught
            await send(pair)


async def test_a_round_of_sends_is_a_checkpoint() -> None:
    async with open_pair(LOCALHOST, server_options=ROOM) as pair:
        for _ in range(3):
            with assert_checkpoints():
                for _ in range(ROUND):
                    await send(pair)


async def test_what_is_shielded_sends_though_it_is_cancelled() -> None:
    async with open_pair(LOCALHOST, server_options=ROOM) as pair:
        with trio.CancelScope() as outer, trio.CancelScope(shield=True):
            outer.cancel()
            for _ in range(ROUND):
                await send(pair)


@trio.lowlevel.enable_ki_protection
def ctrl_c_later() -> None:
    """Ctrl-C at a moment when Trio has to wait for the main task's next checkpoint."""
    signal.raise_signal(signal.SIGINT)


def test_a_ctrl_c_that_waits_is_raised_by_the_next_send_of_the_main_task() -> None:
    sent: list[bool] = []

    async def main() -> None:
        async with open_pair(LOCALHOST) as pair:
            app = pair.client.app
            await send(pair)
            holder = app.message(OpCode.SIGNAL, pair.client.number)
            ctrl_c_later()
            try:
                await app.chnls.send(holder)
            finally:
                sent.append(holder.is_empty())
                app.ampe.put(holder)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert sent == [False]


async def test_what_was_sent_before_there_was_anything_to_wait_for_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    header = BinaryHeader(7)
    async with open_app() as app:
        monkeypatch.setattr(ChannelGroup, "_before_sending", lambda chnls, holder: header)
        assert await app.chnls.send(Holder()) is header


ANOTHER_TRIO: Final = f"""
import trio

asked = []

async def checkpoint_if_cancelled():
    asked.append(True)
    await known()

known = trio.lowlevel.checkpoint_if_cancelled
trio.lowlevel.checkpoint_if_cancelled = checkpoint_if_cancelled

from pytofu import TCPServerAddress
from tests.public.test_checkpoints import open_pair, send

async def main():
    async with open_pair(TCPServerAddress("127.0.0.1", 0)) as pair:
        before = len(asked)
        for _ in range({ROUND}):
            await send(pair)
        print(len(asked) - before)

trio.run(main)
"""


def test_the_checkpoint_of_a_trio_that_is_not_known_is_asked_each_time() -> None:
    """What the core does in its place is what the known one does."""
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_TRIO], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) >= ROUND - 1
