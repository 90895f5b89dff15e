"""Sphinx configuration; ``./dev docs`` builds with warnings as errors."""

from importlib.metadata import version as version_of

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "pytofu"
author = "pytofu contributors"
project_copyright = "2026, pytofu contributors"
release = version = version_of("pytofu")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pytofu {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def setup(app: Sphinx) -> None:
    """Mermaid diagrams stay text here: drawing them would load a script from elsewhere.

    Readers of the sources on a forge see them drawn.
    """
    app.add_lexer("mermaid", TextLexer)
