"""Header values: timeouts, texts, counts, features (peers/wire.py)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.peers.wire import (
    Features,
    quoted,
    read_count,
    read_features,
    read_timeout,
    timeout_text,
    unquoted,
    user_headers,
)


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
def test_a_timeout_is_never_longer_than_was_given(seconds: float) -> None:
    text = timeout_text(seconds)
    assert len(text) <= 9
    read = read_timeout(text)
    assert read <= max(seconds, 1e-9) * (1 + 1e-15)
    if 1e-6 < seconds < 3.6e11:
        assert read >= seconds * (1 - 1e-3)


def test_timeouts() -> None:
    assert timeout_text(0) == "1n"
    assert timeout_text(-1) == timeout_text(-math.inf) == "1n"
    assert timeout_text(0.05) == "50000000n"
    assert timeout_text(0.2) == "200000u"
    assert timeout_text(0.999999) == "999999u"
    assert timeout_text(59.9999) == "59999m"
    assert timeout_text(99_999.9999) == "99999999m"
    assert timeout_text(100_000) == "100000S"
    assert timeout_text(1e30) == "99999999H"
    for text, seconds in [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6)]:
        assert read_timeout(text) == seconds


@pytest.mark.parametrize("text", [None, "", "1", "S", "-1S", "123456789S", "1s", "1 S", "\u0663S"])
def test_what_is_no_timeout_is_no_limit(text: str | None) -> None:
    assert read_timeout(text) == math.inf


@given(st.text(max_size=500))
def test_texts_survive_and_fit_a_header(text: str) -> None:
    header = quoted(text)
    assert header.isascii()
    assert header.isprintable()
    assert " " not in header
    assert unquoted(header) == text.encode(errors="replace").decode()


def test_texts_have_a_longest() -> None:
    assert unquoted(quoted("x" * 10_000)) == "x" * 4096


@pytest.mark.parametrize("text", [None, "", "-1", "1.0", "1234567890", "x", "\u0661"])
def test_what_is_no_count(text: str | None) -> None:
    assert read_count(text) is None


def test_counts() -> None:
    assert read_count("0") == 0
    assert read_count("999999999") == 999_999_999


@given(st.integers(0, 10**9 - 1), st.sampled_from([None, 0.001, 1.0, 86400.0]))
def test_features_survive(calls: int, heartbeat: float | None) -> None:
    features = Features(calls, heartbeat)
    for side, other in (("client", "server"), ("server", "client")):
        assert read_features(features.to_text(side), side) == features
        assert read_features(features.to_text(side), other) is None


@given(st.text(alphabet="clientservr =,0123456789hbamSn", max_size=60))
def test_any_features_can_be_read(text: str) -> None:
    read_features(text, "client")
    assert read_features(f"client {text}", "client") is not None


def test_features_of_the_future() -> None:
    read = read_features("client new=1 calls=x heartbeat=0S x==", "client")
    assert read == Features(0, None)
    assert read_features(None, "client") is None


def test_headers_of_the_program() -> None:
    assert user_headers({"a": "1", "tofu-method": "2", "~x": "3"}) == {"a": "1"}
