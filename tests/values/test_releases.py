"""Where messages are released, on demand; what `Message` makes of it is in its own tests."""

import os
import subprocess
import sys

import pytest

from pytofu.values.releases import release_site, trace_releases


@pytest.mark.parametrize(
    ("value", "traces"), [("1", True), ("yes", True), ("0", False), ("", False)]
)
def test_the_environment_decides_at_first(value: str, traces: bool) -> None:
    program = "from pytofu.values.message import Message\nprint(repr(Message().release()))"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTOFU_TRACE_RELEASES": value},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = "<Message released at <string>:2>" if traces else "<Message released>"
    assert result.stdout.strip() == expected


def test_the_place_is_the_callers_and_only_when_it_is_asked_for() -> None:
    assert release_site() == ""
    trace_releases(True)
    try:
        assert release_site() == f"{__file__}:{sys._getframe().f_lineno}"
    finally:
        trace_releases(False)
