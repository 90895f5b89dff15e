"""Draws the pictures of the documentation: `python -m docs.diagrams` writes docs/pictures/.

What can be read from the source is read from it: the states and arrows of the state diagram are
those of the tables in pytofu/protocol/lifecycle.py, the storeys of the house those of the import
contract. Only where things stand on the paper is decided here. A test says when a picture is not
what this script would draw now, and carries out the flows (docs/flows.py) on real engines.
"""

import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, assert_never

import attrs

from docs.flows import FLOWS, Carry, Cross, Flow, Note, Post, Put, Sees, Side, Step, Update, Wire
from docs.svg import Anchor, Drawing, Point, Tint
from pytofu import OpCode
from pytofu.protocol.lifecycle import POSTED, RECEIVED, State

ROOT: Final = Path(__file__).parent.parent
PICTURES: Final = Path(__file__).parent / "pictures"


def spoken(name: str) -> str:
    """HELLO_REQUEST as people say it: HelloRequest."""
    return "".join(part.capitalize() for part in name.split("_"))


# ---------------------------------------------------------------------- what it is


def draw_overview() -> Drawing:
    picture = Drawing(750, 300, "Two programs, their channel groups, and the channels between them")
    for left, name, mailbox, channels in (
        (5, "your client", 30, 150),
        (455, "your server", 170, 30),
    ):
        picture.box(left, 10, 290, 280, fill="paper", radius=12)
        picture.text(left + 20, 36, name, style="bold", anchor="start")
        picture.box(left + 20, 50, 250, 46)
        picture.text(left + 145, 78, "your tasks")
        picture.box(left + 20, 140, 250, 134, stroke="blue")
        picture.text(left + 145, 164, "channel group", tint="blue", style="bold")
        for x, verb in ((left + channels + 55, "post"), (left + mailbox + 45, "wait_receive")):
            ends: tuple[Point, Point] = ((x, 98), (x, 138))
            if verb == "post":
                picture.arrow(*ends, tint="orange")
            else:
                picture.arrow(*reversed(ends), tint="green")
            beside: Anchor = "start" if (verb == "post") == (x > left + 145) else "end"
            away = 8 if beside == "start" else -8
            picture.text(x + away, 123, verb, style="mono small", anchor=beside, tint="soft")
        picture.box(left + mailbox, 180, 90, 80, fill="paper")
        picture.text(left + mailbox + 45, 224, "mailbox")
    for y, what in ((196, "TCP"), (242, "Unix socket")):
        picture.line((265, y), (485, y), stroke="ink", thick=2)
        picture.text(375, y - 8, what, style="small", tint="soft", halo=True)
        for left in (155, 485):
            picture.box(left, y - 16, 110, 32, fill="paper", radius=16)
            picture.text(left + 55, y + 5, "IO channel", style="small")
    for y, text in ((110, "messages, whole"), (127, "and in order,"), (144, "both ways")):
        picture.text(375, y, text, style="small", tint="soft")
    return picture


# ---------------------------------------------------------------------- the frame


def draw_frame() -> Drawing:
    picture = Drawing(750, 330, "A message on the wire: sixteen bytes, text headers, body")
    cell, left, top = 45, 15, 40
    for byte in range(17):
        picture.text(left + byte * cell, top - 10, str(byte), tint="soft", style="mono small")
    fields = [
        (2, "channel", "number"), (1, "proto", ""), (1, "status", ""), (8, "message_id", ""),
        (2, "text headers", "length"), (2, "body", "length"),
    ]  # fmt: skip
    x = left
    for width, name, second in fields:
        picture.box(x, top, width * cell, 56, radius=0, stroke="ink")
        middle = x + width * cell / 2
        picture.text(middle, top + (26 if second else 33), name, style="small")
        if second:
            picture.text(middle, top + 42, second, style="small")
        x += width * cell
    picture.box(left, top + 72, 16 * cell, 38, radius=0, stroke="ink", fill="paper")
    picture.text(375, top + 96, "text headers: name:value CR LF, up to 65,535 bytes", style="small")
    picture.box(left, top + 120, 16 * cell, 38, radius=0, stroke="ink", fill="paper")
    picture.text(375, top + 144, "body: up to 65,535 bytes", style="small")

    heading = "the proto byte, highest bit first"
    picture.text(left, 256, heading, anchor="start", tint="soft", style="small")
    bits = [(1, "internal B"), (1, "internal A"), (1, "more"), (1, "origin"), (4, "opcode")]
    x = left
    for width, name in bits:
        picture.box(x, 266, width * 90, 40, radius=0, stroke="blue")
        picture.text(x + width * 45, 291, name, style="small")
        x += width * 90
    return picture


