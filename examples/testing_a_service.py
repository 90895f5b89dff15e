"""Tests of a service: real calls without a network, and without waiting for its time limits."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import pytest
import trio
from trio.testing import MockClock

from pytofu import RemoteError, Service, connect, serve

service = Service(errors={KeyError: "NOT_FOUND"})


@service.method
async def price(dish: str) -> float:
    return {"soup": 4.5}[dish]


@service.method
async def cook(dish: str, minutes: int) -> str:
    await trio.sleep(60 * minutes)
    return f"hot {dish}"


class Kitchen(Protocol):
    async def price(self, dish: str) -> float: ...
    async def cook(self, dish: str, minutes: int) -> str: ...


@asynccontextmanager
async def kitchen() -> AsyncGenerator[Kitchen]:
    """The service as its clients see it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, service, "mem://kitchen")
        async with connect("mem://kitchen") as peer:
            yield peer.proxy(Kitchen)
        nursery.cancel_scope.cancel()


async def test_a_price_and_an_unknown_dish() -> None:
    async with kitchen() as remote:
        assert await remote.price("soup") == 4.5
        with pytest.raises(RemoteError, match="NOT_FOUND"):
            await remote.price("stone")


async def test_what_takes_hours_takes_no_time_here() -> None:
    async with kitchen() as remote:
        assert await remote.cook("tofu", minutes=120) == "hot tofu"
        with trio.move_on_after(60) as patience:
            await remote.cook("tofu", minutes=120)
        assert patience.cancelled_caught


async def main() -> None:
    for test in (test_a_price_and_an_unknown_dish, test_what_takes_hours_takes_no_time_here):
        await test()
        print("passed:", test.__name__)


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
