"""Certificates of the tests, and raw peers over TLS, with the methods of Trio's sockets.

What a `RawPeer` asks of a socket, on top of `pytofu.links.tls`; that it speaks TLS as others do is
tested where its tests are, against sockets of the standard library.
"""

import errno
import os
import ssl
from functools import cache
from typing import Final

import trio
import trustme

from pytofu.links import tcp, tls
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


class TLSSocket:
    """One end of a connection, hands shaken, for tasks that wait."""

    def __init__(self, link: TLSLink) -> None:
        self._link = link
        self._closed = False
        self._wants_to_end = False

    async def _until(self, wait: Wait) -> None:
        if wait is Wait.READABLE:
            await trio.lowlevel.wait_readable(self._open_link.fileno())
        else:
            await trio.lowlevel.wait_writable(self._open_link.fileno())

    async def open(self) -> None:
        """Connect and shake hands; closes what does not open."""
        try:
            while isinstance(state := self._open_link.open(), Wait):
                await self._until(state)
            if state is not None:
                raise _os_error(state)
        except BaseException:
            self.close(reset=True)
            raise

    async def recv(self, size: int) -> bytes:
        """Some bytes, or none at the end; a reset, or an end that was not announced, raises."""
        await trio.lowlevel.checkpoint()
        while isinstance(data := self._open_link.receive(size), Wait):
            await self._until(data)
        if isinstance(data, LinkError):
            if not data.orderly:
                raise _os_error(data)
            return b""
        return data

    async def send(self, data: bytes | memoryview) -> int:
        """How many bytes were taken; waits until it is one at least."""
        await trio.lowlevel.checkpoint()
        while isinstance(taken := self._open_link.send(data), Wait):
            await self._until(taken)
        if isinstance(taken, LinkError):
            raise _os_error(taken)
        return taken

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes, which is all that `how` can ask for here."""
        del how
        self._open_link.end()

    def close(self, *, reset: bool = False) -> None:
        """Close; whoever waits here fails."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._link.fileno())
            self._link.close(reset=reset)

    @property
    def _open_link(self) -> TLSLink:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._link


def _os_error(error: LinkError) -> OSError:
    number = errno.EPIPE if error.error is AmpeError.PEER_DISCONNECTED else errno.ECONNRESET
    return OSError(number, error.detail)


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


async def connect(address: TLSClientAddress, receive_buffer: int | None) -> TLSSocket:
    """Connect to who listens there, and shake hands."""
    settings = TCPSettings(receive_buffer=receive_buffer)
    link = tcp.begin_connect(TCPClientAddress(address.host, address.port), settings)
    assert isinstance(link, Link), link
    sock = TLSSocket(TLSLink(link, client_context(), address.host))
    await sock.open()
    return sock
