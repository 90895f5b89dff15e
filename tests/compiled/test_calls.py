"""Peers: callers, handlers and a peer made by hand find no difference, compiled and pure."""

import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio._core._run import _r
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.compiled.worlds import World, plain

METHODS: Final = (
    *("", "echo", "wait", "sleep", "reply", "nothing", "wrong", "raises", "error", "long"),
    *("variable", "back", "not async"),
)
SIZES: Final = st.sampled_from([0, 1, 64, 1024, 65_535, 65_536, 140_000])
HEADERS: Final = (
    *(b"", b"", b"name:value\r\n", b"tofu-method:echo\r\n", b"tofu-method:sleep\r\nname:value\r\n"),
    *(b"tofu-timeout:500m\r\n", b"tofu-timeout:0n\r\ntofu-method:sleep\r\n", b"tofu-status:OK\r\n"),
    *(
        b"tofu-status:ABORTED\r\ntofu-message:a%20b\r\n",
        b"tofu-refused:1\r\n",
        b"tofu-item:end\r\n",
    ),
    *(b"tofu-stream:1\r\n", b"tofu-subscribe:a\r\n", b"tofu-cancel:1\r\n", b"x:" + bytes(130)),
    *(b"tofu-credit:10\r\n", b"tofu-heartbeat:ask\r\n"),
)
SETTINGS: Final = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LIMIT: Final = 3
_variable: Final = contextvars.ContextVar("_variable", default=0)

type Deed = tuple[str, int, int]


def said(incoming: Any) -> Any:
    """`plain`, less the whole body of what has a long one."""
    whole, incoming.body = incoming.body, incoming.body[:100]
    told = len(whole), plain(incoming), incoming.stream is None
    incoming.body = whole
    return told


class Program:
    """Calls that are made, and what comes of them."""

    def __init__(self, world: World, nursery: trio.Nursery) -> None:
        self.world = world
        self.nursery = nursery
        self.told: list[Any] = []
        self.scopes: list[trio.CancelScope] = []
        self.reply = world.find("peers.incoming.Reply")
        self.remote_error = world.find("peers.errors.RemoteError")

    async def handler(self, peer: Any, request: Any) -> Any:
        self.told.append(("asked", said(request), _variable.get()))
        match request.method:
            case "wait":
                await trio.lowlevel.checkpoint()
            case "sleep":
                try:
                    await trio.sleep(1)
                except trio.Cancelled:
                    self.told.append("cancelled")
                    raise
            case "reply":
                return self.reply(request.body, {"name": "value"})
            case "nothing":
                return None
            case "wrong":
                return "text"
            case "raises":
                raise ValueError
            case "error":
                raise self.remote_error("NOT_FOUND", "no such thing", b"body")
            case "long":
                return bytes(200_000)
            case "variable":
                _variable.set(1)
            case "back":
                return (await peer.call(b"back")).body
            case _:
                pass
        return request.body

    def call(self, peer: Any, method: str, size: int, seconds: float, headers: bool) -> None:
        scope = trio.CancelScope(deadline=trio.current_time() + seconds)
        self.scopes.append(scope)
        self.nursery.start_soon(self._call, peer, method, size, scope, headers, len(self.scopes))

    async def _call(
        self, peer: Any, method: str, size: int, scope: trio.CancelScope, headers: bool, name: int
    ) -> None:
        given = {"headers": {"name": "other"}} if headers else {}
        with scope:
            try:
                answer = said(await peer.call(bytes(size), method=method, **given))
            except Exception as error:
                answer = plain(error)
            self.told.append((name, answer))
        self.told.append((name, scope.cancelled_caught))

    def tell(self, *peers: Any) -> None:
        for peer in peers:
            link = peer._link
            asking, answering = link.asking, link.answering
            self.told.append((asking.busy, asking._slots, asking._next_id, sorted(asking._open)))
            self.told.append((answering.busy, answering._coming, sorted(answering._by_id)))
            self.told.append((link._budget.left, link.outlet._room, link.outlet._enough))
            self.told.append((peer.queued_bytes, plain(peer.reason), link.heard))


def history(
    world: World, body: Callable[[Program, list[Deed]], Awaitable[None]], deeds: list[Deed]
) -> list[Any]:
    with world.active(), world.counting_anew():
        told: list[Any] = []

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                program = Program(world, nursery)
                await body(program, deeds)
                nursery.cancel_scope.cancel()
            told.extend(program.told)

        with pytest.MonkeyPatch.context() as patch:
            # What handlers raise is logged, thousands of times here.
            patch.setattr(logging.getLogger("pytofu.peers"), "disabled", True)
            # Else Trio would shuffle the tasks of each turn, or have them run backwards.
            patch.setattr(_r, "random", lambda: 1.0)
            patch.setattr(_r, "shuffle", lambda batch: None)
            trio.run(main, clock=MockClock(autojump_threshold=0))
        assert told
        return told


# ---------------------------------------------------------------------- two peers

CALLS: Final = st.lists(
    st.tuples(
        st.sampled_from(
            [*("call", "call", "call", "late", "headers", "cancel", "turn", "sleep", "careless")]
        ),
        st.integers(0, len(METHODS) - 1),
        SIZES,
    ),
    max_size=40,
)


