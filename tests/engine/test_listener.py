"""A listener: binding, accepting, and what it survives (PROTOCOL 2, 4 and 6)."""

import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, OpCode, TCPServerAddress, UDSServerAddress
from pytofu.engine import transport
from pytofu.patterns.result import Err
from tests.support import (
    HELLO_HEADERS,
    App,
    ListenerEnd,
    RawPeer,
    ServerAddress,
    address_headers,
    closed,
    from_app,
    from_engine,
    hello,
    open_app,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)

type Bound = list[transport.Listening]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Bound:
    """What the listeners of the test are bound to, once they are."""
    bound: Bound = []
    listen = transport.listen

    async def listen_and_tell(
        address: TCPServerAddress | UDSServerAddress, *, reuse_port: bool
    ) -> object:
        result = await listen(address, reuse_port=reuse_port)
        bound.append(result.unwrap())
        return result

    monkeypatch.setattr(transport, "listen", listen_and_tell)
    return bound


async def greet(app: App, listener: ListenerEnd, message_id: int) -> RawPeer:
    """Connect and say hello, which the application receives next."""
    peer = await RawPeer.connect(listener.client_address)
    await peer.send(hello(message_id))
    event = await app.event()
    assert event == from_app(OpCode.HELLO_REQUEST, event.channel, message_id, headers=HELLO_HEADERS)
    return peer


# ---------------------------------------------------------------------- binding


async def test_the_answer_has_the_requests_headers_and_the_address_really_bound() -> None:
    async with open_app() as app:
        message = app.ampe.get()
        message.message_id = 9
        message.text_headers.append("before", "1")
        LOCALHOST.format(message)
        message.text_headers.append("~listen_on", "tcp|127.0.0.1|1")
        message.text_headers.append("x~listen_on", "tcp|127.0.0.1|0")
        message.set_payload(b"kept")
        number = app.chnls.post(Holder(message)).channel_number
        event = await app.event()
        assert event.headers[1][0] == "~listen_on"
        scheme, host, port = event.headers[1][1].split("|")
        assert (scheme, host) == ("tcp", "127.0.0.1")
        assert int(port) > 0
        headers = (
            ("before", "1"),
            ("~listen_on", f"tcp|127.0.0.1|{port}"),
            ("~listen_on", "tcp|127.0.0.1|1"),
            ("x~listen_on", "tcp|127.0.0.1|0"),
        )
        assert event == from_app(OpCode.WELCOME_RESPONSE, number, 9, headers=headers, body=b"kept")


@pytest.mark.parametrize(
    ("name", "value"),
    [("~listen_on", "tcp|127.0.0.1"), ("~connect_to", "tcp|127.0.0.1|80"), ("other", "1")],
)
async def test_without_a_valid_address_nothing_is_bound(name: str, value: str) -> None:
    async with open_app() as app:
        headers = ((name, value),)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        invalid = AmpeStatus.INVALID_ADDRESS
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.WELCOME_RESPONSE, invalid, number, 9, headers=headers),
            closed(number, 9, invalid),
        ]


async def test_a_taken_address_fails(address: ServerAddress) -> None:
    async with open_app() as app:
        taken = address_headers((await app.listen(address)).address)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=taken).channel_number
        failed = AmpeStatus.LISTEN_FAILED
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.WELCOME_RESPONSE, failed, number, 9, headers=taken),
            closed(number, 9, failed),
        ]


async def test_closing_before_binding_gives_the_request_back(address: ServerAddress) -> None:
    async with open_app() as app:
        headers = address_headers(address)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        app.post(OpCode.BYE_SIGNAL, number, 10)
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, number, 10),
            from_engine(OpCode.WELCOME_RESPONSE, CLOSED, number, 9, headers=headers),
            closed(number, 9, CLOSED),
        ]
        await app.listen(address)


class Nobody(trio.abc.HostnameResolver):
    """Never answers."""

    async def getaddrinfo(self, *args: object, **kwargs: object) -> list[object]:  # type: ignore[override]
        await trio.sleep_forever()
        raise AssertionError

    async def getnameinfo(self, *args: object) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