# ---------------------------------------------------------------------- the life of a channel

_STATE_SIZE: Final = (150, 44)
STATE_AT: Final[Mapping[State, Point]] = {  # the middle of each box
    State.HELLO_AWAITED: (110, 70),
    State.HELLO_RECEIVED: (110, 200),
    State.HELLO_THEN_BYE_RECEIVED: (110, 330),
    State.HELLO_SENT: (385, 70),
    State.HELLO_THEN_BYE_SENT: (660, 70),
    State.OPEN: (385, 200),
    State.BYE_SENT: (660, 200),
    State.BYE_RECEIVED: (385, 330),
    State.BYE_CROSSED: (660, 330),
    State.BYE_ANSWERED: (385, 460),
    State.FINISHING: (660, 460),
    State.CLOSED: (522, 550),
}


@attrs.frozen
class _Detour:
    """An arrow that goes around other boxes."""

    points: tuple[Point, ...]
    label: Point
    anchor: Anchor = "start"


_DETOURS: Final[Mapping[tuple[State, State], _Detour]] = {
    (State.OPEN, State.BYE_ANSWERED): _Detour(
        ((310, 210), (299, 210), (299, 446), (310, 446)), (291, 382), "end"
    ),
    (State.HELLO_THEN_BYE_RECEIVED, State.BYE_ANSWERED): _Detour(
        ((110, 352), (110, 460), (310, 460)), (120, 424)
    ),
    (State.HELLO_RECEIVED, State.BYE_ANSWERED): _Detour(
        ((35, 200), (16, 200), (16, 474), (310, 474)), (26, 492)
    ),
}

type Arrows = dict[tuple[State, State], list[tuple[str, OpCode]]]


def transitions() -> Arrows:
    """The arrows: from state to state, and which messages lead there, received or posted."""
    arrows: Arrows = {}
    for verb, table in (("received", RECEIVED), ("posted", POSTED)):
        for state, row in table.items():
            for opcode, following in row.items():
                if isinstance(following, State) and following is not state:
                    arrows.setdefault((state, following), []).append((verb, opcode))
    return arrows


def draw_states() -> Drawing:
    picture = Drawing(780, 680, "The states of a channel, and the messages that change them")
    width, height = _STATE_SIZE
    arrows = transitions()
    endings = {state for state, following in arrows if following is State.CLOSED}
    (how_it_ends,) = {tuple(arrows.pop((state, State.CLOSED))) for state in endings}

    for (state, following), messages in arrows.items():
        _draw_transition(picture, state, following, messages)
    _draw_beginnings_and_ends(picture)
    for state, (x, y) in STATE_AT.items():
        border = "ink" if state is State.CLOSED else "line"
        picture.box(x - width / 2, y - height / 2, width, height, radius=20, stroke=border)
        lines = _in_lines(state.name)
        for line, words in enumerate(lines):
            middle = y + 5 + 16 * (line - (len(lines) - 1) / 2)
            picture.text(x, middle, words, style="mono bold")
        if state in endings:
            picture.dot(x + width / 2 - 14, y - height / 2 + 11, 4.5, "red")

    ending = " or ".join(spoken(opcode.name) for _, opcode in how_it_ends)
    picture.dot(24, 606, 4.5, "red")
    picture.text(36, 610, f"{ending} received: CLOSED", anchor="start", style="small")
    for line, text in enumerate(
        (
            "From every state, too: ByeSignal or a second HelloRequest posted, something received",
            "that is not allowed, a time limit, or the connection lost: CLOSED. The group or the",
            "engine is left in good order: FINISHING, or CLOSED if there was no Hello yet.",
        )
    ):
        picture.text(36, 628 + 18 * line, text, anchor="start", style="small", tint="soft")
    return picture


def _in_lines(name: str) -> list[str]:
    """The name of a state, in two lines if it is too long for one."""
    if len(name) <= 14:
        return [name]
    cut = name.rindex("_", 0, 12) + 1
    return [name[:cut], name[cut:]]


