"""The exceptions that leave the public interface.

Inside the library errors are values (`AmpeError`); at the boundary each becomes the exception
that `EXCEPTIONS` names. Source: pattern guide, section 12 (exception class hierarchy).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pytofu.patterns.arguments import must_be
from pytofu.values.status import AmpeError, AmpeStatus

_BY_ERROR: Final[dict[AmpeError, type["AmpeException"]]] = {}


def _error_of(given: object) -> str:
    """What helps who has a status in hand."""
    return "status.to_error() is that of a status" if isinstance(given, AmpeStatus) else ""


class AmpeException(Exception):
    """Base of every exception that pytofu raises for an `AmpeError`.

    `error_code` is the error; `message` the explanation, or the error's name where none was
    given. Source: pattern guide, section 12.
    """

    # No __slots__: they would not go together with OSError, which subclasses may be as well.
    error_code: AmpeError
    message: str

    def __init__(self, error: AmpeError, message: str = "") -> None:
        must_be("AmpeException", "an AmpeError", AmpeError, error, _error_of(error))
        must_be("AmpeException's message", "text", str, message)
        self.error_code = error
        self.message = message or error.name
        super().__init__(f"{error.name}: {message}" if message else error.name)

    def __init_subclass__(cls, *, error: AmpeError | None = None, **kwargs: Any) -> None:
        """Make the class the one that is raised for `error`; a user's own subclass has none."""
        super().__init_subclass__(**kwargs)
        if error is not None:
            _BY_ERROR[error] = cls

    @staticmethod
    def from_error(error: AmpeError, message: str = "") -> "AmpeException":
        """Return (not raise) the exception of an error, of the class `EXCEPTIONS` names."""
        must_be("AmpeException.from_error", "an AmpeError", AmpeError, error, _error_of(error))
        return EXCEPTIONS[error](error, message)

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is rebuilt from `args`, its text, which is not what __init__ takes.
        explained = self.args != (self.error_code.name,)
        arguments = (self.error_code, self.message if explained else "")
        return type(self), arguments, self.__dict__


class NotImplementedYetException(AmpeException, error=AmpeError.NOT_IMPLEMENTED_YET):
    """The operation does not exist yet."""


class WrongAddressException(AmpeException, error=AmpeError.WRONG_ADDRESS):
    """The address cannot be written as, or read from, an address header."""


class NotAllowedException(AmpeException, error=AmpeError.NOT_ALLOWED):
    """The operation is not allowed in this state of the channel or engine."""


class InvalidMessageException(AmpeException, error=AmpeError.INVALID_MESSAGE):
    """The message is invalid; a subclass says in what. Nothing was taken from the caller."""


class NullMessageException(InvalidMessageException, error=AmpeError.NULL_MESSAGE):
    """The holder is empty: its message was posted or put back before."""


class InvalidOpCodeException(InvalidMessageException, error=AmpeError.INVALID_OP_CODE):
    """The opcode is none, or none that may be used here."""


class InvalidHeadersLenException(InvalidMessageException, error=AmpeError.INVALID_HEADERS_LEN):
    """The text headers are longer than 65,535 bytes."""


class InvalidBodyLenException(InvalidMessageException, error=AmpeError.INVALID_BODY_LEN):
    """The body is longer than 65,535 bytes."""


class InvalidMoreUsageException(InvalidMessageException, error=AmpeError.INVALID_MORE_USAGE):
    """The `more` flag stands on a message that is not a regular one."""


class InvalidChannelNumberException(
    InvalidMessageException, error=AmpeError.INVALID_CHANNEL_NUMBER
):
    """The channel number is missing or unknown."""


class InvalidMessageChannelGroupException(
    InvalidMessageException, error=AmpeError.INVALID_MESSAGE_CHANNEL_GROUP
):
    """The channel belongs to another channel group."""


class InvalidMessageIdException(InvalidMessageException, error=AmpeError.INVALID_MESSAGE_ID):
    """A response carries no message id."""


class InvalidAddressException(InvalidMessageException, error=AmpeError.INVALID_ADDRESS):
    """The address is well formed but cannot be used, or not for this opcode."""


class UDSPathNotFoundException(AmpeException, error=AmpeError.UDS_PATH_NOT_FOUND):
    """The path of the Unix domain socket does not exist."""


class NotificationDisabledException(AmpeException, error=AmpeError.NOTIFICATION_DISABLED):
    """The engine cannot be notified any more."""


class NotificationFailedException(AmpeException, error=AmpeError.NOTIFICATION_FAILED):
    """Notifying the engine failed."""


class PeerDisconnectedException(AmpeException, error=AmpeError.PEER_DISCONNECTED):
    """The remote peer disconnected."""


class CommunicationFailedException(AmpeException, error=AmpeError.COMMUNICATION_FAILED):
    """The connection broke."""


class PoolEmptyException(AmpeException, error=AmpeError.POOL_EMPTY):
    """The message pool is empty."""


class AllocationFailedException(AmpeException, error=AmpeError.ALLOCATION_FAILED):
    """No memory, or no channel number, is left."""


class ReceiverUpdateException(AmpeException, error=AmpeError.RECEIVER_UPDATE):
    """The status of a receiver update, met where an error was expected."""


class ChannelClosedException(AmpeException, error=AmpeError.CHANNEL_CLOSED):
    """The channel was closed."""


class ShutdownException(AmpeException, error=AmpeError.SHUTDOWN_STARTED):
    """The engine, or the channel group, is shutting down."""


class ConnectionFailedException(AmpeException, error=AmpeError.CONNECT_FAILED):
    """The connection could not be established."""


class ListenFailedException(AmpeException, error=AmpeError.LISTEN_FAILED):
    """Listening on the address failed."""


class AcceptFailedException(AmpeException, error=AmpeError.ACCEPT_FAILED):
    """Accepting a connection failed."""


class SendFailedException(AmpeException, error=AmpeError.SEND_FAILED):
    """Sending on the connection failed."""


class RecvFailedException(AmpeException, error=AmpeError.RECV_FAILED):
    """Receiving from the connection failed."""


class SetsockoptFailedException(AmpeException, error=AmpeError.SETSOCKOPT_FAILED):
    """Setting an option of the socket failed."""


class ProcessingFailedException(AmpeException, error=AmpeError.PROCESSING_FAILED):
    """The engine failed while it processed a message."""


class UnknownErrorException(AmpeException, error=AmpeError.UNKNOWN_ERROR):
    """An error without a more precise name."""


EXCEPTIONS: Final[Mapping[AmpeError, type[AmpeException]]] = MappingProxyType(_BY_ERROR)
"""The exception class of every `AmpeError`. Source: pattern guide, section 12."""
