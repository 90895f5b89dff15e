"""Several engines at once, each in a thread of its own, with all that may pass from one to another.

What threads share is what a message leads to: its account, wherever it is given back or dropped,
and the mailbox of who is handed one. So in the end every message has arrived, once and whole, and
every engine has all of its budget again.
"""

import gc
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Final

import pytest
import trio

from pytofu import AmpeStatus, ChannelGroup, Holder, Message, OpCode, Options
from tests.support import App, ClientAddress, Kind, client_address_of, open_app, server_address_of

KINDS: Final[tuple[Kind, ...]] = ("tcp", "uds", "mem")
MEMBERS: Final = 3
WINDOW: Final = 16
"""Requests under way on a channel."""
REQUESTS: Final = 96
"""On each channel."""
ENGINES_OWN: Final = {AmpeStatus.CHANNEL_CLOSED, AmpeStatus.POOL_EMPTY}
"""What the engine may tell: of visitors that have gone, and of the pool."""
VISITS: Final = 8
"""Of engines that are opened, ask once over each transport, and close."""
POOL: Final = 48
"""Less than what is under way: that one gives something back is what others wait for."""
PATIENCE: Final = 60.0
"""Seconds: with all of this, and a sanitizer, on a busy machine."""

pytestmark = pytest.mark.timeout(2 * PATIENCE)


