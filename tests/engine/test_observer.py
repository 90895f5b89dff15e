"""Counters of what went over links."""

from pytofu.engine.observer import Traffic


def test_traffic_begins_with_nothing() -> None:
    assert Traffic() == Traffic(
        messages_sent=0, messages_received=0, bytes_sent=0, bytes_received=0
    )


def test_traffic_adds_up() -> None:
    traffic = Traffic(1, 2, 3, 4)
    other = Traffic(10, 20, 30, 40)
    traffic.add(other)
    assert traffic == Traffic(11, 22, 33, 44)
    assert other == Traffic(10, 20, 30, 40)
