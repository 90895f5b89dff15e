"""text_headers_parse and text_headers_serialise."""

from typing import Any

import pytest

from pytofu.patterns.result import OK, Err
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError
from pytofu.values.text_headers import TextHeaders
from tests.conformance.loading import rows


def text(data: str) -> str:
    return bytes.fromhex(data).decode(errors="replace")


def read_back(headers: TextHeaders) -> list[list[str]]:
    return [list(header) for header in TextHeaders.from_bytes(headers.to_bytes())]


@pytest.mark.parametrize("row", rows("text_headers_parse"), ids=lambda row: str(row["raw_hex"]))
def test_parse(row: dict[str, Any]) -> None:
    raw = None if row["raw_hex"] is None else bytes.fromhex(row["raw_hex"])
    headers = TextHeaders.from_bytes(raw)
    expected = [[text(name), text(value)] for name, value in row["headers"]]
    assert [list(header) for header in headers] == expected
    assert headers.to_bytes() == (raw or b"")
    # And the other way: what was read can be written so that it reads the same, where pytofu
    # takes it at all; an empty value, and CR or LF inside, were never written by `append`.
    for name, value in expected:
        written = TextHeaders()
        if written.try_append(name, value) is OK:
            assert read_back(written) == [[name.strip(" \t\r\n"), value]]
        else:
            assert not value or "\n" in name + value or "\r" in name + value or not name.strip()


@pytest.mark.parametrize(
    "row", rows("text_headers_serialise"), ids=lambda row: str(row["bytes_hex"])
)
def test_serialise(row: dict[str, Any]) -> None:
    as_bytes, as_text = TextHeaders(), TextHeaders()
    expected: list[list[str]] = []
    for (name, value), result in zip(row["input"], row["append_results"], strict=True):
        if result != "ok" or "pytofu" in row:
            refused = Err(AmpeError.INVALID_MESSAGE)
            assert as_bytes.try_append(bytes.fromhex(name), bytes.fromhex(value)) == refused
            with pytest.raises(AmpeException) as caught:
                as_text.append(text(name), text(value))
            assert caught.value.error_code is AmpeError.INVALID_MESSAGE
        else:
            as_bytes.append(bytes.fromhex(name), bytes.fromhex(value))
            as_text.append(text(name), text(value))
            expected.append([text(name).strip(" \t\r\n"), text(value).strip(" \t")])
    written = b"" if "pytofu" in row else bytes.fromhex(row["bytes_hex"])
    assert as_bytes.to_bytes() == as_text.to_bytes() == written
    assert read_back(as_bytes) == expected
