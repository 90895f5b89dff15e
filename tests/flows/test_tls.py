"""TLS between engines, and with whom it is not to be: each reason, over real sockets."""

import datetime
import socket
import ssl
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trustme

from pytofu import (
    AmpeStatus,
    ChannelClosedException,
    InvalidChannelNumberException,
    InvalidMessageChannelGroupException,
    NotAllowedException,
    OpCode,
    Options,
    PeerInfo,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    connect,
    open_ampe,
    serve,
)
from pytofu.peers.incoming import Incoming
from pytofu.peers.peer import Peer
from pytofu.protocol.ending import Cause
from tests.support import (
    App,
    ListenerEnd,
    RawListener,
    RawPeer,
    address_headers,
    connect_apps,
    from_engine,
    hello,
    open_app,
    open_pair,
)
from tests.tls_sockets import HOST, authority, client_context, server_context

TLS = TLSServerAddress(HOST, 0)
TCP = TCPServerAddress(HOST, 0)
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

type Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
"""The client's and the server's."""


def client(
    ca: trustme.CA | None = None, certificate: trustme.LeafCert | None = None
) -> ssl.SSLContext:
    """A client's context: trusts the CA, or the one of the tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    (ca or authority()).configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def server(
    certificate: trustme.LeafCert | None = None, *, asks: trustme.CA | None = None
) -> ssl.SSLContext:
    """A server's context; with `asks`, clients need a certificate of that CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or authority().issue_cert(HOST)).configure_cert(context)
    if asks is not None:
        asks.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def too_old() -> Contexts:
    one, other = client(), server()
    one.maximum_version = ssl.TLSVersion.TLSv1_2
    other.minimum_version = ssl.TLSVersion.TLSv1_3
    return one, other


def wrong_ca() -> Contexts:
    return client(trustme.CA()), server()


def wrong_name() -> Contexts:
    return client(), server(authority().issue_cert("example.org"))


def expired() -> Contexts:
    return client(), server(authority().issue_cert(HOST, not_after=NOW - DAY))


def not_yet_valid() -> Contexts:
    return client(), server(
        authority().issue_cert(HOST, not_before=NOW + DAY, not_after=NOW + 2 * DAY)
    )


def no_certificate() -> Contexts:
    return client(), server(asks=authority())


def no_certificate_1_2() -> Contexts:
    one, other = no_certificate()
    one.maximum_version = ssl.TLSVersion.TLSv1_2
    return one, other


def certificate_not_accepted() -> Contexts:
    return client(certificate=trustme.CA().issue_cert("me@example.org")), server(asks=authority())


@pytest.mark.parametrize(
    ("contexts", "at_client", "at_server"),
    [
        (wrong_ca, "CA that is not trusted here", "does not trust the CA"),
        (wrong_name, "another IP address", "does not accept this side's certificate"),
        (expired, "has expired", "out of date"),
        (not_yet_valid, "not yet valid", "does not accept this side's certificate"),
        (no_certificate, "wants a certificate", "has no certificate"),
        (no_certificate_1_2, "finds nothing that it accepts", "has no certificate"),
        (certificate_not_accepted, "does not trust the CA", "CA that is not trusted here"),
        (too_old, "does not accept this side's TLS version", "too old"),
    ],
)
async def test_why_there_is_no_connection(
    contexts: Callable[[], Contexts], at_client: str, at_server: str
) -> None:
    client_side, server_side = contexts()
    async with (
        open_app(Options(tls_server=server_side)) as server_app,
        open_app(Options(tls_client=client_side)) as client_app,
    ):
        listener = await server_app.listen(TLS)
        end = client_app.connect(listener.client_address, 7)
        returned, last = await end.events_until_closed()
        headers = address_headers(listener.client_address)
        assert returned == from_engine(
            OpCode.HELLO_REQUEST, AmpeStatus.CONNECT_FAILED, end.number, 7, headers=headers
        )
        assert last == end.closed(AmpeStatus.CONNECT_FAILED)
        assert at_client in (last.detail or ""), last
        (refused,) = await server_app.events(1)
        assert refused.reason is AmpeStatus.COMMUNICATION_FAILED
        assert at_server in (refused.detail or ""), refused
        assert server_app.ampe.statistics().channels == 1


