"""TLS: connecting and listening over TCP, with the program's contexts."""

import ssl
from typing import Final, cast

from pytofu.links import tcp
from pytofu.links.base import Link, LinkError, Listening, Wait
from pytofu.links.settings import TCPSettings
from pytofu.links.tls_link import TLSLink
from pytofu.values.address import (
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
)
from pytofu.values.status import AmpeError

# ---------------------------------------------------------------------- connecting


def _no_context(option: str) -> LinkError:
    return LinkError(AmpeError.INVALID_ADDRESS, f"TLS: there is no context for it ({option})")


def _unusable(context: ssl.SSLContext, name: str | None) -> LinkError | None:
    """What is wrong with a context for this, before anything is opened."""
    try:
        context.wrap_bio(
            ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=name is None, server_hostname=name
        )
    except (ValueError, OSError) as error:
        return LinkError(AmpeError.INVALID_ADDRESS, f"TLS: {error}")
    return None


def _server_name(address: TLSClientAddress) -> str:
    """Whom the server has to be: no certificate is for a zone."""
    return address.server_hostname or address.host.strip(" ").partition("%")[0]


def begin_connect(
    address: TLSClientAddress, settings: TCPSettings, context: ssl.SSLContext | None
) -> Link | LinkError | None:
    """As `tcp.begin_connect`; hands are shaken by `open`."""
    if context is None:
        return _no_context("tls_client")
    name = _server_name(address)
    wrong = _unusable(context, name)
    if wrong is not None:
        return wrong
    link = tcp.begin_connect(TCPClientAddress(address.host, address.port), settings)
    return TLSLink(link, context, name) if isinstance(link, Link) else link


async def connect(
    address: TLSClientAddress, settings: TCPSettings, context: ssl.SSLContext | None
) -> Link | LinkError:
    """As `tcp.connect`; hands are shaken by `open`."""
    assert context is not None  # or `begin_connect` would have said so
    link = await tcp.connect(TCPClientAddress(address.host, address.port), settings)
    return TLSLink(link, context, _server_name(address)) if isinstance(link, Link) else link


# ---------------------------------------------------------------------- listening


class TLSListening(Listening):
    """A listening TCP socket, whose links shake hands."""

    __slots__ = ("_context", "_listening")

    def __init__(self, listening: Listening, context: ssl.SSLContext) -> None:
        self._listening: Final = listening
        self._context: Final = context

    @property
    def address(self) -> TLSServerAddress:
        """As `Listening.address`."""
        bound = self._listening.address
        assert isinstance(bound, TCPServerAddress)
        return TLSServerAddress(bound.host, bound.port)

    def fileno(self) -> int:
        """As `Listening.fileno`."""
        return self._listening.fileno()

    def accept(self) -> Link | Wait | LinkError:
        """As `Listening.accept`; hands are shaken by the link's `open`."""
        link = self._listening.accept()
        return TLSLink(link, self._context) if isinstance(link, Link) else link

    def close(self) -> None:
        """As `Listening.close`."""
        self._listening.close()


def begin_listen(
    address: TLSServerAddress,
    *,
    reuse_port: bool,
    settings: TCPSettings,
    context: ssl.SSLContext | None,
) -> list[Listening] | LinkError | None:
    """As `tcp.begin_listen`."""
    if context is None:
        return _no_context("tls_server")
    wrong = _unusable(context, None)
    if wrong is not None:
        return wrong
    where = TCPServerAddress(address.host, address.port)
    return _over(tcp.begin_listen(where, reuse_port=reuse_port, settings=settings), context)


async def listen(
    address: TLSServerAddress,
    *,
    reuse_port: bool,
    settings: TCPSettings,
    context: ssl.SSLContext | None,
) -> list[Listening] | LinkError:
    """As `tcp.listen`."""
    assert context is not None  # or `begin_listen` would have said so
    where = TCPServerAddress(address.host, address.port)
    return _over(await tcp.listen(where, reuse_port=reuse_port, settings=settings), context)


def _over[T](begun: list[Listening] | T, context: ssl.SSLContext) -> list[Listening] | T:
    if not isinstance(begun, list):
        return begun
    return [TLSListening(one, context) for one in cast("list[Listening]", begun)]
