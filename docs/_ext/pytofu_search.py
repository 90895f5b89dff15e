"""A check of the built site: whoever searches for the usual words comes to a page that answers."""

from collections.abc import Mapping, Sequence
from typing import Final

from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.util import logging

log: Final = logging.getLogger(__name__)

ANSWERS: Final[Mapping[str, Sequence[str]]] = {
    "retry": ["words"],
    "reconnect": ["words", "deployment", "reference/peers"],
    "publish": ["words", "reference/peers"],
    "subscribe": ["words", "reference/peers"],
    "rpc": ["words"],
    "install": ["words", "deployment"],
    "asyncio": ["words", "asyncio", "coming-from"],
    "thread": ["words", "threads", "for-zig-tofu-users"],
    "fork": ["words", "threads"],
    "timeout": ["words"],
    "heartbeat": ["words", "howto/heartbeat"],
    "systemd": ["words", "deployment"],
    "docker": ["words", "deployment"],
    "encryption": ["words", "security"],
}
"""A word as it is typed into the search box, and pages that must be among what it finds."""


def check(app: Sphinx, exception: Exception | None) -> None:
    """Warn of each page that would not be found, which fails the build."""
    builder = app.builder
    if exception is not None or not isinstance(builder, StandaloneHTMLBuilder):
        return
    index = builder.indexer
    assert index is not None
    found = index.get_terms({page: page for page in app.env.all_docs})
    for word, pages in ANSWERS.items():
        stem = index.lang.stem(word)
        listed = [one for terms in found for one in _listed(terms.get(stem, []))]
        for page in pages:
            if page not in listed:
                log.warning("a search for %r does not find the page %s", word, page)


def _listed(pages: Sequence[str] | str) -> Sequence[str]:
    """Sphinx writes one page without a list around it."""
    return [pages] if isinstance(pages, str) else pages
