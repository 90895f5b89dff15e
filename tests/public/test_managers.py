"""Blocks of an `async with`: what leaves them, and that each is entered once."""

from typing import Any

import pytest
import trio

from pytofu import connect, open_ampe, serve


class OwnError(Exception):
    """Of the application."""


async def test_a_block_is_entered_once() -> None:
    async with open_ampe() as ampe:
        opening = ampe.open_channel_group()
        async with opening:
            pass
        with pytest.raises(RuntimeError, match=r"this Ampe\.open_channel_group\(\) was entered"):
            async with opening:
                pytest.fail("it has no group to give")


async def test_what_is_raised_in_a_block_leaves_it_as_itself() -> None:
    error = OwnError()
    async with open_ampe() as ampe, trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, None, "mem://managers")
        for opening in (ampe.open_channel_group(), connect(address)):
            with pytest.raises(OwnError) as caught:
                async with opening:
                    raise error
            assert caught.value is error
        nursery.cancel_scope.cancel()


async def test_who_awaits_a_block_is_told_what_to_write() -> None:
    async def wait_for(block: Any) -> None:
        await block

    async with open_ampe() as ampe, trio.open_nursery() as nursery:
        (address,) = await nursery.start(serve, None, "mem://managers")
        async with connect(address) as peer:
            for block, name in (
                (open_ampe(), "open_ampe"),
                (ampe.open_channel_group(), "open_channel_group"),
                (connect(address), "connect"),
                (peer.stream(), "stream"),
            ):
                text = rf"^{name}\(\) is not awaited, but entered: `async with .*{name}\(\.\.\.\)"
                with pytest.raises(TypeError, match=text):
                    await wait_for(block)
        nursery.cancel_scope.cancel()
