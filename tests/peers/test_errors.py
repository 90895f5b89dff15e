"""The exceptions between peers (peers/errors.py)."""

import copy
import pickle

import pytest

from pytofu import (
    AmpeError,
    AmpeException,
    AmpeStatus,
    ConnectError,
    NotSent,
    RemoteError,
    Unanswered,
)
from pytofu.peers.errors import error_of, to_error


def test_what_they_are() -> None:
    assert issubclass(ConnectError, OSError)
    assert issubclass(NotSent, AmpeException)
    assert issubclass(NotSent, ConnectionError)
    assert issubclass(Unanswered, AmpeException)
    assert issubclass(Unanswered, ConnectionError)
    assert issubclass(RemoteError, AmpeException)
    assert not issubclass(RemoteError, OSError)


def test_a_remote_error_shows_its_code() -> None:
    assert repr(RemoteError("NOT_FOUND", "what")) == "RemoteError('NOT_FOUND', 'what')"


def test_they_survive_pickling_and_copying() -> None:
    error = RemoteError("NOT_FOUND", "what", b"body")
    error.add_note("a note")
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (copied.code, copied.text, copied.body) == ("NOT_FOUND", "what", b"body")
        assert str(copied) == "NOT_FOUND: what"
        assert copied.__notes__ == ["a note"]
    not_sent = pickle.loads(pickle.dumps(NotSent(AmpeError.CHANNEL_CLOSED, "why")))
    assert isinstance(not_sent, NotSent)
    assert (not_sent.error_code, not_sent.message) == (AmpeError.CHANNEL_CLOSED, "why")


def test_what_an_answer_says() -> None:
    assert error_of({}, b"") is None
    refused = error_of({"tofu-status": "UNAVAILABLE", "tofu-refused": "1"}, b"")
    assert isinstance(refused, NotSent)
    assert refused.message == "the peer takes no more calls"


@pytest.mark.parametrize("status", AmpeStatus)
def test_every_status_is_an_error(status: AmpeStatus) -> None:
    error = to_error(status)
    assert error.to_status() is (status or AmpeStatus.CHANNEL_CLOSED)
