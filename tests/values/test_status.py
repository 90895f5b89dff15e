import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.values.status import AmpeError, AmpeStatus


def test_numbers_are_those_of_the_wire_without_a_gap() -> None:
    assert [status.value for status in AmpeStatus] == list(range(32))
    assert (AmpeStatus.SUCCESS.value, AmpeStatus.UNKNOWN_ERROR.value) == (0, 31)
    assert AmpeStatus.INVALID_MORE_USAGE.value == 9
    assert AmpeStatus.CHANNEL_CLOSED.value == 22


def test_the_original_spelling_is_an_alias() -> None:
    assert AmpeStatus["INVELID_MCHN_GROUP"] is AmpeStatus.INVALID_MESSAGE_CHANNEL_GROUP
    assert AmpeStatus(11).name == "INVALID_MESSAGE_CHANNEL_GROUP"


@given(st.integers())
def test_from_wire_never_fails(byte: int) -> None:
    status = AmpeStatus.from_wire(byte)
    assert status is (AmpeStatus(byte) if 0 <= byte <= 31 else AmpeStatus.UNKNOWN_ERROR)


@pytest.mark.parametrize("byte", [-1, 32, 255])
def test_unknown_bytes_read_as_unknown_error(byte: int) -> None:
    assert AmpeStatus.from_wire(byte) is AmpeStatus.UNKNOWN_ERROR


def test_every_status_but_success_is_an_error_of_the_same_name_and_number() -> None:
    assert AmpeStatus.SUCCESS.to_error() is None
    assert len(AmpeError) == len(AmpeStatus) - 1
    for error in AmpeError:
        status = error.to_status()
        assert isinstance(status, AmpeStatus)
        assert (status.name, status.value) == (error.name, error.value)
        assert status.to_error() is error
