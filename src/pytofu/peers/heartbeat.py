"""Heartbeat: a peer that has stopped is noticed, even if its system still keeps the connection."""

from typing import Final

import trio

from pytofu.peers.link import Link
from pytofu.peers.wire import ASK, HEARTBEAT, encoded
from pytofu.values.header import OpCode
from pytofu.values.status import AmpeStatus

_QUESTION: Final = encoded((HEARTBEAT, ASK))


async def watch(link: Link, interval: float) -> None:
    """Ask after `interval` seconds without a message; close the link after twice that.

    So a peer that stops, at whatever moment, is noticed within two intervals. Runs on both sides.
    """
    link.heard = trio.current_time()
    while True:
        await trio.sleep_until(link.heard + interval)
        heard = link.heard
        if trio.current_time() < heard + interval:
            continue
        link.outlet.tell(OpCode.SIGNAL, 0, _QUESTION)
        await trio.sleep_until(heard + 2 * interval)
        if link.heard == heard:
            seconds = f"nothing heard for {2 * interval:g} s"
            link.abort(AmpeStatus.COMMUNICATION_FAILED, seconds)
            return