def plain(listener: ListenerEnd) -> TCPClientAddress:
    """The same port, without TLS."""
    assert isinstance(listener.address, TLSServerAddress)
    return TCPClientAddress(listener.address.host, listener.address.port)


async def test_plain_text_at_a_tls_port() -> None:
    async with open_app() as app:
        listener = await app.listen(TLS)
        with await RawPeer.connect(plain(listener)) as peer:
            await peer.send(hello())
            event = await app.event()
            assert event.reason is AmpeStatus.COMMUNICATION_FAILED
            assert event.detail == "TLS: the peer does not speak TLS: plain text at a TLS port"


async def test_tls_at_a_plain_port() -> None:
    async with open_app() as server_app, open_app() as client_app:
        listener = await server_app.listen(TCP)
        assert isinstance(listener.address, TCPServerAddress)
        end = client_app.connect(TLSClientAddress(HOST, listener.address.port))
        refused = await server_app.event()
        assert refused.reason is AmpeStatus.NOT_ALLOWED
        assert refused.detail == "the peer speaks TLS: TLS at a plain port"
        *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.CONNECT_FAILED)
        assert (last.detail or "").startswith("TLS: cut off in the handshake: ECONNRESET")


async def test_a_server_that_does_not_speak_tls() -> None:
    async with open_app() as app:
        with RawListener(TCP) as listener:
            assert isinstance(listener.address, TCPServerAddress)
            end = app.connect(TLSClientAddress(HOST, listener.address.port))
            with await listener.accept() as peer:
                await peer.send(b"SSH-2.0-OpenSSH")
                *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.CONNECT_FAILED)
        assert last.detail == "TLS: the peer does not speak TLS: plain text at a TLS port"


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_client_cut_off_in_the_handshake(sent: bytes) -> None:
    async with open_app() as app:
        listener = await app.listen(TLS)
        with await RawPeer.connect(plain(listener)) as peer:
            await peer.send(sent)
            peer.fin()
            event = await app.event()
        assert event.reason is AmpeStatus.COMMUNICATION_FAILED
        assert event.detail == "TLS: cut off in the handshake: the peer closed the connection"


async def test_a_server_that_closes_in_the_handshake() -> None:
    async with open_app() as app:
        with RawListener(TCP) as listener:
            assert isinstance(listener.address, TCPServerAddress)
            end = app.connect(TLSClientAddress(HOST, listener.address.port))
            with await listener.accept() as peer:
                await peer.receive_bytes(16)
                peer.fin()
                *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.CONNECT_FAILED)
        assert last.detail == "TLS: cut off in the handshake: the peer closed the connection"


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
async def test_a_client_silent_in_the_handshake(sent: bytes) -> None:
    async with open_app(Options(hello_timeout=0.05)) as app:
        listener = await app.listen(TLS)
        with await RawPeer.connect(plain(listener)) as silent:
            await silent.send(sent)
            event = await app.event()
        assert event.reason is AmpeStatus.NOT_ALLOWED
        assert event.detail == "hello_timeout"


async def test_a_silent_client_keeps_nobody_waiting() -> None:
    async with open_app() as app, open_app() as other:
        listener = await app.listen(TLS)
        with await RawPeer.connect(plain(listener)) as silent:
            await silent.send(b"\x16\x03\x01")
            await connect_apps(other, listener)


async def test_a_server_silent_in_the_handshake() -> None:
    async with open_app(Options(connect_timeout=0.05, hello_timeout=60)) as app:
        with RawListener(TCP) as listener:
            assert isinstance(listener.address, TCPServerAddress)
            end = app.connect(TLSClientAddress(HOST, listener.address.port))
            *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.CONNECT_FAILED)
        assert last.detail == "connect_timeout"


# ---------------------------------------------------------------------- contexts


