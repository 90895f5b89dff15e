"""Wide tables in narrow windows: every row becomes a card, and each cell tells its column.

The words of the header go into an attribute of the cells, from which the style sheet takes them.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

MANY_COLUMNS = 3


class Translator(HTML5Translator):
    """Sphinx's own, with the names of the columns."""

    def starttag(self, node: nodes.Node, *args: Any, **attributes: Any) -> str:
        if isinstance(node, nodes.entry) and node.get("column"):
            attributes["data-column"] = node["column"]
        return super().starttag(node, *args, **attributes)


def name_columns(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Prepare all tables with a header and many columns, but for those that are small anyway."""
    for table in doctree.findall(nodes.table):
        head = [
            entry.astext()
            for row in table.findall(nodes.thead)
            for entry in row.findall(nodes.entry)
        ]
        if len(head) < MANY_COLUMNS or not any(head) or "tofu-small" in table["classes"]:
            continue
        table["classes"].append("tofu-cards")
        for body in table.findall(nodes.tbody):
            for row in body.findall(nodes.row):
                for cell, column in zip(row.findall(nodes.entry), head, strict=True):
                    cell["column"] = column
                    if not cell.astext():
                        cell["classes"].append("empty")
