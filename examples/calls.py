"""A service with typed methods: deadlines, cancellation and errors travel with each call."""

from typing import Protocol

import trio

from pytofu import RemoteError, Service, connect, serve

service = Service(errors={KeyError: "NOT_FOUND"})
stock = {"tofu": 3}


@service.method
async def take(item: str, count: int) -> int:
    if count > stock[item]:
        raise RemoteError("FAILED_PRECONDITION", f"{stock[item]} left")
    stock[item] -= count
    return stock[item]


@service.method
async def items() -> list[str]:
    return sorted(stock)


@service.method
async def press(seconds: float) -> str:
    try:
        await trio.sleep(seconds)
    except trio.Cancelled:
        print("the server: nobody waits any more")
        raise
    return "a block of tofu"


class Shop(Protocol):  # what the client sees of it
    async def take(self, item: str, count: int) -> int: ...
    async def items(self) -> list[str]: ...
    async def press(self, seconds: float) -> str: ...


async def main() -> None:
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, service, "tcp://127.0.0.1:0")
        async with connect(address) as peer:
            shop = peer.proxy(Shop)
            print("items:", await shop.items())
            print("left:", await shop.take("tofu", 2))
            for item in ("tofu", "natto"):
                try:
                    await shop.take(item, 2)
                except RemoteError as error:
                    print("refused:", error.code, error.text)
            with trio.move_on_after(0.1):
                await shop.press(60)
        nursery.cancel_scope.cancel()


trio.run(main)
