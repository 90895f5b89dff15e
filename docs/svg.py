"""A pen for the pictures of the documentation: boxes, arrows and text as SVG, nothing else.

The colours are CSS variables with a light and a dark set, so that a picture suits the page around
it: as a file it follows the reader's system, inside a page of ours the theme (_static/pytofu.css).
"""

from html import escape
from math import atan2, cos, sin
from typing import Final, Literal

type Tint = Literal["ink", "soft", "paper", "blue", "orange", "green", "red"]
type Anchor = Literal["start", "middle", "end"]
type Point = tuple[float, float]

STYLE: Final = """\
.tofu{--ink:#1f2328;--soft:#59636e;--line:#8b949e;--fill:#f4f6f8;--paper:#ffffff;\
--blue:#0a5fc2;--orange:#b04a00;--green:#1a7537;--red:#c0212b;\
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:14px}
@media (prefers-color-scheme:dark){.tofu{--ink:#e6edf3;--soft:#9aa4af;--line:#6e7681;\
--fill:#22272e;--paper:#13161a;--blue:#6cb2ff;--orange:#f2a65e;--green:#63cb7c;--red:#ff8b85}}
.tofu .mono{font-family:ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;\
font-size:13px}
.tofu .small{font-size:12px}
.tofu .bold{font-weight:600}
"""


class Drawing:
    """Collects shapes; `svg()` is the whole file."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self._parts: list[str] = []

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        stroke: str = "line",
        fill: str = "fill",
        radius: float = 6,
        dashed: bool = False,
        thick: float = 1.3,
    ) -> None:
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="var(--{fill})" stroke="var(--{stroke})" stroke-width="{thick:g}"{dashes}/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        tint: Tint = "ink",
        anchor: Anchor = "middle",
        style: str = "",
        halo: bool = False,
    ) -> None:
        """One line, `y` being its base line; with a halo it stays readable upon a line."""
        kind = f' class="{style}"' if style else ""
        behind = (
            ' stroke="var(--paper)" stroke-width="5" stroke-linejoin="round" paint-order="stroke"'
            if halo
            else ""
        )
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="var(--{tint})"{kind}{behind}>'
            f"{escape(text)}</text>"
        )

    def line(
        self, *points: Point, stroke: str = "line", thick: float = 1.3, dashed: bool = False
    ) -> None:
        dashes = ' stroke-dasharray="4 4"' if dashed else ""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{stroke})" '
            f'stroke-width="{thick:g}" stroke-linejoin="round"{dashes}/>'
        )

    def arrow(
        self, *points: Point, tint: str = "ink", thick: float = 1.5, dashed: bool = False
    ) -> None:
        """A line through the points with a head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        angle = atan2(y1 - y0, x1 - x0)
        back = (x1 - 6 * cos(angle), y1 - 6 * sin(angle))
        self.line(*points[:-1], back, stroke=tint, thick=thick, dashed=dashed)
        wings = [(x1 - 10 * cos(angle + a), y1 - 10 * sin(angle + a)) for a in (0.42, -0.42)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x1, y1), *wings])
        self._parts.append(f'<polygon points="{path}" fill="var(--{tint})"/>')

    def dot(self, x: float, y: float, radius: float = 3, tint: str = "ink") -> None:
        self._parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="var(--{tint})" '
            f'stroke="var(--paper)" stroke-width="1"/>'
        )

    def svg(self) -> str:
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="tofu" role="img" {size}>',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}</style>",
                *self._parts,
                "</svg>\n",
            ]
        )
