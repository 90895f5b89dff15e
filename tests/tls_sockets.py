"""Certificates of the tests, and raw peers over TLS, with the methods of Trio's sockets.

What a `RawPeer` asks of a socket, on top of `pytofu.links.tls`; that it speaks TLS as others do is
tested where its tests are, against sockets of the standard library.
"""

import ssl
from functools import cache
from typing import Final

import trio
import trustme

from pytofu.links import tcp, tls
from pytofu.links.base import Link, Listening, Wait
from pytofu.links.settings import TCPSettings
from pytofu.links.tls_link import TLSLink
from pytofu.values.address import (
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
)
from tests.link_sockets import LinkSocket, os_error

HOST: Final = "127.0.0.1"


@cache
def authority() -> trustme.CA:
    """Whom all trust."""
    return trustme.CA()


@cache
def server_context() -> ssl.SSLContext:
    """With a certificate for `HOST` and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(HOST, "localhost").configure_cert(context)
    return context


@cache
def client_context() -> ssl.SSLContext:
    """Trusts the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


class TLSSocket(LinkSocket[TLSLink]):
    """One end of a connection, hands shaken."""

    async def _until(self, wait: Wait) -> None:
        if wait is Wait.READABLE:
            await trio.lowlevel.wait_readable(self._open_link.fileno())
        else:
            await trio.lowlevel.wait_writable(self._open_link.fileno())

    def _closing(self) -> None:
        trio.lowlevel.notify_closing(self._link.fileno())

    async def open(self) -> None:
        """Connect and shake hands; closes what does not open."""
        try:
            while isinstance(state := self._open_link.open(), Wait):
                await self._until(state)
            if state is not None:
                raise os_error(state)
        except BaseException:
            self.close(reset=True)
            raise


class TLSListeningSocket:
    """What listens over TLS."""

    def __init__(self, address: TLSServerAddress, receive_buffer: int | None) -> None:
        settings = TCPSettings(receive_buffer=receive_buffer)
        where = TCPServerAddress(address.host, address.port)
        begun = tcp.begin_listen(where, reuse_port=False, settings=settings)
        assert isinstance(begun, list)
        self._listening: Listening = tls.TLSListening(begun[0], server_context())

    @property
    def address(self) -> TLSServerAddress:
        """Where it really listens."""
        bound = self._listening.address
        assert isinstance(bound, TLSServerAddress)
        return bound

    async def accept(self) -> tuple[TLSSocket, None]:
        """The next connection, hands shaken."""
        await trio.lowlevel.checkpoint()
        while isinstance(link := self._listening.accept(), Wait):
            await trio.lowlevel.wait_readable(self._listening.fileno())
        assert isinstance(link, TLSLink)
        sock = TLSSocket(link)
        await sock.open()
        return sock, None

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


def knock(address: TLSClientAddress, receive_buffer: int | None = None) -> TLSSocket:
    """Connect to who listens there and hold out a hand; `open` waits until it is taken."""
    settings = TCPSettings(receive_buffer=receive_buffer)
    link = tcp.begin_connect(TCPClientAddress(address.host, address.port), settings)
    assert isinstance(link, Link), link
    tls_link = TLSLink(link, client_context(), address.host)
    tls_link.open()  # what it answers, it answers again
    return TLSSocket(tls_link)


async def connect(address: TLSClientAddress, receive_buffer: int | None) -> TLSSocket:
    """Connect to who listens there, and shake hands."""
    sock = knock(address, receive_buffer)
    await sock.open()
    return sock
