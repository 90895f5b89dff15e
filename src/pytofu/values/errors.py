"""The exceptions that leave the public interface.

Inside the library errors are values (`AmpeError`); at the boundary each becomes the exception
that `EXCEPTIONS` names. Source: pattern guide, section 12 (exception class hierarchy).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pytofu.values.status import AmpeError


class AmpeException(Exception):
    """Base of every exception that pytofu raises for an `AmpeError`.

    `error_code` is the error; `message` the explanation, or the error's name where none was
    given. Source: pattern guide, section 12.
    """

    __slots__ = ("error_code", "message")

    error_code: AmpeError
    message: str

    def __init__(self, error: AmpeError, message: str = "") -> None:
        self.error_code = error
        self.message = message or error.name
        super().__init__(f"{error.name}: {message}" if message else error.name)

    @staticmethod
    def from_error(error: AmpeError, message: str = "") -> "AmpeException":
        """Return (not raise) the exception of an error, of the class `EXCEPTIONS` names."""
        return EXCEPTIONS[error](error, message)

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is rebuilt from `args`, its text, which is not what __init__ takes.
        explained = self.args != (self.error_code.name,)
        arguments = (self.error_code, self.message if explained else "")
        return type(self), arguments, self.__dict__ or None


class NotImplementedYetException(AmpeException):
    """The operation does not exist yet."""


class WrongAddressException(AmpeException):
    """The address cannot be written as, or read from, an address header."""


class NotAllowedException(AmpeException):
    """The operation is not allowed in this state of the channel or engine."""


class InvalidMessageException(AmpeException):
    """The message is invalid; a subclass says in what. Nothing was taken from the caller."""


class NullMessageException(InvalidMessageException):
    """The holder is empty: its message was posted or put back before."""


class InvalidOpCodeException(InvalidMessageException):
    """The opcode is none, or none that may be used here."""


class InvalidHeadersLenException(InvalidMessageException):
    """The text headers are longer than 65,535 bytes."""


class InvalidBodyLenException(InvalidMessageException):
    """The body is longer than 65,535 bytes."""


class InvalidMoreUsageException(InvalidMessageException):
    """The `more` flag stands on a message that is not a regular one."""


class InvalidChannelNumberException(InvalidMessageException):
    """The channel number is missing or unknown."""


class InvalidMessageChannelGroupException(InvalidMessageException):
    """The channel belongs to another channel group."""


class InvalidMessageIdException(InvalidMessageException):
    """A response carries no message id."""


class InvalidAddressException(InvalidMessageException):
    """The address is well formed but cannot be used, or not for this opcode."""


class UDSPathNotFoundException(AmpeException):
    """The path of the Unix domain socket does not exist."""


class NotificationDisabledException(AmpeException):
    """The engine cannot be notified any more."""


class NotificationFailedException(AmpeException):
    """Notifying the engine failed."""


class PeerDisconnectedException(AmpeException):
    """The remote peer disconnected."""


class CommunicationFailedException(AmpeException):
    """The connection broke."""


class PoolEmptyException(AmpeException):
    """The message pool is empty."""


class AllocationFailedException(AmpeException):
    """No memory, or no channel number, is left."""


class ReceiverUpdateException(AmpeException):
    """The status of a receiver update, met where an error was expected."""


class ChannelClosedException(AmpeException):
    """The channel was closed."""


class ShutdownException(AmpeException):
    """The engine, or the channel group, is shutting down."""


class ConnectionFailedException(AmpeException):
    """The connection could not be established."""


class ListenFailedException(AmpeException):
    """Listening on the address failed."""


class AcceptFailedException(AmpeException):
    """Accepting a connection failed."""


class SendFailedException(AmpeException):
    """Sending on the connection failed."""


class RecvFailedException(AmpeException):
    """Receiving from the connection failed."""


class SetsockoptFailedException(AmpeException):
    """Setting an option of the socket failed."""


class ProcessingFailedException(AmpeException):
    """The engine failed while it processed a message."""


class UnknownErrorException(AmpeException):
    """An error without a more precise name."""


EXCEPTIONS: Final[Mapping[AmpeError, type[AmpeException]]] = MappingProxyType(
    {
        AmpeError.NOT_IMPLEMENTED_YET: NotImplementedYetException,
        AmpeError.WRONG_ADDRESS: WrongAddressException,
        AmpeError.NOT_ALLOWED: NotAllowedException,
        AmpeError.NULL_MESSAGE: NullMessageException,
        AmpeError.INVALID_MESSAGE: InvalidMessageException,
        AmpeError.INVALID_OP_CODE: InvalidOpCodeException,
        AmpeError.INVALID_HEADERS_LEN: InvalidHeadersLenException,
        AmpeError.INVALID_BODY_LEN: InvalidBodyLenException,
        AmpeError.INVALID_MORE_USAGE: InvalidMoreUsageException,
        AmpeError.INVALID_CHANNEL_NUMBER: InvalidChannelNumberException,
        AmpeError.INVALID_MESSAGE_CHANNEL_GROUP: InvalidMessageChannelGroupException,
        AmpeError.INVALID_MESSAGE_ID: InvalidMessageIdException,
        AmpeError.INVALID_ADDRESS: InvalidAddressException,
        AmpeError.UDS_PATH_NOT_FOUND: UDSPathNotFoundException,
        AmpeError.NOTIFICATION_DISABLED: NotificationDisabledException,
        AmpeError.NOTIFICATION_FAILED: NotificationFailedException,
        AmpeError.PEER_DISCONNECTED: PeerDisconnectedException,
        AmpeError.COMMUNICATION_FAILED: CommunicationFailedException,
        AmpeError.POOL_EMPTY: PoolEmptyException,
        AmpeError.ALLOCATION_FAILED: AllocationFailedException,
        AmpeError.RECEIVER_UPDATE: ReceiverUpdateException,
        AmpeError.CHANNEL_CLOSED: ChannelClosedException,
        AmpeError.SHUTDOWN_STARTED: ShutdownException,
        AmpeError.CONNECT_FAILED: ConnectionFailedException,
        AmpeError.LISTEN_FAILED: ListenFailedException,
        AmpeError.ACCEPT_FAILED: AcceptFailedException,
        AmpeError.SEND_FAILED: SendFailedException,
        AmpeError.RECV_FAILED: RecvFailedException,
        AmpeError.SETSOCKOPT_FAILED: SetsockoptFailedException,
        AmpeError.PROCESSING_FAILED: ProcessingFailedException,
        AmpeError.UNKNOWN_ERROR: UnknownErrorException,
    }
)
"""The exception class of every `AmpeError`. Source: pattern guide, section 12."""
