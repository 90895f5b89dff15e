"""A peer that floods, and an application that keeps what it receives."""

from collections import deque

import attrs
import trio
import trio.testing

from pytofu import AmpeStatus, Holder, Message, OpCode
from tests.support import PATIENCE, App, Event, frame, from_app


def numbered(i: int, body_len: int = 8) -> bytes:
    """The i-th frame of a flood."""
    return frame(OpCode.REQUEST, 1000 + i, body=i.to_bytes(body_len))


def flood_of(start: int, stop: int, body_len: int = 8) -> bytes:
    """The frames from `start` up to `stop`."""
    return b"".join(numbered(i, body_len) for i in range(start, stop))


def numbered_events(number: int, start: int, stop: int, body_len: int = 8) -> list[Event]:
    """The frames from `start` up to `stop` as the application sees them."""
    return [
        from_app(OpCode.REQUEST, number, 1000 + i, body=i.to_bytes(body_len))
        for i in range(start, stop)
    ]


@attrs.define
class Keeper:
    """Receives messages and keeps them, until told to put some back."""

    app: App
    kept: deque[Message] = attrs.field(factory=deque)

    async def keep(self) -> list[Event]:
        """Everything that has come, once nothing more comes; nobody has waited for it."""
        with trio.fail_after(PATIENCE):
            await trio.testing.wait_all_tasks_blocked(0.002)
        events: list[Event] = []
        while (message := self.app.chnls.receive_nowait()) is not None:
            events.append(Event.of(message))
            if not message.is_from_engine():
                self.kept.append(message)
            elif events[-1].status is not AmpeStatus.POOL_EMPTY:  # that one is none of the pool's
                self.app.ampe.put(Holder(message))
        return events

    def put(self, count: int) -> None:
        """Put back so many of the messages kept longest."""
        for _ in range(count):
            self.app.ampe.put(Holder(self.kept.popleft()))
