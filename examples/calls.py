"""A service: typed methods, deadlines that travel, cancellation, and errors with a code."""

from typing import Protocol

import trio

from pytofu import RemoteError, Service, connect, serve


class KitchenProtocol(Protocol):
    """What clients can call; the only thing that both sides import."""

    async def price(self, dish: str) -> float: ...
    async def cook(self, dish: str, seconds: float) -> str: ...
    async def given_up(self) -> str: ...


class Kitchen:
    """What answers; a method is any async function whose parameters and result have types."""

    def __init__(self) -> None:
        self._prices = {"soup": 4.5, "tofu": 7.0}
        self._give_up, self._given_up = trio.open_memory_channel[str](10)

    async def price(self, dish: str) -> float:
        return self._prices[dish]

    async def cook(self, dish: str, seconds: float) -> str:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:  # the time is up, or the client has cancelled or is gone
            self._give_up.send_nowait(dish)
            raise
        return f"hot {dish}"

    async def given_up(self) -> str:
        return await self._given_up.receive()


async def main() -> None:
    kitchen, service = Kitchen(), Service(errors={KeyError: "NOT_FOUND"})
    for method in (kitchen.price, kitchen.cook, kitchen.given_up):
        service.method(method)
    async with trio.open_nursery() as nursery:
        addresses: tuple[str, ...] = await nursery.start(serve, service, "tcp://127.0.0.1:0")
        async with connect(addresses[0]) as peer:
            remote = peer.proxy(KitchenProtocol)
            print("soup costs", await remote.price("soup"))
            try:
                await remote.price("stone")
            except RemoteError as error:
                print("refused:", error)
            with trio.move_on_after(0.1):
                await remote.cook("tofu", seconds=60)
            print("the kitchen has given up", await remote.given_up())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
