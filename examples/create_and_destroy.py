"""Make and end engines and channel groups: by `async with`, and by hand."""

import trio

from pytofu import Ampe, ChannelGroup, ShutdownException, open_ampe


async def by_async_with() -> None:
    """Leaving the block, in whatever way, closes what it has opened."""
    async with open_ampe() as ampe, ampe.open_channel_group():
        print("inside the block:", ampe.statistics().groups, "group")
    try:
        ampe.get()
    except ShutdownException as error:
        print("outside:", error)


async def by_hand(ampe: Ampe) -> None:
    """For groups that come and go otherwise than blocks do."""
    first = ampe.create()
    second = ampe.create()
    print("by hand:", ampe.statistics().groups, "groups")
    await ampe.destroy(first)
    await ampe.destroy(first)  # is no error
    print("one destroyed:", ampe.statistics().groups, "group")

    async with trio.open_nursery() as nursery:
        await nursery.start(receive_until_destroyed, second)
        await ampe.destroy(second)
    print("both destroyed:", ampe.statistics().groups, "groups")


async def receive_until_destroyed(
    chnls: ChannelGroup, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Whoever waits to receive when a group is destroyed learns of it."""
    task_status.started()
    try:
        await chnls.wait_receive()
    except ShutdownException as error:
        print("the receiver:", error)


async def main() -> None:
    await by_async_with()
    async with open_ampe() as ampe:
        await by_hand(ampe)
        # As many engines as you like: each has its own pool, groups and channels.
        async with open_ampe() as another:
            another.create()  # destroyed with its engine
            print("two engines:", ampe.statistics().groups, "+", another.statistics().groups)


if __name__ == "__main__":
    trio.run(main)