def _draw_transition(
    picture: Drawing, state: State, following: State, messages: list[tuple[str, OpCode]]
) -> None:
    width, height = _STATE_SIZE
    (x0, y0), (x1, y1) = STATE_AT[state], STATE_AT[following]
    tint: Tint = "blue" if messages[0][0] == "received" else "orange"
    anchor: Anchor = "start"
    if detour := _DETOURS.get((state, following)):
        points, label, anchor = list(detour.points), detour.label, detour.anchor
    elif y0 == y1:
        points = [(x0 + width / 2, y0), (x1 - width / 2, y1)]
        label, anchor = ((x0 + x1) / 2, y0 - 23), "middle"
    elif x0 == x1:
        points = [(x0, y0 + height / 2), (x1, y1 - height / 2)]
        label = (x0 + 10, (y0 + y1) / 2 - 3)
    else:
        raise AssertionError(f"no way is drawn yet for {state.name} -> {following.name}")
    picture.arrow(*points, tint=tint)
    for line, (verb, opcode) in enumerate(messages):
        x, y = label[0], label[1] + 32 * line
        picture.text(x, y, verb, tint=tint, style="small", anchor=anchor)
        picture.text(x, y + 15, spoken(opcode.name), tint=tint, style="small bold", anchor=anchor)


def _draw_beginnings_and_ends(picture: Drawing) -> None:
    """What the tables do not say, because no message does it."""
    width, height = _STATE_SIZE
    for state, begin in (
        (State.HELLO_AWAITED, "a connection is accepted"),
        (State.HELLO_SENT, "HelloRequest posted"),
    ):
        x, y = STATE_AT[state]
        picture.arrow((x, y - 54), (x, y - height / 2), tint="soft")
        picture.text(x + 10, y - 42, begin, tint="soft", style="small", anchor="start")
    closed_x, closed_y = STATE_AT[State.CLOSED]
    for state, side in ((State.BYE_ANSWERED, -1), (State.FINISHING, 1)):
        x, y = STATE_AT[state]
        ways = ((x, y + height / 2), (x, closed_y), (closed_x + side * width / 2, closed_y))
        picture.arrow(*ways, tint="soft")
    end = "the peer closes, or time is up"
    picture.text(closed_x, closed_y - 32, end, tint="soft", style="small")


# ---------------------------------------------------------------------- flows

_LANES: Final[Mapping[tuple[Side, str], float]] = {
    ("client", "app"): 76, ("client", "engine"): 322,
    ("server", "engine"): 478, ("server", "app"): 724,
}  # fmt: skip
_ALONE: Final = {"app": 80.0, "engine": 364.0}
_LANE_WIDTH: Final = 146
_ROW: Final = 52


def _other(side: Side) -> Side:
    return "server" if side == "client" else "client"


def draw_flow(flow: Flow) -> Drawing:
    lanes: Mapping[tuple[Side, str], float] = _LANES
    if len(flow.sides) == 1:
        lanes = {(flow.sides[0], part): x for part, x in _ALONE.items()}
    rows = [0.0]
    for step in flow.steps:
        rows.append(rows[-1] + (1.5 if isinstance(step, Cross) else 1))
    height = 74 + _ROW * rows[-1]
    picture = Drawing(800 if len(flow.sides) == 2 else 444, height, flow.title)
    for (side, part), x in lanes.items():
        picture.line((x, 44), (x, height - 10), dashed=True)
        picture.box(x - _LANE_WIDTH / 2, 10, _LANE_WIDTH, 34, stroke="line")
        name = "application" if part == "app" else "engine"
        picture.text(x, 32, f"{side}'s {name}", style="small bold")
    for step, row in zip(flow.steps, rows, strict=False):
        _draw_step(picture, lanes, step, 44 + _ROW * (row + 0.74))
    return picture


