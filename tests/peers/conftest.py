"""Every test between peers leaves nothing behind."""

import pytest

from tests.resources import nothing_left as nothing_left


@pytest.fixture(autouse=True)
def _nothing_left(nothing_left: None) -> None:
    """Apply `nothing_left` to the whole directory."""
