"""Whole engines: what a program does with messages comes to the same, compiled and pure."""

import os
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio._core._run import _r
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.compiled.worlds import World, plain

DEEDS: Final = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("get", "make", "post", "post", "post", "answer", "receive", "receive", "wait"),
                *("turn", "put", "twice", "odd", "other", "none", "send", "trace", "bye", "drop"),
                *("update", "borrow", "borrow", "behind", "cancelled", "next", "next"),
            ]
        ),
        st.integers(0, 3),
        st.sampled_from([0, 1, 64, 1024, 1025, 60_000, 65_535, 65_536]),
    ),
    max_size=60,
)
_WAIT: Final = ("wait", "next", "turn", "send", "behind", "cancelled", "drop")
ODD: Final = (-1, True, "7", 2**64)
_names = count()

KINDS: Final = ("Memory", "UDS")
"""Addresses, by the beginnings of their classes' names. In one process all that a Unix socket is
given is there at once, so what happens over it is as certain as over memory."""


class Program:
    """Two groups of one engine with two channels between them, and what is done to them."""

    def __init__(self, world: World, ampe: Any) -> None:
        self.world = world
        self.ampe = ampe
        self.groups = [ampe.create(), ampe.create()]
        self.loops = [aiter(group) for group in self.groups]
        self.numbers: list[tuple[int, int]] = []  # of a channel: its group, and its number there
        self.mine: list[Any] = []  # holders
        self.told: list[Any] = []
        self.holder = world.find("values.holder.Holder")
        self.borrowed = world.find("public.borrowing.borrowed_message")
        self.message = world.find("values.message.Message")
        self.trace = world.find("values.releases.trace_releases")
        self.opcodes = world.find("values.header.OpCode")
        self.strategies = list(world.find("values.allocation.AllocationStrategy"))

    async def connect(self, kind: str) -> None:
        name = f"both-worlds-{next(_names)}"
        if kind == "UDS":
            name = str(Path(gettempdir(), f"{os.getpid()}-{name}.sock"))
        find = self.world.find
        client, server = self.groups
        holder = self.holder(self.ampe.get())
        find(f"values.address.{kind}ServerAddress")(name).format(holder.value)
        server.post(holder)
        self.ampe.put(self.holder(await server.wait_receive()))
        for _ in range(2):
            holder = self.holder(self.ampe.get())
            find(f"values.address.{kind}ClientAddress")(name).format(holder.value)
            self.numbers.append((0, client.post(holder).channel_number))
            holder = self.holder(await server.wait_receive())
            self.numbers.append((1, holder.value.channel_number))
            holder.value.opcode = self.opcodes.HELLO_RESPONSE
            server.post(holder)
            self.ampe.put(self.holder(await client.wait_receive()))

    def tell(self, what: Any) -> None:
        self.told.append(what)

    def received(self, message: Any) -> None:
        if message is None:
            return self.tell(None)
        names = {number: index for index, (_, number) in enumerate(self.numbers)}
        self.tell((message.opcode.name, message.status.name, message.payload[:20]))
        self.tell((names.get(message.channel_number), len(message.payload)))
        self.mine.append(self.holder(message))
        return None

    async def do(self, deed: str, which: int, size: int) -> None:
        group_index, number = self.numbers[which]
        group, ampe = self.groups[group_index], self.ampe
        match deed:
            case "get":
                message = ampe.get(self.strategies[which % 2])
                self.tell(message is None)
                if message is not None:
                    self.mine.append(self.holder(message))
            case "borrow":
                with self.borrowed(ampe, self.strategies[which % 2]) as holder:
                    self.tell(holder.is_empty())
                    if which > 1 and holder.value is not None:
                        self.fill(holder.value, deed, number, which, size)
                        group.post(holder)
            case "make":
                self.mine.append(self.holder(self.message()))
            case "post" | "send" | "cancelled" | "odd" | "other":
                holder = self.mine.pop() if self.mine else self.holder(ampe.get())
                if holder.value is not None:
                    self.fill(holder.value, deed, number, which, size)
                if deed == "other":
                    group = self.groups[1 - group_index]
                try:
                    if deed in {"post", "odd", "other"}:
                        header = group.post(holder)
                    else:
                        header = await self.sent(group, holder, cancelled=deed == "cancelled")
                    if header is None:
                        return
                    self.tell((header.proto_byte, header.status, header.body_len))
                    self.tell((header.channel_number == number, holder.value is None))
                finally:
                    ampe.put(holder)
            case "behind":  # so that, mostly, it has to wait
                await self.do("post", which, size)
                await self.do("send", which, size)
            case "answer" if self.mine:
                holder = self.mine.pop(0)
                try:
                    group.post(holder)
                finally:
                    ampe.put(holder)  # never dropped: when that is noticed is Python's own affair
            case "receive":
                self.received(group.receive_nowait())
            case "wait":
                self.received(await group.wait_receive(timeout_ns=0))
            case "next":
                with trio.move_on_after(5):
                    holder = await anext(self.loops[group_index])
                    self.received(holder.value)
                    if which % 2:  # else it goes back with the next turn of the loop
                        holder.take()
                    else:
                        self.mine.pop()
            case "put" if self.mine:
                ampe.put(self.mine.pop(0))
            case "twice" if self.mine:
                message = self.mine.pop(0).value
                ampe.put(self.holder(message))
                first = (ampe.put, group.post)[which % 2]
                first(self.holder(message))
            case "none":
                wrong = [None, self.holder(), self.holder(3), self.message][which]
                (ampe.put, group.post, ampe.get)[size % 3](wrong)
            case "trace":
                self.trace(which % 2 == 0)
            case "bye":
                holder = self.holder(ampe.get())
                holder.value.opcode = self.opcodes.BYE_REQUEST
                holder.value.channel_number = number
                try:
                    group.post(holder)
                finally:
                    ampe.put(holder)
            case "drop" if which == 3:
                await ampe.destroy(group)
            case "update":
                group.update_receiver(self.holder())
            case _:
                pass

    async def sent(self, group: Any, holder: Any, *, cancelled: bool) -> Any:
        with trio.move_on_after(5) as scope:
            if cancelled:
                scope.cancel()
            return await group.send(holder)
        self.tell(holder.value is None)
        return None

    def fill(self, message: Any, deed: str, number: int, which: int, size: int) -> None:
        message.reset()
        message.opcode = list(self.opcodes)[(0, 1, 2, 2)[which]]
        message.channel_number = number
        message.message_id = 7
        message.set_payload(bytes(size))
        if size == 1:
            message.set_text_headers(b"name:value\r\n")
            if which % 2:
                message.text_headers.append("other", "value")
        if deed == "odd":
            field = ("channel_number", "message_id", "proto_byte", "status")[size % 4]
            setattr(message.header, field, ODD[which])

    async def run(self, kind: str, deeds: list[tuple[str, int, int]]) -> None:
        await self.connect(kind)
        for deed in deeds:
            waits = deed[0] in _WAIT
            if waits:  # before and behind it all is at rest: Trio's order of tasks is by chance
                await wait_all_tasks_blocked()
            try:
                with trio.move_on_after(60):
                    await self.do(*deed)
            except Exception as error:
                code = getattr(error, "error_code", None)
                self.tell((type(error).__name__, plain(code)))
            if waits:
                await wait_all_tasks_blocked()
            self.tell([plain(self.ampe.statistics().pool_free)])
            for index, number in self.numbers:
                self.tell(self.groups[index].queued_bytes(number))
            self.tell([len(group._mailbox) for group in self.groups])
            self.tell([group._mailbox.taken for group in self.groups])
        await wait_all_tasks_blocked()
        statistics = self.ampe.statistics()
        self.tell((statistics.messages_sent, statistics.messages_received, statistics.bytes_held))
        self.trace(False)
        for holder in self.mine:
            self.ampe.put(holder)


def history(world: World, kind: str, deeds: list[tuple[str, int, int]]) -> list[Any]:
    with world.active():
        options = world.find("engine.options.Options")(
            initial_pool_msgs=6, max_pool_msgs=8, max_queued_bytes=150_000, high_water=1_000
        )
        open_ampe = world.find("public.ampe.open_ampe")
        told: list[Any] = []

        async def main() -> None:
            async with open_ampe(options) as ampe:
                program = Program(world, ampe)
                await program.run(kind, deeds)
                told.extend(program.told)

        _r.seed(len(deeds))  # or the tasks would have their turns in another order each time
        trio.run(main, clock=MockClock(autojump_threshold=0))
        return told


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
@given(DEEDS)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_programs_find_no_difference(
    compiled: World, pure: World, kind: str, deeds: list[tuple[str, int, int]]
) -> None:
    ours = history(compiled, kind, deeds)
    assert ours
    assert ours == history(pure, kind, deeds)
