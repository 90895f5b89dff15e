"""Statuses on the wire and the error values behind them.

Source: PROTOCOL 1 (statuses) and the pattern guide, section 11 (error enum).
"""

from typing import Final

from pytofu.values.named_numbers import NamedNumber


class AmpeStatus(NamedNumber):
    """The status byte of a binary header.

    A status says how an operation ended (`CONNECT_FAILED`) or what an engine message is
    about (`CHANNEL_CLOSED`); `SUCCESS` is the only one that is no error.
    Source: PROTOCOL 1. The numbers are those of the wire.
    """

    SUCCESS = 0
    NOT_IMPLEMENTED_YET = 1
    WRONG_ADDRESS = 2
    NOT_ALLOWED = 3
    NULL_MESSAGE = 4
    INVALID_MESSAGE = 5
    INVALID_OP_CODE = 6
    INVALID_HEADERS_LEN = 7
    INVALID_BODY_LEN = 8
    INVALID_MORE_USAGE = 9
    INVALID_CHANNEL_NUMBER = 10
    INVALID_MESSAGE_CHANNEL_GROUP = 11
    INVELID_MCHN_GROUP = INVALID_MESSAGE_CHANNEL_GROUP
    """Alias of `INVALID_MESSAGE_CHANNEL_GROUP`: how Zig tofu spells this status."""
    INVALID_MESSAGE_ID = 12
    INVALID_ADDRESS = 13
    UDS_PATH_NOT_FOUND = 14
    NOTIFICATION_DISABLED = 15
    NOTIFICATION_FAILED = 16
    PEER_DISCONNECTED = 17
    COMMUNICATION_FAILED = 18
    POOL_EMPTY = 19
    ALLOCATION_FAILED = 20
    RECEIVER_UPDATE = 21
    CHANNEL_CLOSED = 22
    SHUTDOWN_STARTED = 23
    CONNECT_FAILED = 24
    LISTEN_FAILED = 25
    ACCEPT_FAILED = 26
    SEND_FAILED = 27
    RECV_FAILED = 28
    SETSOCKOPT_FAILED = 29
    PROCESSING_FAILED = 30
    UNKNOWN_ERROR = 31

    @staticmethod
    def from_wire(byte: int) -> "AmpeStatus":
        """Return the status of a wire byte; never fails.

        Any number that is no status reads as `UNKNOWN_ERROR`, so that a newer peer's
        statuses do not break an older reader. Source: PROTOCOL 1.
        """
        return _STATUSES[byte] if 0 <= byte < len(_STATUSES) else AmpeStatus.UNKNOWN_ERROR

    def to_error(self) -> "AmpeError | None":
        """Return the error value of this status, or None for `SUCCESS`. Source: PROTOCOL 1."""
        return None if self is AmpeStatus.SUCCESS else AmpeError(self.value)


# A status per byte, without gaps: looked up for every message somebody asks the status of.
_STATUSES: Final = tuple(AmpeStatus)


class AmpeError(NamedNumber):
    """The errors of the engine, as values for a `Result`.

    The same numbers as `AmpeStatus`, less success. Outside the library each is raised as its
    own subclass of `AmpeException`. Source: pattern guide, section 11, with the numbers (and
    the member `INVALID_MORE_USAGE`) of PROTOCOL 1.
    """

    NOT_IMPLEMENTED_YET = AmpeStatus.NOT_IMPLEMENTED_YET.value
    WRONG_ADDRESS = AmpeStatus.WRONG_ADDRESS.value
    NOT_ALLOWED = AmpeStatus.NOT_ALLOWED.value
    NULL_MESSAGE = AmpeStatus.NULL_MESSAGE.value
    INVALID_MESSAGE = AmpeStatus.INVALID_MESSAGE.value
    INVALID_OP_CODE = AmpeStatus.INVALID_OP_CODE.value
    INVALID_HEADERS_LEN = AmpeStatus.INVALID_HEADERS_LEN.value
    INVALID_BODY_LEN = AmpeStatus.INVALID_BODY_LEN.value
    INVALID_MORE_USAGE = AmpeStatus.INVALID_MORE_USAGE.value
    INVALID_CHANNEL_NUMBER = AmpeStatus.INVALID_CHANNEL_NUMBER.value
    INVALID_MESSAGE_CHANNEL_GROUP = AmpeStatus.INVALID_MESSAGE_CHANNEL_GROUP.value
    INVALID_MESSAGE_ID = AmpeStatus.INVALID_MESSAGE_ID.value
    INVALID_ADDRESS = AmpeStatus.INVALID_ADDRESS.value
    UDS_PATH_NOT_FOUND = AmpeStatus.UDS_PATH_NOT_FOUND.value
    NOTIFICATION_DISABLED = AmpeStatus.NOTIFICATION_DISABLED.value
    NOTIFICATION_FAILED = AmpeStatus.NOTIFICATION_FAILED.value
    PEER_DISCONNECTED = AmpeStatus.PEER_DISCONNECTED.value
    COMMUNICATION_FAILED = AmpeStatus.COMMUNICATION_FAILED.value
    POOL_EMPTY = AmpeStatus.POOL_EMPTY.value
    ALLOCATION_FAILED = AmpeStatus.ALLOCATION_FAILED.value
    RECEIVER_UPDATE = AmpeStatus.RECEIVER_UPDATE.value
    CHANNEL_CLOSED = AmpeStatus.CHANNEL_CLOSED.value
    SHUTDOWN_STARTED = AmpeStatus.SHUTDOWN_STARTED.value
    CONNECT_FAILED = AmpeStatus.CONNECT_FAILED.value
    LISTEN_FAILED = AmpeStatus.LISTEN_FAILED.value
    ACCEPT_FAILED = AmpeStatus.ACCEPT_FAILED.value
    SEND_FAILED = AmpeStatus.SEND_FAILED.value
    RECV_FAILED = AmpeStatus.RECV_FAILED.value
    SETSOCKOPT_FAILED = AmpeStatus.SETSOCKOPT_FAILED.value
    PROCESSING_FAILED = AmpeStatus.PROCESSING_FAILED.value
    UNKNOWN_ERROR = AmpeStatus.UNKNOWN_ERROR.value

    def to_status(self) -> AmpeStatus:
        """Return the status that carries this error on the wire. Source: PROTOCOL 1."""
        return AmpeStatus(self.value)
