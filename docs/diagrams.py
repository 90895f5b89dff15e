"""The pictures of the pages, made from data when these are built, as HTML that the style lays out.

Nothing here says where on the paper something stands: docs/_static/pictures.css does, by rules that
hold for any number of rooms, storeys and steps. What can be read from the source is read from it:
the storeys of the house are those of the import contract. The states of a channel alone are drawn
beforehand, by docs/states.py.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Final

import attrs

from docs import sequence, states
from docs.flows import FLOWS

ROOT: Final = Path(__file__).parent.parent


def box(kind: str, *content: str) -> str:
    """An element of the classes `kind`, around HTML."""
    return f'<div class="{kind}">{"".join(content)}</div>'


def words(kind: str, text: str) -> str:
    """An element of the classes `kind`, around plain text."""
    return box(kind, escape(text))


# ---------------------------------------------------------------------- what it is


def draw_overview() -> str:
    def program(side: str, title: str) -> str:
        ways = box("ways", words("post", "post"), words("receive", "wait_receive"))
        channels = box("channels", *(words("pill", "IO channel") for _ in range(2)))
        parts = [words("node", "mailbox"), channels]
        group = box("group", words("name", "channel group"), box("row", *parts))
        return box(
            f"program {side}", words("name", title), words("node", "your tasks"), ways, group
        )

    between = box(
        "between",
        words("soft", "messages, whole and in order, both ways"),
        words("wire", "TCP"),
        words("wire", "Unix socket"),
    )
    return box("overview", program("left", "your client"), between, program("right", "your server"))


# ---------------------------------------------------------------------- the frame


def draw_frame() -> str:
    fields = {
        "channel number": 2, "proto": 1, "status": 1, "message_id": 8,
        "text headers length": 2, "body length": 2,
    }  # fmt: skip
    bits = {"internal B": 1, "internal A": 1, "more": 1, "origin": 1, "opcode": 4}
    long = {"text headers: name:value CR LF, up to 65,535 bytes": 16}
    frame = _rows(range(16), fields, long, {"body: up to 65,535 bytes": 16})
    heading = "the proto byte, highest bit first"
    return box("frame", frame, words("soft", heading), _rows(range(7, -1, -1), bits))


def _rows(numbers: Iterable[int], *rows: Mapping[str, int]) -> str:
    head = "".join(f"<th>{number}</th>" for number in numbers)
    lines = (
        "".join(f'<td colspan="{width}">{escape(name)}</td>' for name, width in row.items())
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


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
    "_choice": ("choice", "compiled, or pure Python"),
}


def draw_house() -> str:
    drawn: list[str] = []
    for storey in storeys():
        if storey == ["__main__"]:
            continue  # which only calls the command line
        (package,) = storey
        name, remark = _STOREYS[package]
        files = ["cli/"] if package == "cli" else [file.name for file in modules(storey)]
        rooms = box("rooms", *(words("node code", file) for file in files))
        drawn.append(box("storey", box("about", words("name", name), words("soft", remark)), rooms))
    return box("house", *drawn)


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


def draw_life() -> str:
    last = len(SENDING)
    sides = (
        ("down", "the sender's process", zip(range(1, last + 1), SENDING, strict=True)),
        ("up", "the receiver's process", zip(range(2 * last, last, -1), RECEIVING, strict=True)),
    )
    return box(
        "life",
        *(
            box(f"process {way}", words("soft name", title), *(_room(*one) for one in rooms))
            for way, title, rooms in sides
        ),
    )


def _room(number: int, room: Room) -> str:
    texts = (words("code", room.name), words("", room.what), words("soft", room.file))
    return box("node room", words("number", str(number)), box("", *texts))


# ---------------------------------------------------------------------- all of them


def pictures() -> dict[str, Callable[[], str]]:
    """Every picture by its name: what makes its HTML."""
    made: dict[str, Callable[[], str]] = {
        "overview": draw_overview,
        "frame": draw_frame,
        "states": states.committed,
        "house": draw_house,
        "life": draw_life,
    }
    for flow in FLOWS:
        made[f"flow-{flow.name}"] = partial(sequence.draw, flow)
    return made
