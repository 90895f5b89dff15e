"""What was measured, as a picture: an SVG with a panel of bars for each work."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.contenders import CALLS, REFERENCE
from benchmarks.runner import Results
from benchmarks.work import Subject, Work

_COLUMNS: Final = 2
_PANEL: Final = 460
"""Width of a panel, in pixels as everything here."""
_LABEL: Final = 110
_BAR: Final = 200
_ROW: Final = 20
_HEAD: Final = 34
_GAP: Final = 24
_OURS: Final = "#4a90c2"
_THEIRS: Final = "#9aa7b2"
_STYLE: Final = (
    ".paper { fill: #ffffff } text { fill: #1a1a1a }"
    " @media (prefers-color-scheme: dark) { .paper { fill: #131416 } text { fill: #d0d2d6 } }"
)

_SHOWN: Final = CALLS | {
    *(Subject.ECHO, Subject.ONE_WAY, Subject.FAN_IN, Subject.CONNECTIONS),
}
"""What has a throughput."""


def write_svg(path: Path, results: Results) -> None:
    """A panel for each work that has a throughput: bars by contender, the best first."""
    works = [work for work in results.rounds if work.subject in _SHOWN]
    path.write_text("\n".join(_document(results, works)) + "\n", encoding="utf-8")


def _document(results: Results, works: Sequence[Work]) -> Iterator[str]:
    lines = [works[at : at + _COLUMNS] for at in range(0, len(works), _COLUMNS)]
    heights = [max(_HEAD + _ROW * len(results.medians(work)) for work in line) for line in lines]
    width = _COLUMNS * _PANEL + _GAP
    height = sum(heights) + _GAP * (len(lines) + 1)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' width="{width}" height="{height}" font-family="sans-serif" font-size="12">'
    )
    yield "<title>Messages per second, pytofu and its peers</title>"
    yield f"<style>{_STYLE}</style>"
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    y = _GAP
    for line, line_height in zip(lines, heights, strict=True):
        for column, work in enumerate(line):
            yield from _panel(results, work, _GAP + column * _PANEL, y)
        y += line_height + _GAP
    yield "</svg>"


def _panel(results: Results, work: Work, x: int, y: int) -> Iterator[str]:
    speeds = {name: figures["per_second"] for name, figures in results.medians(work).items()}
    unit = "connections" if work.subject is Subject.CONNECTIONS else "messages"
    title = f"{work.title} ({unit}/s)"
    yield f'<text x="{x}" y="{y + 14}" font-weight="bold">{escape(title)}</text>'
    for row, (name, speed) in enumerate(sorted(speeds.items(), key=lambda item: -item[1])):
        top = y + _HEAD + row * _ROW
        length = max(1, round(_BAR * speed / max(speeds.values())))
        ratio = results.ratio(work, name)
        label = f"{speed:,.0f}" + ("" if ratio is None or name == REFERENCE else f"  x{ratio:.2f}")
        fill = _OURS if name.startswith(REFERENCE) else _THEIRS
        yield f'<text x="{x + _LABEL - 6}" y="{top + 11}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{x + _LABEL}" y="{top}" width="{length}" height="14" fill="{fill}"/>'
        yield f'<text x="{x + _LABEL + length + 6}" y="{top + 11}">{label}</text>'
