"""The pictures are made of what is there now, and the flows are what happens."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self, assert_never
from xml.etree import ElementTree

import attrs
import pytest
import trio
import trio.testing

from docs import diagrams, panels, sequence, states
from docs.flows import (
    FLOWS,
    Carry,
    Cross,
    Flow,
    Note,
    Post,
    Put,
    Sees,
    Side,
    Start,
    Step,
    Update,
    Wire,
)
from pytofu import (
    Ampe,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    Options,
    OriginFlag,
    TCPClientAddress,
    TCPServerAddress,
    open_ampe,
    parse_address,
)
from pytofu.protocol.lifecycle import State
from tests.docs.pages import DOCS, PAGES, free_port

_PATIENCE: Final = 5


def test_the_picture_of_the_states_is_current() -> None:
    # Graphviz, which need not be here, has drawn it; it says from what.
    assert states.source_of(states.committed()) == states.source(), "run: python -m docs.states"
    drawn = re.findall(r"<text.*?>(.*?)</text>", states.committed())
    missing = [part for state in State for part in _lines(state.name) if part not in drawn]
    assert not missing


def _lines(name: str) -> list[str]:
    """As the picture has it: a long name in two lines."""
    return name.replace("_THEN_", "_THEN_ ").split()


def test_what_closes_a_channel_from_a_dot_is_what_the_page_says() -> None:
    arrows = states.transitions()
    ends = {tuple(how) for (_, following), how in arrows.items() if following is State.CLOSED}
    assert ends == {(("received", OpCode.BYE_RESPONSE), ("received", OpCode.BYE_SIGNAL))}


@pytest.mark.parametrize("name", diagrams.pictures())
def test_a_picture_is_well_formed(name: str) -> None:
    ElementTree.fromstring(diagrams.pictures()[name]())


@pytest.mark.parametrize("flow", FLOWS, ids=[flow.name for flow in FLOWS])
def test_a_flow_is_drawn_with_all_its_steps(flow: Flow) -> None:
    drawn = ElementTree.fromstring(sequence.draw(flow))
    shown = drawn.findall("./div[@style]")
    classes = [element.attrib["class"].split()[0] for element in shown]
    steps = len(flow.steps) + sum(isinstance(step, Cross) for step in flow.steps)
    assert classes.count("step") + classes.count("remark") == steps
    assert classes.count("lifeline") == 2 * len(flow.sides)
    text = "".join(drawn.itertext())
    opcodes = [step.opcode for step in flow.steps if isinstance(step, Carry | Cross | Post | Sees)]
    assert not [opcode for opcode in opcodes if sequence.spoken(opcode) not in text]


def test_the_house_has_every_storey_and_module() -> None:
    house = diagrams.draw_house()
    for storey in diagrams.storeys():
        if storey not in (["__main__"], ["cli"]):
            assert not [file for file in diagrams.modules(storey) if f">{file.name}<" not in house]


def test_every_picture_is_on_a_page() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [name for name in diagrams.pictures() if f"{{picture}} {name}\n" not in text]


def test_the_panels_of_the_benchmarks_are_whole() -> None:
    svg = panels.MEASURED.read_text(encoding="utf-8")
    shapes = re.findall(r"<(?:text|rect) x=.*", svg)
    found = panels.panels(svg)
    assert [shape for panel in found for shape in panel.splitlines()[1:-1]] == shapes
    assert len(found) == svg.count('font-weight="bold"') > 10
    for panel in found:
        size = re.search(r'viewBox="(\d+) (\d+) (\d+) (\d+)"', panel)
        assert size is not None
        left, top, width, height = map(int, size.groups())
        for x, y, length in re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)"', panel):
            assert left < int(x) < int(x) + int(length) + 100 < left + width  # 100: the figure
            assert top < int(y) < top + height - 14


def test_the_page_of_the_protocol_explains_every_state() -> None:
    text = (DOCS / "protocol.md").read_text(encoding="utf-8")
    assert not [state.name for state in State if f"| `{state.name}` |" not in text]


# ---------------------------------------------------------------------- carrying out the flows


@attrs.define
class _App:
    """An application on one side."""

    ampe: Ampe
    chnls: ChannelGroup
    channel: int = 0
    received: Holder[Message] = attrs.Factory(Holder)

    def post(self, opcode: OpCode, address: "TCPClientAddress | TCPServerAddress | None") -> None:
        """Post on the application's channel, or open it; a response answers what came last."""
        message = Message()
        if address is not None:
            address.format(message)
        message.opcode = opcode
        message.channel_number = 0 if address is not None else self.channel
        if opcode in {OpCode.RESPONSE, OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE}:
            message.message_id = self.received.unwrap().message_id
        self.channel = self.chnls.post(Holder(message)).channel_number

    async def sees(
        self, opcode: OpCode, origin: OriginFlag, status: int, reason: str | None
    ) -> None:
        """Receive the next message, which has to be this one, and keep it."""
        self.put()
        message = await self.chnls.wait_receive(timeout_ns=_PATIENCE * 10**9)
        assert message is not None, f"nothing came, waiting for {opcode.name}"
        self.received.set(message)
        seen = (message.opcode, message.header.proto.origin, message.status)
        assert (*seen, message.text_headers.get("~reason")) == (opcode, origin, status, reason)
        self.channel = message.channel_number

    def put(self) -> None:
        """Put back what was received last."""
        self.ampe.put(self.received)