async def between_two(program: Program, deeds: list[Deed]) -> None:
    find = program.world.find
    address = "mem://both-worlds"
    servers: list[Any] = []

    async def on_peer(peer: Any) -> None:
        servers.append(peer)

    def serve(*, task_status: Any) -> Awaitable[None]:
        started: Awaitable[None] = find("peers.server.serve")(
            program.handler,
            address,
            calls_per_peer=LIMIT,
            on_peer=on_peer,
            task_status=task_status,
        )
        return started

    await program.nursery.start(serve)
    async with find("peers.client.connect")(address, program.handler, heartbeat=30) as peer:
        await wait_all_tasks_blocked()
        both = peer, servers[0]
        for deed, which, size in deeds:
            match deed:
                case "call" | "late" | "headers":
                    seconds = 0.5 if deed == "late" else 100
                    method = METHODS[which]
                    program.call(both[size == 64], method, size, seconds, deed == "headers")
                case "careless":  # it does not know the limit there
                    peer._link.asking._slots = which
                case "cancel" if program.scopes:
                    program.scopes.pop(which % len(program.scopes)).cancel()
                case "sleep":
                    await trio.sleep(0.3)
                case _:
                    pass
            if deed in ("turn", "sleep"):
                await wait_all_tasks_blocked()
                program.tell(*both)
        await trio.sleep(50)
        program.tell(*both)


@pytest.mark.timeout(120)
@given(CALLS)
@SETTINGS
def test_peers_find_no_difference(compiled: World, pure: World, deeds: list[Deed]) -> None:
    ours = history(compiled, between_two, deeds)
    assert ours == history(pure, between_two, deeds)


# ---------------------------------------------------------------------- a peer made by hand

FRAMES: Final = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("request", "request", "response", "response", "signal", "more", "more answer"),
                *("call", "late", "turn", "trace", "refuse", "slots"),
            ]
        ),
        st.integers(0, 7),
        st.integers(0, len(HEADERS) - 1),
    ),
    max_size=40,
)


class ByHand:
    """A server on the message interface: it says what it is told to, and notes what it hears."""

    def __init__(self, program: Program, ampe: Any, chnls: Any) -> None:
        self.program = program
        self.ampe = ampe
        self.chnls = chnls
        self.number = 0
        self.holder = program.world.find("values.holder.Holder")
        self.opcodes = program.world.find("values.header.OpCode")

    def listen(self, name: str) -> None:
        holder = self.holder(self.ampe.get())
        self.program.world.find("values.address.MemoryServerAddress")(name).format(holder.value)
        self.chnls.post(holder)

    def say(self, opcode: str, ident: int, headers: bytes, body: bytes, *, more: bool) -> None:
        holder = self.holder(self.ampe.get())
        message = holder.value
        message.opcode = self.opcodes[opcode]
        message.channel_number = self.number
        message.message_id = ident
        message.more = more
        message.set_text_headers(headers)
        message.set_payload(body)
        try:
            self.chnls.post(holder)
        except Exception as error:
            self.program.told.append(plain(error))
        finally:
            self.ampe.put(holder)

    async def hear(self) -> None:
        async for holder in self.chnls:
            message = holder.value
            self.program.told.append((message.opcode.name, message.message_id))
            self.program.told.append((message.raw_text_headers, plain(message.status)))
            if message.opcode is self.opcodes.HELLO_REQUEST:
                self.number = message.channel_number
                features = b"tofu-features:server calls=3\r\n"
                self.say("HELLO_RESPONSE", message.message_id, features, b"", more=False)


async def by_hand(program: Program, deeds: list[Deed]) -> None:
    find = program.world.find
    name = "both-worlds-by-hand"
    trace = find("values.releases.trace_releases")
    options = find("engine.options.Options")(initial_pool_msgs=3, max_pool_msgs=4)
    open_ampe = find("public.ampe.open_ampe")
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        open_ampe(options) as other,
    ):
        script = ByHand(program, ampe, chnls)
        script.listen(name)
        program.nursery.start_soon(script.hear)
        connect = find("peers.client.connect")
        async with connect(f"mem://{name}", program.handler, ampe=other) as peer:
            link = peer._link
            link.answering._limit = LIMIT
            for deed, which, headers in deeds:
                lines = HEADERS[headers]
                match deed:
                    case "request" | "more":
                        more = deed == "more"
                        script.say("REQUEST", 2 * (which % 4), lines, b"asked", more=more)
                    case "response" | "more answer":
                        more = deed == "more answer"
                        idents = [*link.asking._open] or [3]
                        ident = idents[which % len(idents)] + (16 if which == 7 else 0)
                        script.say("RESPONSE", ident, lines, b"answered", more=more)
                    case "signal":
                        script.say("SIGNAL", which, lines, b"signal", more=False)
                    case "call" | "late":
                        seconds = 0.5 if deed == "late" else 100
                        program.call(peer, METHODS[which], headers * 5000, seconds, False)
                    case "trace":
                        trace(which % 2 == 0)
                    case "refuse":
                        link.answering.refusing = which == 0
                    case "slots":
                        link._budget.longest = 8 if which % 2 else 100_000
                    case _:
                        await trio.sleep(which / 10)
                        await wait_all_tasks_blocked()
                        program.tell(peer)
                        program.told.append(other.statistics().pool_free)
            trace(False)
            await trio.sleep(20)
            program.tell(peer)
            link.abort()
            await peer.closed.wait()
        program.told.append(other.statistics().pool_free)
        program.nursery.cancel_scope.cancel()


@pytest.mark.timeout(120)
@given(FRAMES)
@SETTINGS
def test_a_peer_made_by_hand_finds_no_difference(
    compiled: World, pure: World, deeds: list[Deed]
) -> None:
    ours = history(compiled, by_hand, deeds)
    assert ours == history(pure, by_hand, deeds)
