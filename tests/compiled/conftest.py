"""pytofu twice: as this process runs it, and in pure Python."""

import pytest

from tests.compiled import worlds
from tests.compiled.worlds import World


@pytest.fixture(scope="module")
def compiled() -> World:
    return worlds.actual()


@pytest.fixture(scope="module")
def pure() -> World:
    return worlds.pure()