def _draw_step(
    picture: Drawing, lanes: Mapping[tuple[Side, str], float], step: Step, y: float
) -> None:
    def label(x: float, text: str, note: str = "", tint: Tint = "ink") -> None:
        picture.text(x, y - 8, text, style="small bold", tint=tint, halo=True)
        if note:
            picture.text(x, y + 15, note, style="small", tint="soft", halo=True)

    middle = sum(lanes.values()) / len(lanes)
    match step:
        case Carry(side, opcode, note):
            path = [(lanes[s, p], y) for s, p in _way(side)]
            picture.arrow(*path, tint="blue")
            for x, _ in path[1:3]:
                picture.dot(x, y, 3.5, "blue")
            label(middle, spoken(opcode.name), note)
        case Cross(opcode):
            for side in ("client", "server"):
                (x0, x1, x2, x3) = (lanes[s, p] for s, p in _way(side))
                picture.arrow((x0, y), (x1, y), (x2, y + 26), (x3, y + 26), tint="blue")
                label((x0 + x1) / 2, spoken(opcode.name))
        case Post(side, opcode, note):
            app, engine = lanes[side, "app"], lanes[side, "engine"]
            picture.arrow((app, y), (engine, y), tint="blue")
            label((app + engine) / 2, spoken(opcode.name), note)
        case Sees(side, opcode, status, origin, reason, note):
            app, engine = lanes[side, "app"], lanes[side, "engine"]
            picture.arrow((engine, y), (app, y), tint="orange")
            who = f"({origin.name.lower()}, {status.name.lower()})"
            because = f"~reason: {reason.name}" if reason is not None else ""
            label((app + engine) / 2, f"{spoken(opcode.name)} {who}", note or because)
        case Update(side):
            app, engine = lanes[side, "app"], lanes[side, "engine"]
            picture.arrow((app, y), (engine, y), tint="green")
            label((app + engine) / 2, "update_receiver, empty holder")
        case Put(side):
            app, engine = lanes[side, "app"], lanes[side, "engine"]
            picture.arrow((app, y), (engine, y), tint="green")
            label((app + engine) / 2, "put")
        case Wire(side, text):
            ends = [(lanes[s, "engine"], y) for s in (side, _other(side))]
            picture.arrow(*ends, tint="soft", dashed=True)
            picture.text(middle, y - 8, text, style="small", tint="soft", halo=True)
        case Note(text):
            picture.text(middle, y + 4, text, style="small", tint="soft", halo=True)
        case _:
            assert_never(step)


def _way(side: Side) -> list[tuple[Side, str]]:
    return [(side, "app"), (side, "engine"), (_other(side), "engine"), (_other(side), "app")]


# ---------------------------------------------------------------------- where things are


