"""A flow as a picture: a column for each party, a row for each step.

The columns are lanes, numbered from the left; an arrow says which lanes it goes from and to, and
the style does the rest.
"""

from collections.abc import Iterator
from html import escape
from typing import Final, assert_never

from docs.flows import Carry, Cross, Flow, Note, Post, Put, Sees, Side, Step, Update, Wire
from pytofu import OpCode

type Lane = tuple[Side, str]

# The engines are in the middle, where there are two.
_BOTH: Final[list[Lane]] = [
    ("client", "app"), ("client", "engine"), ("server", "engine"), ("server", "app"),
]  # fmt: skip
_NAMES: Final = {"app": "application", "engine": "engine"}


def spoken(opcode: OpCode) -> str:
    """HELLO_REQUEST as people say it: HelloRequest."""
    return "".join(part.capitalize() for part in opcode.name.split("_"))


def draw(flow: Flow) -> str:
    """The picture as HTML."""
    lanes = _BOTH if len(flow.sides) == 2 else [(flow.sides[0], part) for part in _NAMES]
    rows = [row for step in flow.steps for row in _rows(step, lanes)]
    heads = "".join(
        f'<div class="node" style="grid-column:{2 * at + 1}/span 2">{side}\'s {_NAMES[part]}</div>'
        f'<div class="lifeline" style="grid-column:{2 * at + 1};grid-row:2/span {len(rows)}"></div>'
        for at, (side, part) in enumerate(lanes)
    )
    steps = "".join(
        f'<div class="{kind}" style="grid-row:{at};grid-column:{columns}">{content}</div>'
        for at, (kind, columns, content) in enumerate(rows, start=2)
    )
    return f'<div class="flow lanes-{len(lanes)}">{heads}{steps}</div>'


def _rows(step: Step, lanes: list[Lane]) -> Iterator[tuple[str, str, str]]:
    """The rows of a step: the classes, the columns and the content of each."""

    def arrow(start: Lane, end: Lane, tint: str, text: str, note: str = "") -> tuple[str, str, str]:
        first, last = sorted((lanes.index(start), lanes.index(end)))
        way = "right" if lanes.index(start) == first else "left"
        stops = "".join(
            f'<i style="left:{100 * (lane - first) / (last - first):g}%"></i>'
            for lane in range(first + 1, last)
        )
        content = f'<b>{escape(text)}</b><div class="line">{stops}</div><span>{escape(note)}</span>'
        # A lane's middle is the line between its two columns.
        return f"step {way} {tint}", f"{2 * first + 2}/{2 * last + 2}", content

    match step:
        case Carry(side, opcode, note):
            yield arrow((side, "app"), (_other(side), "app"), "blue", spoken(opcode), note)
        case Cross(opcode):
            for side, note in (("client", "both at the same moment"), ("server", "")):
                ends: tuple[Lane, Lane] = ((side, "app"), (_other(side), "app"))
                yield arrow(*ends, "blue", spoken(opcode), note)
        case Post(side, opcode, note):
            yield arrow((side, "app"), (side, "engine"), "blue", spoken(opcode), note)
        case Sees(side, opcode, status, origin, reason, note):
            text = f"{spoken(opcode)} ({origin.name.lower()}, {status.name.lower()})"
            because = f"~reason: {reason.name}" if reason is not None else ""
            yield arrow((side, "engine"), (side, "app"), "orange", text, note or because)
        case Update(side):
            text = "update_receiver, empty holder"
            yield arrow((side, "app"), (side, "engine"), "green", text)
        case Put(side):
            yield arrow((side, "app"), (side, "engine"), "green", "put")
        case Wire(side, text):
            yield arrow((side, "engine"), (_other(side), "engine"), "dashed", text)
        case Note(text):
            yield "remark", "1/-1", f"<span>{escape(text)}</span>"
        case _:
            assert_never(step)


def _other(side: Side) -> Side:
    return "server" if side == "client" else "client"
