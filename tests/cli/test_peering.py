"""Who cannot be reached, and who goes."""

import trio
import trio.testing

from pytofu import OpCode
from pytofu.cli.call import call
from pytofu.cli.endpoints import Target
from pytofu.cli.peering import reach
from pytofu.values.address_text import client_address
from tests.cli.peers import POLITE, Printed, fails, peer, say, serving


async def test_a_server_that_goes() -> None:
    habits = {**POLITE, OpCode.REQUEST: say(OpCode.BYE_SIGNAL)}
    async with peer(habits) as address:
        with fails(r"^tcp://.* closed the channel: "):
            await call(Target(address), "x", b"", 5, Printed().output)


async def test_a_channel_that_is_closed_takes_nothing() -> None:
    async with serving() as target:
        with fails(r"^tcp://.* took nothing: "):
            async with reach(target) as server:
                await server.bye()
                await server.call()


async def test_a_server_that_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    target = Target(client_address("mem://nobody-there"), wait=30)
    started = trio.current_time()
    with fails("cannot connect to mem://nobody-there"):
        await call(target, "x", b"", 5, Printed().output)
    assert trio.current_time() - started == 30
