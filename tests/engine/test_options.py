"""What an engine can be told when it is opened (PROTOCOL 2, 5 and 6)."""

from typing import Any, cast

import attrs
import pytest

from pytofu import Options


def test_every_option_has_a_default() -> None:
    options = Options()
    assert options == Options(
        initial_pool_msgs=1024,
        max_pool_msgs=4096,
        connect_timeout=10.0,
        hello_timeout=10.0,
        frame_timeout=60.0,
        close_timeout=5.0,
        high_water=1024 * 1024,
        reuse_port=False,
    )


@pytest.mark.parametrize("number", [0, None])
def test_no_size_of_the_pool_means_the_default(number: int | None) -> None:
    assert Options(initial_pool_msgs=number, max_pool_msgs=number) == Options()


def test_options_are_immutable_values_with_names() -> None:
    options = Options(close_timeout=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        options.close_timeout = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(1024)  # type: ignore[call-arg]
    assert attrs.evolve(options, close_timeout=5.0) == Options()
    assert len({options, Options(close_timeout=1)}) == 1


@pytest.mark.parametrize(
    "name",
    [
        *("initial_pool_msgs", "max_pool_msgs", "high_water"),
        *("connect_timeout", "hello_timeout", "frame_timeout", "close_timeout"),
    ],
)
def test_nothing_is_negative(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        attrs.evolve(Options(), **cast("Any", {name: -1}))
