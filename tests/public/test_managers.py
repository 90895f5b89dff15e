"""Blocks of an `async with`: what leaves them, and that each is entered once."""

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