async def test_without_a_context_nothing_is_opened() -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        app = App(ampe, chnls)
        end = app.connect(TLSClientAddress(HOST, 1))
        *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.INVALID_ADDRESS)
        assert last.detail == "TLS: there is no context for it (tls_client)"
        header = app.post(OpCode.WELCOME_REQUEST, headers=address_headers(TLS))
        *_, last = await app.events_until_closed(header.channel_number)
        assert last.reason is AmpeStatus.INVALID_ADDRESS
        assert last.detail == "TLS: there is no context for it (tls_server)"


async def test_a_context_for_the_other_side() -> None:
    options = Options(tls_client=server_context(), tls_server=client_context())
    async with open_app(options) as app:
        end = app.connect(TLSClientAddress(HOST, 1))
        *_, last = await end.events_until_closed()
        assert last == end.closed(AmpeStatus.INVALID_ADDRESS)
        assert (last.detail or "").startswith("TLS: ")
        header = app.post(OpCode.WELCOME_REQUEST, headers=address_headers(TLS))
        *_, last = await app.events_until_closed(header.channel_number)
        assert last.reason is AmpeStatus.INVALID_ADDRESS


async def test_contexts_of_a_group() -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group(tls_server=server_context()) as one,
        ampe.open_channel_group(tls_client=client_context()) as other,
    ):
        listener = await App(ampe, one).listen(TLS)
        await connect_apps(App(ampe, other), listener)


async def test_a_certificate_is_renewed_while_listening() -> None:
    context = server(authority().issue_cert(HOST, not_after=NOW - DAY))
    async with open_app(Options(tls_server=context)) as server_app, open_app() as client_app:
        listener = await server_app.listen(TLS)
        end = client_app.connect(listener.client_address)
        assert (await end.events_until_closed())[-1].reason is AmpeStatus.CONNECT_FAILED
        assert (await server_app.event()).reason is AmpeStatus.COMMUNICATION_FAILED
        authority().issue_cert(HOST).configure_cert(context)
        await connect_apps(client_app, listener)


async def test_the_name_that_the_server_has_to_have() -> None:
    options = Options(tls_server=server(authority().issue_cert("example.org")))
    async with open_app(options) as server_app, open_app() as client_app:
        listener = await server_app.listen(TLS)
        assert isinstance(listener.address, TLSServerAddress)
        address = TLSClientAddress(HOST, listener.address.port, "example.org")
        end = client_app.connect(address, 5)
        await server_app.accept(address, 5)
        assert client_app.chnls.peer(end.number).names == ("DNS:example.org",)


async def test_a_name_that_has_to_be_resolved() -> None:
    async with open_app() as server_app, open_app() as client_app:
        listener = await server_app.listen(TLSServerAddress("localhost", 0))
        assert isinstance(listener.address, TLSServerAddress)
        address = TLSClientAddress("localhost", listener.address.port)
        client_app.connect(address, 5)
        await server_app.accept(address, 5)


async def test_peers_over_tls() -> None:
    async def echo(peer: Peer, request: Incoming) -> bytes:
        return request.body

    async with trio.open_nursery() as nursery:
        serving = partial(serve, echo, "tls://127.0.0.1:0", tls=server_context())
        (address,) = await nursery.start(serving)
        assert address.startswith("tls://127.0.0.1:")
        async with connect(address, tls=client_context()) as peer:
            assert (await peer.call(b"x" * 200_000)).body == b"x" * 200_000
        with pytest.raises(ValueError, match="connect needs tls="):
            async with connect(address):
                pass
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- who it is


async def test_who_is_at_the_other_end() -> None:
    me = client(certificate=authority().issue_cert("me@example.org", common_name="me"))
    us = server(asks=authority())
    async with open_pair(
        TLS, client_options=Options(tls_client=me), server_options=Options(tls_server=us)
    ) as pair:
        seen = pair.server.app.chnls.peer(pair.server.number)
        assert (seen.scheme, seen.host, seen.tls_version) == ("tls", HOST, "TLSv1.3")
        assert seen.address == f"tls://{HOST}:{seen.port}"
        assert seen.tls_cipher.startswith("TLS_")
        assert "commonName=me" in seen.subject
        assert seen.names == ("email:me@example.org",)
        seen = pair.client.app.chnls.peer(pair.client.number)
        assert seen.names == (f"IP Address:{HOST}",)