async def test_closing_while_the_host_is_looked_up_gives_the_request_back() -> None:
    trio.socket.set_custom_hostname_resolver(Nobody())
    async with open_app() as app:
        headers = address_headers(TCPServerAddress("nowhere.invalid"))
        number = app.post(OpCode.WELCOME_REQUEST, 0, 9, headers=headers).channel_number
        await wait_all_tasks_blocked()
        app.post(OpCode.BYE_SIGNAL, number, 10)
        assert await app.events_until_closed(number) == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, number, 10),
            from_engine(OpCode.WELCOME_RESPONSE, CLOSED, number, 9, headers=headers),
            closed(number, 9, CLOSED),
        ]


# ---------------------------------------------------------------------- accepting


@contextmanager
def no_more_files() -> Iterator[None]:
    """The process has as many files open as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_listener_waits_until_the_process_can_open_files_again(
    address: ServerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with await greet(app, listener, 1) as before:
            target = before.sock.getpeername()
            with trio.socket.socket(before.sock.family) as late:
                with no_more_files():
                    await late.connect(target)
                    await wait_all_tasks_blocked()
                    (record,) = caplog.records
                    assert record.levelno == logging.WARNING
                    assert "accepting again later" in record.getMessage()
                    assert os.strerror(errno.EMFILE) in record.getMessage()
                await late.send(hello(2))
                assert (await app.event()).message_id == 2


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get
)
async def test_a_listener_survives_what_will_pass(
    number: int, address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(number, os.strerror(number))]
    accept_all = transport.accept_all

    def accept_later(sock: socket.socket) -> Iterator[socket.socket]:
        while failures:
            raise failures.pop()
        return accept_all(sock)

    async with open_app() as app:
        listener = await app.listen(address)
        monkeypatch.setattr(transport, "accept_all", accept_later)
        for message_id in (1, 2):
            peer = await greet(app, listener, message_id)
            peer.close()
            await app.events(1)
        assert failures == []


async def test_a_listener_that_is_closed_while_it_waits_for_files(
    address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accept_all(sock: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with open_app() as app:
        listener = await app.listen(address)
        monkeypatch.setattr(transport, "accept_all", accept_all)
        with await RawPeer.connect(listener.client_address):
            await wait_all_tasks_blocked()
            listener.post(OpCode.BYE_SIGNAL, 3)
            assert (await listener.events_until_closed())[-1] == listener.closed(CLOSED)


async def test_a_broken_listener_closes_and_its_connections_live_on(
    bound: Bound, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_app() as app:
        listener = await app.listen(LOCALHOST)
        with await greet(app, listener, 1) as peer:
            bound[0].sock.shutdown(socket.SHUT_RDWR)  # now it cannot accept any more
            assert await listener.events_until_closed() == [
                listener.closed(AmpeStatus.ACCEPT_FAILED)
            ]
            (record,) = caplog.records
            assert record.levelno == logging.ERROR
            assert "cannot accept" in record.getMessage()
            assert bound[0].sock.fileno() == -1
            await peer.send(b"\0\1\x02\0" + bytes(12))
            assert (await app.event()).opcode is OpCode.SIGNAL
        await app.event()
        await app.listen(LOCALHOST)


async def test_bye_signal_closes_the_listener_and_not_its_connections(
    address: ServerAddress, bound: Bound
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with await greet(app, listener, 1) as peer:
            listener.post(OpCode.BYE_SIGNAL, 3)
            assert await listener.events_until_closed() == [
                from_engine(OpCode.BYE_SIGNAL, CLOSED, listener.number, 3),
                listener.closed(CLOSED),
            ]
            assert bound[0].sock.fileno() == -1
            assert isinstance(
                await transport.connect(listener.client_address), Err
            )  # refused, or no such file
            await peer.send(b"\0\1\x02\0" + bytes(12))
            assert (await app.event()).opcode is OpCode.SIGNAL
        await app.event()


async def test_of_two_bye_signals_both_come_back(address: ServerAddress) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        for message_id in (3, 4):
            listener.post(OpCode.BYE_SIGNAL, message_id)
        assert await listener.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, listener.number, 3),
            from_engine(OpCode.BYE_SIGNAL, CLOSED, listener.number, 4),
            listener.closed(CLOSED),
        ]


async def test_a_connection_that_is_gone_when_it_is_accepted_is_a_channel_all_the_same(
    address: ServerAddress,
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        peer = await RawPeer.connect(listener.client_address)
        peer.reset()
        event = await app.event()
        assert event.status is CLOSED
        assert event.message_id == 0
        (await greet(app, listener, 1)).close()
        await app.events(1)