def storeys() -> list[list[str]]:
    """The modules of each storey, from the top, as the import contract in pyproject.toml has them.

    A package stands for everything in it.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip() for name in layer.replace("\\", "").split(":")] for layer in layers]


def modules(storey: list[str]) -> list[Path]:
    """The files of a storey, packages opened, in the order of the alphabet."""
    files: list[Path] = []
    for name in storey:
        package = ROOT / "src" / "pytofu" / name
        found = sorted(package.glob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
        files.extend(file for file in found if file.name != "__init__.py")
    return sorted(files)


_STOREYS: Final = {
    "cli": ("command line", "a program like yours"),
    "peers": ("peers", "calls, streams, topics"),
    "public": ("public", "exceptions leave here"),
    "engine": ("engine", "carries out, on Trio"),
    "links": ("links", "alone touch sockets"),
    "protocol": ("protocol", "no socket, clock or Trio"),
    "values": ("values", "plain data"),
    "patterns": ("patterns", "for all the others"),
}


def draw_house() -> Drawing:
    rows: list[tuple[str, str, list[list[str]]]] = []
    for storey in storeys():
        if storey == ["__main__"]:
            continue  # which only calls the command line
        (package,) = storey
        name, remark = _STOREYS[package]
        files = ["cli/"] if package == "cli" else [file.name for file in modules(storey)]
        rows.append((name, remark, [files[i : i + 4] for i in range(0, len(files), 4)]))
    height = sum(26 + 36 * len(lines) for _, _, lines in rows) + 14 * len(rows) + 6
    picture = Drawing(750, height, "The storeys of the source, and the modules in each")
    top = 8.0
    for name, remark, lines in rows:
        tall = 26 + 36 * len(lines)
        picture.box(5, top, 740, tall, fill="paper", radius=10)
        picture.text(18, top + tall / 2 - 4, name, style="bold", anchor="start", tint="blue")
        picture.text(18, top + tall / 2 + 14, remark, style="small", anchor="start", tint="soft")
        for line, files in enumerate(lines):
            for column, file in enumerate(files):
                x, y = 172 + 142 * column, top + 15 + 36 * line
                picture.box(x, y, 138, 28)
                picture.text(x + 69, y + 18, file, style="mono small")
        if top > 8:
            picture.arrow((90, top - 15), (90, top - 1), tint="soft")
        top += tall + 14
    return picture


@attrs.frozen
class Room:
    """A step in the life of a message: where it is, and what happens to it there."""

    place: str
    """A function of pytofu, by its full name."""
    what: str

    @property
    def name(self) -> str:
        """The function without its module."""
        *_, owner, function = self.place.split(".")
        return f"{owner}.{function}" if owner[0].isupper() else function

    @property
    def file(self) -> str:
        """The file it is in, below src/pytofu."""
        module = self.place.removeprefix("pytofu.").removesuffix(f".{self.name}")
        return module.replace(".", "/") + ".py"


SENDING: Final = (
    Room("pytofu.public.channel_group.ChannelGroup.post", "takes the message out of its holder"),
    Room("pytofu.engine.posting.Poster.post", "has it checked and finds its channel"),
    Room("pytofu.values.message.Message.check_and_prepare", "validates, completes the header"),
    Room("pytofu.protocol.lifecycle.post_rules", "may this be sent in this state?"),
    Room("pytofu.protocol.framing.FrameWriter.push", "freezes it into bytes, queues them"),
    Room("pytofu.engine.turns.EndOfTurn.before_io_wait", "the turn of the loop is over: write"),
    Room("pytofu.engine.io_channel.IoChannel.work", "writes what is queued in one go"),
    Room("pytofu.links.sockets.SocketLink.send", "gives it to the system"),
)
RECEIVING: Final = (
    Room("pytofu.public.channel_group.ChannelGroup.wait_receive", "hands it to the application"),
    Room("pytofu.engine.fair_mailbox.FairMailBox.send_to", "waits there for its channel's turn"),
    Room("pytofu.engine.accounts.ChannelAccount.charge", "counts it as held"),
    Room("pytofu.protocol.lifecycle.receive_rules", "may this arrive in this state?"),
    Room("pytofu.protocol.framing.FrameReader.read", "cuts the bytes into messages"),
    Room("pytofu.links.sockets.SocketLink.receive", "takes what the system has"),
    Room("pytofu.engine.io_channel.IoChannel.on_readable", "reads once, and lets others read"),
    Room("pytofu.engine.reactor.EpollReactor.serve", "asks the system which links are ready"),
)


def draw_life() -> Drawing:
    last = len(SENDING)
    picture = Drawing(750, 28 + 80 * last, "The life of a message, from post to wait_receive")
    for left, rooms, numbers, title in (
        (5, SENDING, range(1, last + 1), "the sender's process"),
        (415, RECEIVING, range(2 * last, last, -1), "the receiver's process"),
    ):
        picture.text(left + 165, 22, title, style="bold", tint="soft")
        for row, (room, number) in enumerate(zip(rooms, numbers, strict=True)):
            y = 36 + 80 * row
            picture.box(left, y, 330, 64)
            picture.dot(left + 24, y + 32, 13, "blue")
            picture.text(left + 24, y + 36.5, str(number), style="small bold", tint="paper")
            picture.text(left + 50, y + 20, room.name, style="mono bold", anchor="start")
            picture.text(left + 50, y + 37, room.what, style="small", anchor="start")
            picture.text(left + 50, y + 54, room.file, style="small", anchor="start", tint="soft")
            if row:
                ends: tuple[Point, Point] = ((left + 165, y - 15), (left + 165, y - 1))
                picture.arrow(*(ends if number <= last else reversed(ends)), tint="blue")
    bottom = 68 + 80 * (last - 1)
    picture.arrow((335, bottom), (414, bottom), tint="blue", thick=2.2)
    picture.text(375, bottom - 10, "socket", style="small", tint="soft")
    return picture


# ---------------------------------------------------------------------- all of them


def drawings() -> dict[str, Callable[[], Drawing]]:
    """Every picture by the name of its file."""
    made: dict[str, Callable[[], Drawing]] = {
        "overview": draw_overview,
        "frame": draw_frame,
        "states": draw_states,
        "house": draw_house,
        "life": draw_life,
    }
    for flow in FLOWS:
        made[f"flow-{flow.name}"] = partial(draw_flow, flow)
    return {f"{name}.svg": draw for name, draw in made.items()}


def main() -> None:
    for name, draw in drawings().items():
        (PICTURES / name).write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
