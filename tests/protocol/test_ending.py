"""PROTOCOL 4 to 6 as a table of endings, written down a second time and by hand."""

from typing import Final

import attrs
import pytest

from pytofu.engine.options import Options
from pytofu.protocol.ending import ENDINGS, Cause, Ending, broken, not_connected, violated
from pytofu.values.status import AmpeError, AmpeStatus

# The reason in the last event, how the connection is closed, the status of what comes back, and
# the option whose limit was reached.
_GRID: Final = """
ABORTED               | CHANNEL_CLOSED         reset CHANNEL_CLOSED       -
DENIED                | INVALID_CHANNEL_NUMBER reset CHANNEL_CLOSED       -
AGREED                | SUCCESS                close CHANNEL_CLOSED       -
PEER_LEFT             | PEER_DISCONNECTED      close CHANNEL_CLOSED       -
HELLO_LATE            | NOT_ALLOWED            reset CHANNEL_CLOSED       hello_timeout
NOT_WANTED            | NOT_ALLOWED            reset CHANNEL_CLOSED       accept_filter
HELLO_TOO_LARGE       | NOT_ALLOWED            reset CHANNEL_CLOSED       max_hello_bytes
HELLO_UNANSWERED      | CONNECT_FAILED         reset CONNECT_FAILED       hello_timeout
NOT_CONNECTED_IN_TIME | CONNECT_FAILED         reset CONNECT_FAILED       connect_timeout
FRAME_LATE            | RECV_FAILED            reset CHANNEL_CLOSED       frame_timeout
TOO_MUCH_UNFINISHED   | RECV_FAILED            reset CHANNEL_CLOSED       max_received_bytes
NOTHING_TAKEN         | SEND_FAILED            reset COMMUNICATION_FAILED send_timeout
TOO_MUCH_QUEUED       | SEND_FAILED            reset COMMUNICATION_FAILED max_total_queued_bytes
BYE_UNANSWERED        | CHANNEL_CLOSED         reset CHANNEL_CLOSED       bye_timeout
NOT_CLOSED_IN_TIME    | CHANNEL_CLOSED         close CHANNEL_CLOSED       close_timeout
DEFECT                | PROCESSING_FAILED      reset CHANNEL_CLOSED       -
"""


def _expected() -> dict[Cause, Ending]:
    endings: dict[Cause, Ending] = {}
    for line in _GRID.strip().splitlines():
        name, reason, how, unsent, option = line.replace("|", " ").split()
        limit = "" if option == "-" else option
        endings[Cause[name]] = Ending(
            AmpeStatus[reason],
            reset=how == "reset",
            unsent=AmpeStatus[unsent],
            by_limit=bool(limit),
            detail=limit,
            unanswered=name == "HELLO_UNANSWERED",
        )
    return endings


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.name)
def test_what_follows_from_each_cause(cause: Cause) -> None:
    assert ENDINGS[cause] == _expected()[cause]


def test_there_is_an_ending_for_each_cause_and_no_other() -> None:
    assert set(ENDINGS) == set(Cause) == set(_expected())


@pytest.mark.parametrize(
    "option", sorted({ending.detail for ending in ENDINGS.values() if ending.by_limit})
)
def test_a_limit_is_named_as_its_option(option: str) -> None:
    assert option in {field.name for field in attrs.fields(Options)}


@pytest.mark.parametrize("error", AmpeError, ids=lambda error: error.name)
def test_what_the_error_alone_decides(error: AmpeError) -> None:
    status = error.to_status()
    assert violated(error) == Ending(status, reset=True, unsent=AmpeStatus.CHANNEL_CLOSED)
    unanswered = error is AmpeError.CONNECT_FAILED
    assert broken(error, "why") == Ending(
        status, reset=True, unsent=status, detail="why", unanswered=unanswered
    )
    for answers_hello in (True, False):
        ending = not_connected(error, "why", answers_hello=answers_hello)
        assert ending == Ending(
            status, reset=False, unsent=status, detail="why", answers_hello=answers_hello
        )