@asynccontextmanager
async def _open_app(options: Options) -> AsyncIterator[_App]:
    async with open_ampe(options) as ampe, ampe.open_channel_group() as chnls:
        yield _App(ampe, chnls)


@attrs.define
class _Stage:
    """Both applications, and where the server listens."""

    client: _App
    server: _App
    address: TCPServerAddress

    @classmethod
    @asynccontextmanager
    async def open(cls, start: Start) -> AsyncIterator[Self]:
        pool = Options(initial_pool_msgs=1, max_pool_msgs=1) if "pool" in start else Options()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(_open_app(Options()))
            server = await stack.enter_async_context(_open_app(pool))
            stage = cls(client, server, TCPServerAddress("127.0.0.1", free_port()))
            await stage._begin(start)
            yield stage

    async def _begin(self, start: Start) -> None:
        if start == "nothing":
            return
        self.server.post(OpCode.WELCOME_REQUEST, TCPServerAddress("127.0.0.1", 0))
        await self._app_sees(self.server, OpCode.WELCOME_RESPONSE)
        bound = parse_address(self.server.received.unwrap())
        assert isinstance(bound, TCPServerAddress)
        self.address = bound
        if start.startswith("open"):
            await self.carry_out(Carry("client", OpCode.HELLO_REQUEST))
            await self.carry_out(Carry("server", OpCode.HELLO_RESPONSE))
        self.client.put()
        self.server.put()

    def _app(self, side: Side) -> _App:
        return self.client if side == "client" else self.server

    def _other(self, side: Side) -> _App:
        return self._app("server" if side == "client" else "client")

    async def _app_sees(self, app: _App, opcode: OpCode) -> None:
        await app.sees(opcode, OriginFlag.APPLICATION, 0, None)

    def _post(self, side: Side, opcode: OpCode) -> None:
        address: TCPClientAddress | TCPServerAddress | None = None
        if opcode is OpCode.HELLO_REQUEST:
            address = TCPClientAddress(self.address.host, self.address.port)
        elif opcode is OpCode.WELCOME_REQUEST:
            address = self.address
        self._app(side).post(opcode, address)

    async def carry_out(self, step: Step) -> None:
        """Do what the applications do in this step, and see that they see what it says."""
        match step:
            case Carry(side, opcode):
                self._post(side, opcode)
                await self._app_sees(self._other(side), opcode)
            case Cross(opcode):
                self._post("client", opcode)
                self._post("server", opcode)
                await self._app_sees(self.client, opcode)
                await self._app_sees(self.server, opcode)
            case Post(side, opcode):
                self._post(side, opcode)
            case Sees(side, opcode, status, origin, reason):
                app = self._app(side)
                if status.name == "POOL_EMPTY":  # what it has received it keeps
                    kept, app.received = app.received, Holder()
                    await app.sees(opcode, origin, status, None)
                    app.received.clear()  # the engine made it, beyond the pool
                    app.received = kept
                    return
                await app.sees(opcode, origin, status, None if reason is None else reason.name)
            case Update(side):
                self._app(side).chnls.update_receiver(Holder())
            case Put(side):
                self._app(side).put()
            case Wire() | Note():
                pass
            case _:
                assert_never(step)


@pytest.mark.parametrize("flow", FLOWS, ids=[flow.name for flow in FLOWS])
async def test_a_flow_happens_as_it_is_drawn(flow: Flow) -> None:
    async with _Stage.open(flow.start) as stage:
        for step in flow.steps:
            await stage.carry_out(step)
        await trio.testing.wait_all_tasks_blocked()
        for app in (stage.client, stage.server):
            left = [
                app.chnls.receive_nowait() for _ in range(app.chnls.statistics().messages_waiting)
            ]
            assert left == [], "more arrived than is drawn"
