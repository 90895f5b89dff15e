import trio

from pytofu.public.interfaces import MessagePort, MessageSource
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.header import BinaryHeader
from pytofu.values.holder import Holder
from pytofu.values.message import Message


class OneMessage:
    """Neither class inherits anything: the type checkers compare the methods alone."""

    def __init__(self) -> None:
        self.message: Message | None = Message()

    def get(self, strategy: AllocationStrategy = AllocationStrategy.ALWAYS) -> Message | None:
        message, self.message = self.message, None
        if message is None and strategy is AllocationStrategy.ALWAYS:
            return Message()
        return message

    def put(self, holder: Holder[Message]) -> None:
        self.message = holder.take() or self.message


class Loopback:
    def __init__(self) -> None:
        self.posted: list[Message] = []

    def post(self, holder: Holder[Message]) -> BinaryHeader:
        message = holder.take() or Message()
        self.posted.append(message)
        return message.header

    async def wait_receive(self, *, timeout_ns: int | None = None) -> Message | None:
        await trio.lowlevel.checkpoint()
        return self.posted.pop(0) if self.posted else None


async def bounce(source: MessageSource, port: MessagePort) -> Message | None:
    holder = Holder(source.get())
    port.post(holder)
    assert holder.is_empty()
    return await port.wait_receive(timeout_ns=0)


async def test_interfaces_are_met_by_structure() -> None:
    source = OneMessage()
    only = source.message
    assert await bounce(source, Loopback()) is only
    assert source.get(AllocationStrategy.POOL_ONLY) is None
    source.put(Holder(only))
    assert source.message is only


def test_the_two_strategies() -> None:
    assert [strategy.name for strategy in AllocationStrategy] == ["POOL_ONLY", "ALWAYS"]
