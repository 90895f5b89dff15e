"""The picture of the benchmarks, cut into its panels, so that a page can put them below each other.

As one picture it is too wide for a narrow window: scaled down it could not be read, and cut off it
would not be whole.
"""

import re
from pathlib import Path
from typing import Final

MEASURED: Final = Path(__file__).parent / "measured" / "benchmarks.svg"
WIDTH: Final = 436
"""Of a panel in pixels: its labels, its longest bar and the figure behind it."""
_MARGIN: Final = 6

_SHAPE: Final = re.compile(r'<(?:text|rect) x="(\d+)" y="(\d+)".*?(?:</text>|/>)')


def panels(svg: str) -> list[str]:
    """An SVG for each panel, without colours of its own for text; the picture has lines of shapes.

    A panel begins with its title, which is bold.
    """
    found: list[list[re.Match[str]]] = []
    for shape in _SHAPE.finditer(svg):
        if 'font-weight="bold"' in shape[0]:
            found.append([])
        found[-1].append(shape)
    return [_panel(shapes) for shapes in found]


def _panel(shapes: list[re.Match[str]]) -> str:
    left, top = int(shapes[0][1]) - _MARGIN, int(shapes[0][2]) - 20
    height = max(int(shape[2]) for shape in shapes) - top + 12
    view = f"{left} {top} {WIDTH} {height}"
    body = "\n".join(shape[0] for shape in shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img">\n{body}\n</svg>'
