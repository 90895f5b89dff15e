"""Sphinx configuration; `./dev docs` builds with warnings as errors."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

os.environ["PYTOFU_PURE"] = "1"  # compiled attributes have no types to show
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
pygments_dark_style = "github-dark"
html_title = f"pytofu {release}"
html_static_path = ["_static"]
html_css_files = ["pytofu.css", "pictures.css"]

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# What the examples of the reference do not import themselves.
doctest_global_setup = """
import datetime
from functools import partial
from typing import Protocol

import trio

from pytofu import *
"""

# Single backticks in docstrings name things; what is no name of ours is shown as code.
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 78
toc_object_entries_show_parents = "hide"
# A class is described by its docstring; `__init__` has none and says nothing more.
autodoc_class_signature = "mixed"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
