"""A channel's way out (peers/outlet.py)."""

import pytest
import trio

from pytofu import AllocationFailedException, AmpeException, AmpeStatus, NotSent, OpCode, connect
from tests.peers.faults import Full
from tests.peers.pairs import connected, counted, serving


async def test_nothing_is_taken_from_the_pool_for_what_is_not_posted() -> None:
    async with counted() as ampe, serving() as where, connect(where, ampe=ampe) as peer:
        outlet = peer._link.outlet
        free = ampe.statistics().pool_free
        number, outlet.number = outlet.number, 65_534
        with pytest.raises(NotSent, match="the channel has closed"):
            outlet.post(OpCode.SIGNAL)
        with pytest.raises(NotSent, match="the channel has closed"):
            await outlet.send(OpCode.SIGNAL)
        outlet.tell(OpCode.SIGNAL)
        outlet.number = number
        with pytest.raises(AmpeException):
            outlet.post(OpCode.SIGNAL, 0, (("a", "b\n"),))
        with trio.CancelScope() as scope:
            scope.cancel()
            await outlet.send(OpCode.SIGNAL)
        assert ampe.statistics().pool_free == free


async def test_a_peer_that_cannot_be_told_something_is_closed() -> None:
    async with connected() as both:
        outlet = both.client._link.outlet
        full, outlet._chnls = outlet._chnls, Full(outlet._chnls)
        with pytest.raises(AllocationFailedException):
            outlet.post(OpCode.SIGNAL)
        outlet.tell(OpCode.SIGNAL)
        await both.client.closed.wait()
        assert both.client.reason is AmpeStatus.CHANNEL_CLOSED
        outlet._chnls = full
