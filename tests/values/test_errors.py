import copy
import pickle
from collections.abc import Callable

import pytest

from pytofu.values import errors
from pytofu.values.errors import (
    EXCEPTIONS,
    AllocationFailedException,
    AmpeException,
    ChannelClosedException,
    ConnectionFailedException,
    InvalidMessageException,
    PeerDisconnectedException,
    PoolEmptyException,
    ShutdownException,
)
from pytofu.values.status import AmpeError

every_error = pytest.mark.parametrize("error", AmpeError, ids=lambda error: error.name)


class OwnException(AmpeException):
    """As an application may define one."""


def test_every_error_has_its_own_exception() -> None:
    assert set(EXCEPTIONS) == set(AmpeError)
    assert len(set(EXCEPTIONS.values())) == len(AmpeError)
    assert AmpeException not in EXCEPTIONS.values()


def test_the_table_is_complete_and_fixed() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, AmpeException)
    }
    assert defined == {AmpeException, *EXCEPTIONS.values()}
    with pytest.raises(TypeError):
        EXCEPTIONS[AmpeError.POOL_EMPTY] = AmpeException  # type: ignore[index]


@every_error
def test_from_error(error: AmpeError) -> None:
    exception = AmpeException.from_error(error)
    assert type(exception) is EXCEPTIONS[error]
    assert exception.error_code is error
    assert exception.message == str(exception) == error.name


@every_error
def test_from_error_with_a_message(error: AmpeError) -> None:
    exception = AmpeException.from_error(error, "because")
    assert exception.message == "because"
    assert str(exception) == f"{error.name}: because"
    assert exception.args == (str(exception),)


def test_the_names_of_the_pattern_guide() -> None:
    assert EXCEPTIONS[AmpeError.ALLOCATION_FAILED] is AllocationFailedException
    assert EXCEPTIONS[AmpeError.POOL_EMPTY] is PoolEmptyException
    assert EXCEPTIONS[AmpeError.SHUTDOWN_STARTED] is ShutdownException
    assert EXCEPTIONS[AmpeError.PEER_DISCONNECTED] is PeerDisconnectedException
    assert EXCEPTIONS[AmpeError.CONNECT_FAILED] is ConnectionFailedException
    assert EXCEPTIONS[AmpeError.INVALID_MESSAGE] is InvalidMessageException
    assert EXCEPTIONS[AmpeError.CHANNEL_CLOSED] is ChannelClosedException


@every_error
def test_what_is_caught_as_an_invalid_message(error: AmpeError) -> None:
    invalid = error.name.startswith("INVALID_") or error is AmpeError.NULL_MESSAGE
    assert issubclass(EXCEPTIONS[error], InvalidMessageException) == invalid


@every_error
@pytest.mark.parametrize("message", ["", "because", "same"])
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda original: pickle.loads(pickle.dumps(original))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_pickle_and_copy(
    error: AmpeError, message: str, duplicate: Callable[[AmpeException], AmpeException]
) -> None:
    original = AmpeException.from_error(error, error.name if message == "same" else message)
    original.add_note("while testing")
    copied = duplicate(original)
    assert type(copied) is type(original)
    assert copied.error_code is error
    assert (copied.message, str(copied)) == (original.message, str(original))
    assert copied.args == original.args
    assert copied.__notes__ == ["while testing"]


def test_subclasses_of_the_application_copy_too() -> None:
    copied = copy.copy(OwnException(AmpeError.SEND_FAILED, "own"))
    assert type(copied) is OwnException
    assert str(copied) == "SEND_FAILED: own"


def test_raised_and_caught() -> None:
    with pytest.raises(InvalidMessageException) as raised:
        raise AmpeException.from_error(AmpeError.NULL_MESSAGE)
    assert raised.value.error_code is AmpeError.NULL_MESSAGE