async def test_of_whom_nothing_can_be_said() -> None:
    async with open_pair(TLS) as pair, pair.client.app.ampe.open_channel_group() as other:
        client_app, server_app = pair.client.app, pair.server.app
        assert server_app.chnls.peer(pair.server.number).subject == ""  # it had no certificate
        with pytest.raises(NotAllowedException):
            server_app.chnls.peer(pair.listener.number)
        with pytest.raises(InvalidChannelNumberException):
            server_app.chnls.peer(0)
        with pytest.raises(InvalidMessageChannelGroupException):
            other.peer(pair.client.number)
        begun = client_app.connect(TLSClientAddress(HOST, 1))
        assert client_app.chnls.peer(begun.number) == PeerInfo()
        await begun.events_until_closed()
        with pytest.raises(ChannelClosedException):
            client_app.chnls.peer(begun.number)


@pytest.mark.parametrize("answer", [True, False, None])
async def test_the_program_is_asked_after_the_handshake(
    answer: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[PeerInfo] = []

    def accept_filter(peer: PeerInfo) -> bool:
        asked.append(peer)
        if answer is None:
            raise ValueError("not today")
        return answer

    me = client(certificate=authority().issue_cert("me@example.org"))
    options = Options(tls_server=server(asks=authority()), accept_filter=accept_filter)
    async with open_app(options) as server_app, open_app(Options(tls_client=me)) as client_app:
        listener = await server_app.listen(TLS)
        if answer:
            await connect_apps(client_app, listener)
        else:
            end = client_app.connect(listener.client_address)
            refused = await server_app.event()
            assert refused.reason is AmpeStatus.NOT_ALLOWED
            assert refused.detail == "accept_filter"
            await end.events_until_closed()
        assert [one.names for one in asked] == [("email:me@example.org",)]
    assert ("not today" in caplog.text) is (answer is None)


async def test_a_filter_that_aborts_its_own_channel() -> None:
    """What the program does while it is asked may have ended the channel already."""

    def accept_filter(peer: PeerInfo) -> bool:
        nursery.cancel_scope.cancel()
        for channel in list(server_app.chnls._group.channels):
            channel.end(Cause.ABORTED)
        return True

    async with (
        open_app(Options(accept_filter=accept_filter)) as server_app,
        open_app() as client_app,
        trio.open_nursery() as nursery,
    ):
        listener = await server_app.listen(TLS)
        end = client_app.connect(listener.client_address)
        nursery.start_soon(trio.sleep_forever)
        await end.events_until_closed()
        assert listener.number in [event.channel for event in await server_app.rest()]


async def test_much_both_ways() -> None:
    """More than any buffer holds, in messages that no record ends with."""
    async with open_pair(TLS) as pair:
        count, body = 200, bytes(60_013)
        for end in (pair.client, pair.server):
            for i in range(count):
                end.post(OpCode.SIGNAL, i + 1, body=body)
        for end in (pair.server, pair.client):
            for i in range(count):
                message = await end.app.receive()
                assert (message.message_id, message.payload) == (i + 1, body)


async def test_cut_off_is_no_orderly_end() -> None:
    async with open_app() as app:
        listener = await app.listen(TLS)
        assert isinstance(listener.address, TLSServerAddress)
        sock = socket.create_connection((HOST, listener.address.port))
        wrap = partial(client_context().wrap_socket, sock, server_hostname=HOST)
        with await trio.to_thread.run_sync(wrap) as tls:
            tls.sendall(hello(3))
            event = await app.event()
            assert event.opcode is OpCode.HELLO_REQUEST
            tls.shutdown(socket.SHUT_WR)  # of TCP
            last = await app.event()
        assert last.reason is AmpeStatus.COMMUNICATION_FAILED
        assert last.detail == "TLS: the connection ended without the peer's close_notify"
