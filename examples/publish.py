"""Publish and subscribe: who is slow holds up nobody, and is told what he has missed."""

from functools import partial

import trio

from pytofu import Topics, connect, serve


async def main() -> None:
    prices = Topics(keep=10)
    async with trio.open_nursery() as nursery:
        serving = partial(serve, topics=prices)
        (address,) = await nursery.start(serving, None, "tcp://127.0.0.1:0")
        async with (
            connect(address) as peer,
            peer.subscribe("price.*") as quick,
            peer.subscribe("price.>", window=256) as slow,
        ):
            for price in range(100):
                prices.publish("price.tofu", b"%d" % price)
                assert (await anext(quick)).missed == 0
            print("quick has heard all")
            heard = missed = 0
            async for message in slow:
                heard, missed = heard + 1, missed + message.missed
                if message.body == b"99":
                    break
            print("slow has missed some:", missed > 50, "- and none uncounted:", heard + missed)
        nursery.cancel_scope.cancel()


trio.run(main)
