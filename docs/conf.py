"""Sphinx configuration; `./dev docs` builds with warnings as errors."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "pytofu"
author = "pytofu contributors"
project_copyright = "2026, pytofu contributors"
release = version = version_of("pytofu")

extensions = [
    "myst_parser",
    "pytofu_docs",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"pytofu {release}"
html_static_path = ["_static"]
html_css_files = ["pytofu.css"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
# A class is described by its docstring; `__init__` has none and says nothing more.
autodoc_class_signature = "mixed"
# Only the numbers are left out of the signature that IntEnum inherits.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True


def setup(app: Sphinx) -> None:
    """Mermaid diagrams stay text here: drawing them would load a script from elsewhere.

    Readers of the sources on a forge see them drawn.
    """
    app.add_lexer("mermaid", TextLexer)
