"""Checkpoints of what need not wait, where a turn of the scheduler costs more than all the rest."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Final

import trio

type Checkpoint = Callable[[], Awaitable[None]]

_ROW: Final = (
    *itertools.repeat(trio.lowlevel.checkpoint_if_cancelled, 63),
    trio.lowlevel.checkpoint,
)


def light_checkpoints() -> Callable[[], Checkpoint]:
    """Gives the checkpoint to make next: `await next_checkpoint()()`.

    Each is a point of cancellation, and one in 64 a schedule point.
    """
    return itertools.cycle(_ROW).__next__
