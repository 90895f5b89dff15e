"""What the documentation takes from the source: its tables, made anew at each build, and pictures.

Directives: `picture`, `transitions`, `exceptions`, `opcodes`, `modules`, `measured`.
"""

import ast
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import ClassVar, Final

import pytofu_search
from docutils import nodes
from pytofu_signatures import link_places, signature_for_users
from pytofu_tables import Translator, name_columns
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from pytofu import EXCEPTIONS, Err, Ok, OpCode
from pytofu.protocol.lifecycle import POSTED, RECEIVED, Posting, State

DOCS: Final = Path(__file__).parent.parent

# Where a docstring says which section of which page it follows.
_SOURCES: Final = re.compile(r" ?\((?:PROTOCOL|pattern guide)[^)]*\)| Source: .*")
sys.path.insert(0, str(DOCS.parent))

from docs.diagrams import modules, pictures, storeys  # noqa: E402  # the path is set just above
from docs.panels import MEASURED, panels  # noqa: E402
from docs.sequence import spoken  # noqa: E402


class Table(SphinxDirective):
    """A directive that makes a table; its cells are Markdown."""

    header: Sequence[str]
    kind: ClassVar[str] = ""

    def rows(self) -> Iterable[Sequence[str]]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        rows = list(self.rows())
        table = nodes.table(classes=["colwidths-auto", *self.kind.split()])
        group = nodes.tgroup(cols=len(self.header))
        table += group
        for _ in self.header:
            group += nodes.colspec(colwidth=1)
        head, body = nodes.thead(), nodes.tbody()
        head += self._row(self.header)
        for cells in rows:
            body += self._row(cells)
        group += [head, body]
        return [table]

    def _row(self, cells: Sequence[str]) -> nodes.row:
        row = nodes.row()
        for text in cells:
            children, messages = self.parse_inline(text, lineno=self.lineno)
            row += nodes.entry("", nodes.paragraph("", "", *children), *messages)
        return row


class Exceptions(Table):
    """Every status with its number, its exception, and what that means."""

    header = ("", "status", "exception", "meaning")

    def rows(self) -> Iterable[Sequence[str]]:
        for error, exception in EXCEPTIONS.items():
            name = exception.__name__
            meaning = (exception.__doc__ or "").split("\n")[0]
            link = f"{{py:exc}}`~pytofu.{name}`"
            yield (
                str(error.value),
                f"[`{error.name}`](errors.md#{_anchor(error.name)})",
                link,
                meaning,
            )


def _anchor(name: str) -> str:
    return name.lower()


class OpCodes(Table):
    """The opcodes as the wire numbers them."""

    header = ("", "opcode", "type", "role", "answered by")
    kind = "tofu-small"

    def rows(self) -> Iterable[Sequence[str]]:
        for opcode in OpCode:
            match opcode.echo():
                case Ok(answer):
                    answered_by = f"`{answer.name}`"
                case Err():
                    answered_by = ""
            kind, role = opcode.type.name.lower(), opcode.role.name.lower()
            yield str(opcode.value), f"`{opcode.name}`", kind, role, answered_by


class Transitions(Table):
    """What a message does in each state; the argument says whether `received` or `posted`."""

    required_arguments = 1
    kind = "tofu-small"

    def rows(self) -> Iterable[Sequence[str]]:
        tables: dict[str, Mapping[State, Mapping[OpCode, State | Posting]]]
        tables = {"received": RECEIVED, "posted": POSTED}
        table = tables[self.arguments[0]]
        used = {opcode for row in table.values() for opcode in row}
        columns: dict[
            tuple[State | Posting | None, ...], list[OpCode]
        ] = {}  # same answers, same column
        for opcode in sorted(used):
            columns.setdefault(tuple(row.get(opcode) for row in table.values()), []).append(opcode)
        self.header = [
            "state",
            *(", ".join(spoken(opcode) for opcode in opcodes) for opcodes in columns.values()),
        ]
        for state, answers in zip(table, zip(*columns, strict=True), strict=True):
            yield f"`{state.name}`", *(_answer(state, following) for following in answers)


def _answer(state: State, following: State | Posting | None) -> str:
    if following is None:
        return ""
    if following is Posting.REFUSE:
        return "refused"
    return "✓" if following is state else f"`{following.name}`"


class Modules(Table):
    """The modules of each storey with the first sentence of their docstrings."""

    header = ("module", "what it has")

    def rows(self) -> Iterable[Sequence[str]]:
        for storey in storeys():
            if storey in (["__main__"], ["cli"]):
                continue  # a program of its own
            for file in modules(storey):
                docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
                sentence = " ".join(docstring.split("\n\n")[0].split())
                place = file.relative_to(DOCS.parent / "src" / "pytofu")
                yield f"`{place}`", _SOURCES.sub("", sentence)


class Picture(SphinxDirective):
    """A picture that docs/diagrams.py makes, inside the page so that it follows its colours.

    The argument is its name, the content a caption.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        picture = pictures()[self.arguments[0]]()
        caption = (
            f"<figcaption>{escape(' '.join(self.content))}</figcaption>" if self.content else ""
        )
        shown = f'<div class="tofu" tabindex="0">{picture}</div>'
        html = f'<figure class="tofu-figure">{shown}{caption}</figure>'
        return [nodes.raw("", html, format="html")]


class Measured(SphinxDirective):
    """The picture of the benchmarks: its panels, as many beside each other as fit."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(MEASURED))
        html = "\n".join(panels(MEASURED.read_text(encoding="utf-8")))
        return [nodes.raw("", f'<div class="tofu-measured">{html}</div>', format="html")]


_kept: Final[dict[str, list[str]]] = {}


def keep_from_napoleon(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Hide the docstrings of attributes: Napoleon takes what stands before a colon for a type."""
    if what in {"attribute", "data", "property"}:
        _kept[name] = list(lines)
        lines.clear()


def give_back(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Bring back what `keep_from_napoleon` has hidden."""
    lines.extend(_kept.pop(name, ()))


def setup(app: Sphinx) -> ExtensionMetadata:
    app.setup_extension("sphinx.ext.autodoc")
    for directive in (Exceptions, OpCodes, Transitions, Modules, Picture, Measured):
        app.add_directive(directive.__name__.lower(), directive)
    app.set_translator("html", Translator)
    app.connect("doctree-resolved", name_columns)
    app.connect("build-finished", pytofu_search.check)
    app.connect("autodoc-process-signature", signature_for_users)
    app.connect("autodoc-process-docstring", keep_from_napoleon, priority=100)
    app.connect("autodoc-process-docstring", give_back, priority=900)
    app.connect("autodoc-process-docstring", link_places, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