@pytest.fixture
def busy() -> Iterator[None]:
    """With the global lock: threads take turns as often as messages pass, not 200 times a second.

    And what was there before is not collected with each of many collections.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    sys.setswitchinterval(before)


def body_of(asker: int, number: int) -> bytes:
    return b"%d/%d " % (asker, number) + bytes(number * 37 % 3000)


class Dropper:
    """A thread that drops what it is given, some of it in cycles that only a collection finds."""

    def __init__(self) -> None:
        self._given: queue.Queue[list[object] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="dropper")

    def drop(self, message: Message, *, in_a_cycle: bool) -> None:
        pile: list[object] = [message]
        if in_a_cycle:
            pile.append(pile)
        self._given.put(pile)

    def finish(self) -> None:
        """All that was given is dropped now."""
        self._given.join()
        gc.collect()

    def _run(self) -> None:
        dropped = 0
        while (pile := self._given.get()) is not None:
            del pile
            dropped += 1
            if dropped % 8 == 0:
                gc.collect()
            self._given.task_done()

    def __enter__(self) -> "Dropper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._given.put(None)
        self._thread.join(PATIENCE)


class Together:
    """What the members know of each other."""

    def __init__(self, dropper: Dropper, directory: Path) -> None:
        self.dropper = dropper
        self.directory = directory
        self.barrier = threading.Barrier(MEMBERS + 1)
        self.addresses: list[list[ClientAddress]] = [[] for _ in range(MEMBERS)]
        self.groups: list[ChannelGroup] = [None] * MEMBERS  # type: ignore[list-item]

    async def wait(self) -> None:
        """Until all have come here. Whoever waits goes on being served."""
        await trio.to_thread.run_sync(self.barrier.wait, PATIENCE)

    @contextmanager
    def not_without_me(self) -> Iterator[None]:
        """Nobody waits for one that has failed."""
        try:
            yield
        except BaseException:
            self.barrier.abort()
            raise


class Member:
    """Answers whoever asks, asks the next member, hands it messages, and drops some."""

    def __init__(self, together: Together, index: int) -> None:
        self.together = together
        self.index = index
        self.next = (index + 1) % MEMBERS
        self.seen: Counter[str] = Counter()
        self.handed: list[bytes] = []
        self.answers: list[bytes] = []

    async def run(self) -> None:
        with self.together.not_without_me():
            async with open_app(Options(initial_pool_msgs=POOL)) as app:
                with trio.fail_after(PATIENCE):
                    await self._live(app)

    async def _live(self, app: App) -> None:
        together = self.together
        for kind in KINDS:
            directory = together.directory / str(self.index)
            listener = await app.listen(server_address_of(kind, directory))
            together.addresses[self.index].append(client_address_of(listener.address))
        together.groups[self.index] = app.chnls
        await together.wait()
        for address in together.addresses[self.next]:
            app.connect(address)
        self.fates = cycle(("put", "hand", "put", "drop", "lend", "drop in a cycle"))
        self.asked: Counter[int] = Counter()
        while not self._is_done():
            self._react(app, await app.receive())
        await together.wait()
        await trio.to_thread.run_sync(together.dropper.finish)
        await together.wait()
        while True:
            statistics = app.ampe.statistics()
            if (statistics.pool_free, statistics.bytes_held) == (POOL, 0):
                break
            await self._take_in(app)

    async def _take_in(self, app: App) -> None:
        """What the engine tells still."""
        message = app.chnls.receive_nowait()
        if message is None:
            await trio.lowlevel.checkpoint()
        else:
            assert message.status in ENGINES_OWN, message
            app.ampe.put(Holder(message))

    def _is_done(self) -> bool:
        asked_here = REQUESTS * len(KINDS) + visits_to(self.index) * len(KINDS)
        return (
            len(self.answers) == REQUESTS * len(KINDS)
            and self.seen["requests"] == asked_here
            and len(self.handed) == HANDED
        )

    def _react(self, app: App, message: Message) -> None:
        if message.status is AmpeStatus.RECEIVER_UPDATE:
            self.handed.append(message.payload)
            if len(self.handed) % 2:  # also in another way than by `put`
                message.release()
                return
        elif message.opcode is OpCode.HELLO_REQUEST:
            message.opcode = OpCode.HELLO_RESPONSE
            app.chnls.post(Holder(message))
            return
        elif message.opcode is OpCode.REQUEST:
            self.seen["requests"] += 1
            message.opcode = OpCode.RESPONSE
            app.chnls.post(Holder(message))
            return
        elif message.opcode is OpCode.HELLO_RESPONSE:
            for _ in range(WINDOW):
                self._ask(app, message.channel_number)
        elif message.opcode is OpCode.RESPONSE:
            self.answers.append(message.payload)
            self._ask(app, message.channel_number)
            self._give_away(app, message)
            return
        else:
            assert message.status in ENGINES_OWN, message
        app.ampe.put(Holder(message))

    def _ask(self, app: App, channel: int) -> None:
        if self.asked[channel] < REQUESTS:
            self.asked[channel] += 1
            app.post(OpCode.REQUEST, channel, body=body_of(self.index, self.asked[channel]))

    def _give_away(self, app: App, message: Message) -> None:
        together = self.together
        match fate := next(self.fates):
            case "put":
                app.ampe.put(Holder(message))
            case "hand":
                together.groups[self.next].update_receiver(Holder(message))
            case "lend":
                lent = app.ampe.get()
                lent.set_payload(message.payload)
                app.ampe.put(Holder(message))
                together.groups[self.next].update_receiver(Holder(lent))
            case _:
                together.dropper.drop(message, in_a_cycle=fate == "drop in a cycle")


HANDED: Final = 2 * (REQUESTS * len(KINDS)) // 6
"""Messages that each member hands to the next: two of six fates, all of them equally often."""


def visits_to(member: int) -> int:
    return sum(visit % MEMBERS == member for visit in range(VISITS))


async def visit(together: Together) -> list[bytes]:
    """Engines that come and go, while the members are at work; what they were answered."""
    answers: list[bytes] = []
    with together.not_without_me(), trio.fail_after(PATIENCE):
        await together.wait()
        for number in range(VISITS):
            async with open_app(Options(initial_pool_msgs=POOL)) as app:
                for address in together.addresses[number % MEMBERS]:
                    app.connect(address)
                missing = len(KINDS)
                while missing:
                    message = await app.receive()
                    if message.opcode is OpCode.HELLO_RESPONSE:
                        app.post(OpCode.REQUEST, message.channel_number, body=body_of(9, number))
                        app.ampe.put(Holder(message))
                    else:
                        answers.append(message.payload)
                        together.dropper.drop(message, in_a_cycle=number % 2 == 1)
                        missing -= 1
        await together.wait()
        await together.wait()
    return answers


@pytest.mark.usefixtures("busy")
def test_all_that_engines_in_threads_do_to_each_other_adds_up(tmp_path: Path) -> None:
    for index in range(MEMBERS):
        (tmp_path / str(index)).mkdir()
    with Dropper() as dropper, ThreadPoolExecutor(MEMBERS + 1) as threads:
        together = Together(dropper, tmp_path)
        members = [Member(together, index) for index in range(MEMBERS)]
        running = [threads.submit(trio.run, member.run) for member in members]
        visited = threads.submit(trio.run, visit, together)
        ended = [each.exception(PATIENCE) for each in running] + [visited.exception(PATIENCE)]
        failures = [error for error in ended if error]
        if failures:  # all of them: when one fails the others do so too
            raise BaseExceptionGroup("in the threads", failures)
        answers = visited.result()
    expected = sorted(body_of(9, number) for number in range(VISITS) for _ in KINDS)
    assert sorted(answers) == expected
    for member in members:
        numbers = range(1, REQUESTS + 1)
        asked = sorted(body_of(member.index, number) for number in numbers for _ in KINDS)
        assert sorted(member.answers) == asked
        before = members[member.index - 1]
        handed = [body for at, body in enumerate(before.answers) if at % 6 in {1, 4}]
        assert member.handed == handed


BEGINNING: Final = """
import threading
import trio
from pytofu import Holder, MemoryServerAddress, MemoryClientAddress, OpCode, open_ampe

begin = threading.Barrier(8)
done = []

async def main(name):
    begin.wait(30)
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        for address in MemoryServerAddress(name), MemoryClientAddress(name):
            holder = Holder(ampe.get())
            address.format(holder.unwrap())
            chnls.post(holder)
            answer = await chnls.wait_receive()
            opcode = answer.opcode
            ampe.put(Holder(answer))
        assert opcode is OpCode.HELLO_REQUEST, opcode
    done.append(name)

threads = [threading.Thread(target=trio.run, args=(main, str(i))) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
assert sorted(done) == list("01234567"), done
"""


def test_the_first_messages_of_a_process_may_be_those_of_several_threads() -> None:
    subprocess.run([sys.executable, "-c", BEGINNING], check=True, timeout=PATIENCE)


def test_ids_are_unique_in_all_threads() -> None:
    from pytofu.values.message import next_message_id

    begin = threading.Barrier(4)

    def some(next_id: Callable[[], int]) -> list[int]:
        begin.wait(PATIENCE)
        return [next_id() for _ in range(20_000)]

    with ThreadPoolExecutor(4) as threads:
        taken = [threads.submit(some, next_message_id) for _ in range(4)]
        ids = [one for each in taken for one in each.result(PATIENCE)]
    assert len(set(ids)) == len(ids)
