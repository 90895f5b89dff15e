"""Publish and subscribe: patterns, and a slow subscriber that is told what it has missed."""

from functools import partial

import trio

from pytofu import Topics, connect, serve


async def main() -> None:
    topics = Topics(keep=100, policy="drop-oldest")
    async with trio.open_nursery() as nursery:
        publisher = partial(serve, None, topics=topics)
        addresses: tuple[str, ...] = await nursery.start(publisher, "tcp://127.0.0.1:0")
        async with (
            connect(addresses[0]) as peer,
            peer.subscribe("weather.*.wind") as winds,
            peer.subscribe("weather.>") as everything,
        ):
            topics.publish("weather.oslo.rain", b"5 mm")
            print("heard by", topics.publish("weather.oslo.wind", b"12 m/s"))
            print((await anext(winds)).body.decode())
            for number in range(10_000):  # faster than anybody listens
                topics.publish("weather.bergen.rain", b"%d mm" % number)
            received = missed = 0
            async for message in everything:
                received, missed = received + 1, missed + message.missed
                if message.body == b"9999 mm":  # the newest is never the one that is dropped
                    break
            print(f"missed some: {missed > 0}; received and missed: {received + missed}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
