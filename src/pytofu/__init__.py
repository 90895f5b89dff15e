"""pytofu: message passing between programs, on Trio, wire-compatible with Zig tofu."""

from pytofu._choice import compiled
from pytofu.engine.mailbox import MailBox, MailBoxStatus
from pytofu.engine.options import Options
from pytofu.patterns.buffer import Appendable, NoSpaceLeft, NotEnoughMemory
from pytofu.patterns.cleanup import ErrDefer, log_on_error
from pytofu.patterns.result import (
    Err,
    Ok,
    Result,
    ResultUnwrapError,
    catch_or,
    catch_with,
    try_result,
    with_error_propagation,
)
from pytofu.peers.client import connect
from pytofu.peers.codec import Codec
from pytofu.peers.errors import ConnectError, NotSent, RemoteError, Unanswered
from pytofu.peers.incoming import Incoming, Reply
from pytofu.peers.peer import Handler, OnPeer, Peer
from pytofu.peers.reconnect import Backoff
from pytofu.peers.server import serve
from pytofu.peers.service import Service
from pytofu.peers.streams import OpenedStream, Stream
from pytofu.peers.subscriptions import Subscription
from pytofu.peers.topics import Topics
from pytofu.public.ampe import Ampe, AmpeStatistics, open_ampe
from pytofu.public.borrowing import borrowed_message, with_pool_message
from pytofu.public.boundary import public_api
from pytofu.public.channel_group import ChannelGroup, ChannelGroupStatistics
from pytofu.public.interfaces import MessagePort, MessageSource
from pytofu.values.address import (
    Address,
    MemoryClientAddress,
    MemoryServerAddress,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    WrongAddress,
    parse_address,
)
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.errors import (
    EXCEPTIONS,
    AcceptFailedException,
    AllocationFailedException,
    AmpeException,
    ChannelClosedException,
    CommunicationFailedException,
    ConnectionFailedException,
    InvalidAddressException,
    InvalidBodyLenException,
    InvalidChannelNumberException,
    InvalidHeadersLenException,
    InvalidMessageChannelGroupException,
    InvalidMessageException,
    InvalidMessageIdException,
    InvalidMoreUsageException,
    InvalidOpCodeException,
    ListenFailedException,
    NotAllowedException,
    NotificationDisabledException,
    NotificationFailedException,
    NotImplementedYetException,
    NullMessageException,
    PeerDisconnectedException,
    PoolEmptyException,
    ProcessingFailedException,
    ReceiverUpdateException,
    RecvFailedException,
    SendFailedException,
    SetsockoptFailedException,
    ShutdownException,
    UDSPathNotFoundException,
    UnknownErrorException,
    WrongAddressException,
)
from pytofu.values.header import (
    BinaryHeader,
    MessageRole,
    MessageType,
    MoreMessagesFlag,
    OpCode,
    OriginFlag,
    ProtoFields,
)
from pytofu.values.holder import Holder
from pytofu.values.message import Message, MessageReleasedError
from pytofu.values.peer_info import PeerInfo
from pytofu.values.releases import trace_releases
from pytofu.values.status import AmpeError, AmpeStatus
from pytofu.values.text_headers import TextHeader, TextHeaders

__version__ = "0.1.0"

__all__ = [
    "AcceptFailedException",
    "Address",
    "AllocationFailedException",
    "AllocationStrategy",
    "Ampe",
    "AmpeError",
    "AmpeException",
    "AmpeStatistics",
    "AmpeStatus",
    "Appendable",
    "Backoff",
    "BinaryHeader",
    "ChannelClosedException",
    "ChannelGroup",
    "ChannelGroupStatistics",
    "Codec",
    "CommunicationFailedException",
    "ConnectError",
    "ConnectionFailedException",
    "EXCEPTIONS",
    "Err",
    "ErrDefer",
    "Handler",
    "Holder",
    "Incoming",
    "InvalidAddressException",
    "InvalidBodyLenException",
    "InvalidChannelNumberException",
    "InvalidHeadersLenException",
    "InvalidMessageChannelGroupException",
    "InvalidMessageException",
    "InvalidMessageIdException",
    "InvalidMoreUsageException",
    "InvalidOpCodeException",
    "ListenFailedException",
    "MailBox",
    "MailBoxStatus",
    "MemoryClientAddress",
    "MemoryServerAddress",
    "Message",
    "MessagePort",
    "MessageReleasedError",
    "MessageRole",
    "MessageSource",
    "MessageType",
    "MoreMessagesFlag",
    "NoSpaceLeft",
    "NotAllowedException",
    "NotEnoughMemory",
    "NotImplementedYetException",
    "NotSent",
    "NotificationDisabledException",
    "NotificationFailedException",
    "NullMessageException",
    "Ok",
    "OnPeer",
    "OpCode",
    "OpenedStream",
    "Options",
    "OriginFlag",
    "Peer",
    "PeerDisconnectedException",
    "PeerInfo",
    "PoolEmptyException",
    "ProcessingFailedException",
    "ProtoFields",
    "ReceiverUpdateException",
    "RecvFailedException",
    "RemoteError",
    "Reply",
    "Result",
    "ResultUnwrapError",
    "SendFailedException",
    "Service",
    "SetsockoptFailedException",
    "ShutdownException",
    "Stream",
    "Subscription",
    "TCPClientAddress",
    "TCPServerAddress",
    "TLSClientAddress",
    "TLSServerAddress",
    "TextHeader",
    "TextHeaders",
    "Topics",
    "UDSClientAddress",
    "UDSPathNotFoundException",
    "UDSServerAddress",
    "Unanswered",
    "UnknownErrorException",
    "WrongAddress",
    "WrongAddressException",
    "borrowed_message",
    "catch_or",
    "catch_with",
    "compiled",
    "connect",
    "log_on_error",
    "open_ampe",
    "parse_address",
    "public_api",
    "serve",
    "trace_releases",
    "try_result",
    "with_error_propagation",
    "with_pool_message",
]
