"""Connecting and listening: which transport an address is for.

What needs no waiting is done at once, by the functions that begin; they answer with None where
there is something to wait for that has no descriptor, a name to resolve above all. Then the
others do it, in a task.

TLS needs a context, for the side that it is; the others have no use for it.
"""

import ssl
from typing import Final

from pytofu.links import memory, tcp, tls, uds
from pytofu.links.base import Link, LinkError, Listening
from pytofu.links.settings import TCPSettings
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
)
from pytofu.values.status import AmpeError

_DEFAULT: Final = TCPSettings()


def begin_connect(
    address: Address, *, settings: TCPSettings = _DEFAULT, context: ssl.SSLContext | None = None
) -> Link | LinkError | None:
    """Connect without waiting; None if that is not possible.

    The link may still be connecting: `open` says so, and goes on when its descriptor is writable.
    Errors: INVALID_ADDRESS (no address to connect to, or none that the system understands),
    UDS_PATH_NOT_FOUND, CONNECT_FAILED. Source: PROTOCOL 4.
    """
    match address:
        case TCPClientAddress():
            return tcp.begin_connect(address, settings)
        case TLSClientAddress():
            return tls.begin_connect(address, settings, context)
        case UDSClientAddress():
            return uds.begin_connect(address, settings)
        case MemoryClientAddress():
            return memory.begin_connect(address)
        case _:
            return _not_for("connecting", address)


async def connect(
    address: Address, *, settings: TCPSettings = _DEFAULT, context: ssl.SSLContext | None = None
) -> Link | LinkError:
    """Connect, however long it takes; over TLS, hands are still to be shaken.

    Cancelling closes everything.

    Errors: as `begin_connect`; INVALID_ADDRESS also for a name that cannot be resolved.
    """
    match address:
        case TCPClientAddress():
            return await tcp.connect(address, settings)
        case TLSClientAddress():
            return await tls.connect(address, settings, context)
        case UDSClientAddress():
            return await uds.connect(address, settings)
        case MemoryClientAddress():
            return await memory.connect(address)
        case _:
            return _not_for("connecting", address)


def begin_listen(
    address: Address,
    *,
    reuse_port: bool,
    settings: TCPSettings = _DEFAULT,
    context: ssl.SSLContext | None = None,
) -> list[Listening] | LinkError | None:
    """Listen at a literal, a path or a name of the process; None for a name to be resolved.

    With `reuse_port` other listeners may have the same TCP port, if all agree. Errors:
    INVALID_ADDRESS, LISTEN_FAILED. Source: PROTOCOL 4, 6 and 7.
    """
    match address:
        case TCPServerAddress():
            return tcp.begin_listen(address, reuse_port=reuse_port, settings=settings)
        case TLSServerAddress():
            return tls.begin_listen(
                address, reuse_port=reuse_port, settings=settings, context=context
            )
        case UDSServerAddress():
            return uds.begin_listen(address, settings)
        case MemoryServerAddress():
            return memory.begin_listen(address)
        case _:
            return _not_for("listening", address)


async def listen(
    address: Address,
    *,
    reuse_port: bool,
    settings: TCPSettings = _DEFAULT,
    context: ssl.SSLContext | None = None,
) -> list[Listening] | LinkError:
    """Listen wherever the address stands for: at every address of a name that works.

    All have the same port, also when the system chooses it. Errors: as `begin_listen`. Cancelling
    closes everything.
    """
    match address:
        case TCPServerAddress():
            return await tcp.listen(address, reuse_port=reuse_port, settings=settings)
        case TLSServerAddress():
            return await tls.listen(
                address, reuse_port=reuse_port, settings=settings, context=context
            )
        case UDSServerAddress():
            return uds.begin_listen(address, settings)
        case MemoryServerAddress():
            return memory.begin_listen(address)
        case _:
            return _not_for("listening", address)


def _not_for(what: str, address: Address) -> LinkError:
    return LinkError(AmpeError.INVALID_ADDRESS, f"no address for {what}: {address}")
