"""The states of a channel, drawn by Graphviz: `python -m docs.states` writes pictures/states.svg.

States and arrows are those of the tables in pytofu/protocol/lifecycle.py. Graphviz finds the
places, and is needed only when the tables have changed: the picture is committed, with its source
in it, and a test compares that.
"""

import re
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Final

from docs.sequence import spoken
from pytofu import OpCode
from pytofu.protocol.lifecycle import POSTED, RECEIVED, State

PICTURE: Final = Path(__file__).parent / "pictures" / "states.svg"

BEGINNINGS: Final = (State.HELLO_AWAITED, State.HELLO_SENT)
"""Of an accepted channel, and of one that connects: side by side."""

# Graphviz wants colours. On the page, which has others in the dark, they are its variables.
_COLOURS: Final = {
    "ink": "#1f2328", "soft": "#59636e", "line": "#8b949e", "fill": "#f4f6f8", "blue": "#0a5fc2",
    "orange": "#b04a00", "red": "#c0212b",
}  # fmt: skip

_SPACE: Final = "\N{NO-BREAK SPACE}"

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


def source() -> str:
    """The picture in Graphviz's language."""
    arrows = transitions()
    endings = [state for state, following in arrows if following is State.CLOSED]
    for state in endings:
        del arrows[state, State.CLOSED]
    hue = {name: f'"{colour}"' for name, colour in _COLOURS.items()}
    lines = [
        "digraph {",
        "bgcolor=transparent nodesep=0.5 ranksep=0.6",
        'node [shape=box style="rounded,filled" fontname="DejaVu Sans Mono" fontsize=12 height=0.6',
        f"width=1.95 fixedsize=true color={hue['line']} fontcolor={hue['ink']}",
        f"fillcolor={hue['fill']}]",
        'edge [fontname="DejaVu Sans" fontsize=11 arrowsize=0.7',
        f"color={hue['soft']} fontcolor={hue['soft']}]",
        f"{{rank=same {' '.join(state.name for state in BEGINNINGS)}}}",
    ]
    lines += [_node(state, ends=state in endings) for state in State]
    lines += [_edge(*ends, messages) for ends, messages in arrows.items()]
    lines.append('BYE_ANSWERED -> CLOSED [label="the peer closes, or time is up"]')
    lines += ["FINISHING -> CLOSED", "}"]
    return "\n".join(lines)


def _node(state: State, *, ends: bool) -> str:
    name = state.name.replace("_THEN_", "_THEN_<BR/>")
    dot = f' <FONT COLOR="{_COLOURS["red"]}">●</FONT>' if ends else ""
    return f"{state.name} [label=<<B>{name}</B>{dot}>]"


def _edge(state: State, following: State, messages: list[tuple[str, OpCode]]) -> str:
    tint = _COLOURS["blue" if messages[0][0] == "received" else "orange"]
    label = "".join(
        f'{_SPACE}{verb}<BR ALIGN="LEFT"/>{_SPACE}<B>{spoken(opcode)}</B><BR ALIGN="LEFT"/>'
        for verb, opcode in messages
    )
    return f'{state.name} -> {following.name} [label=<{label}> color="{tint}" fontcolor="{tint}"]'


def committed() -> str:
    """The picture as it was drawn last."""
    return PICTURE.read_text(encoding="utf-8")


def source_of(picture: str) -> str:
    """The source that a picture was drawn from, as it says itself."""
    found = re.search(r"<metadata>(.*?)</metadata>", picture, re.DOTALL)
    return unescape(found[1]) if found is not None else ""


def draw() -> str:
    """The picture as an SVG that takes its colours from the page. Needs Graphviz."""
    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=source(), capture_output=True, check=True, text=True
    ).stdout
    svg = drawn[drawn.index("<svg") :]
    for name, colour in _COLOURS.items():
        svg = svg.replace(f'"{colour}"', f'"var(--{name})"')
    svg = re.sub(r"<title>.*?</title>\n|<!--.*?-->\n| class=\"[a-z]+\"| id=\"\w+\"", "", svg)
    kept = f"<metadata>{escape(source())}</metadata>\n<g"
    named = '<svg role="img" aria-label="The states of a channel"'
    return svg.replace("<g", kept, 1).replace("<svg", named, 1)


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
