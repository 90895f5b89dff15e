import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.protocol.ending import ENDINGS, Cause, Ending
from pytofu.protocol.signals import add_detail, channel_closed, engine_signal
from pytofu.values.header import BinaryHeader, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeStatus

FROM_ENGINE = 0b1_0000


def test_a_signal_from_the_engine() -> None:
    message = engine_signal(7, AmpeStatus.POOL_EMPTY)
    assert message.header == BinaryHeader(
        7, OpCode.SIGNAL | FROM_ENGINE, AmpeStatus.POOL_EMPTY, message_id=0
    )
    assert message.is_from_engine()
    assert message.text_headers.to_bytes() == message.payload == b""


def test_the_last_event_names_channel_opener_and_reason() -> None:
    message = channel_closed(7, 99, ENDINGS[Cause.PEER_LEFT])
    assert message.header == BinaryHeader(
        7, OpCode.SIGNAL | FROM_ENGINE, AmpeStatus.CHANNEL_CLOSED, message_id=99
    )
    assert list(message.text_headers) == [("~reason", "PEER_DISCONNECTED")]
    assert message.payload == b""


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.name)
def test_every_ending_is_told_with_its_detail(cause: Cause) -> None:
    ending = ENDINGS[cause]
    message = channel_closed(1, 2, ending)
    expected = [("~reason", ending.reason.name)]
    if ending.detail:
        expected.append(("~detail", ending.detail))
    assert list(message.text_headers) == expected


@pytest.mark.parametrize(
    ("detail", "value"),
    [
        ("", None),
        (" \r\n\t\0 ", None),
        ("Connection refused", "Connection refused"),
        ("two\r\nlines", "two lines"),
        ("~reason:x\r\n~reason:SUCCESS", "~reason:x ~reason:SUCCESS"),
        ("a\0b", "a b"),
        ("half a pair: \ud800", "half a pair: ?"),
        ("a: b", "a: b"),
        ("größer", "größer"),
    ],
)
def test_a_detail_is_one_line_of_valid_text(detail: str, value: str | None) -> None:
    message = Message()
    add_detail(message, detail)
    expected = [] if value is None else [("~detail", value)]
    assert list(message.text_headers) == expected


@given(st.text(st.characters(codec=None), max_size=40), st.sampled_from(AmpeStatus))
def test_any_text_at_all_can_be_told(detail: str, reason: AmpeStatus) -> None:
    message = channel_closed(1, 2, Ending(reason, detail=detail))
    first, *rest = message.text_headers.to_bytes().decode().removesuffix("\r\n").split("\r\n")
    assert first == f"~reason:{reason.name}"
    assert len(rest) <= 1
    for line in rest:
        assert line.startswith("~detail:")
        assert not set(line) & set("\r\n\0")
