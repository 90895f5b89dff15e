"""`pytofu subscribe`."""

import trio
import trio.testing

from pytofu import Topics
from pytofu.cli.output import Output
from pytofu.cli.subscribe import subscribe
from tests.cli.peers import Printed, fails, serving, until_ctrl_c
from tests.cli.terminal import Paper


async def test_what_is_published_and_what_was_missed() -> None:
    topics = Topics(keep=1)
    file, printed = Paper(), Printed()
    async with serving(topics=topics) as target:
        for output, paper in ((Output(file=file), file), (printed.output, printed.file)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(subscribe, target, "news.>", 2, 5.0, output)
                await paper.until("subscribed")
                # More than the window, so that it waits for the subscriber to read.
                for _ in range(3):
                    topics.publish("news.big", bytes(40_000))
                topics.publish("news.a", b"\x1b[2J")
    head, big, missed, last, summary = file.getvalue().splitlines()
    assert head == "subscribed to news.>"
    assert big.startswith("news.big: ")
    assert missed == "missed 2 messages"
    assert last == "news.a: \\x1b[2J"
    assert summary == "2 messages, 2 missed"
    assert [record.get("missed") for record in printed.records] == [None, 0, 2, 2]
    assert printed.records[2]["topic"] == "news.a"


async def test_ctrl_c_ends_it_with_a_summary() -> None:
    printed = Printed()

    async def command(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await subscribe(target, "a", None, 5, printed.output)

    async with serving(topics=Topics()) as target, until_ctrl_c(command):
        await printed.file.until("subscribed")
    assert printed.records[-1] == {"event": "summary", "messages": 0, "missed": 0}


async def test_a_publisher_that_is_quiet() -> None:
    async with serving(topics=Topics()) as target:
        with fails(r"^nothing from tcp://.* within 0\.05 s$"):
            await subscribe(target, "a", None, 0.05, Printed().output)


async def test_a_server_that_publishes_nothing() -> None:
    async with serving() as target:
        with fails(r"^tcp://.*: UNIMPLEMENTED"):
            await subscribe(target, "a", None, 5, Printed().output)
