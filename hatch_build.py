"""What the package says of itself where pyproject.toml cannot: its readme and its addresses.

README.md is read in the repository, where its links lead to files beside it, and on PyPI, where
there are none. So on the way to PyPI they become links to the repository. As long as that has no
public address, what was a link is plain text there.
"""

import re
from typing import Any, Final

from hatchling.metadata.plugin.interface import MetadataHookInterface

# A link that is neither complete nor to a place on the same page; a picture's begins with "!".
_RELATIVE: Final = re.compile(r"(!?)\[([^\]]+)\]\((?![a-z]+:|#)([^)\s]+)\)")


def complete_links(readme: str, repository: str) -> str:
    """The text with links that work anywhere."""

    def complete(link: re.Match[str]) -> str:
        picture, label, path = link.groups()
        if not repository:
            return label
        return f"{picture}[{label}]({repository}/{'raw' if picture else 'blob'}/main/{path})"

    return _RELATIVE.sub(complete, readme)


def urls(repository: str) -> dict[str, str]:
    """What PyPI shows beside the readme."""
    if not repository:
        return {}
    pages = {"Documentation": "docs/index.md", "Changelog": "CHANGELOG.md"}
    return {
        "Source": repository,
        "Issues": f"{repository}/issues",
        **{name: f"{repository}/blob/main/{path}" for name, path in pages.items()},
    }


class CustomMetadataHook(MetadataHookInterface):
    """Hatchling takes the class of this name."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what `dynamic` in pyproject.toml names."""
        repository: str = self.config["repository"]
        with open(f"{self.root}/README.md", encoding="utf-8") as file:
            text = complete_links(file.read(), repository)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(repository)
