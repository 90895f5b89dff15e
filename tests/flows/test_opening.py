"""Connecting, and everything that can become of a HelloRequest (PROTOCOL 4)."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import (
    AmpeStatus,
    Holder,
    MemoryClientAddress,
    MemoryServerAddress,
    Message,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
)
from pytofu.engine.io_channel import IoChannel
from pytofu.links import memory
from pytofu.links.base import Link
from tests.support import (
    FIN,
    App,
    ClientAddress,
    End,
    Event,
    Headers,
    RawListener,
    RawPeer,
    ServerAddress,
    Side,
    abort_ending,
    abort_reason,
    address_headers,
    client_address_of,
    closed,
    connect_apps,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_pair,
)

LOOPBACK: Final = TCPServerAddress("127.0.0.1", 0)


# ---------------------------------------------------------------------- connecting


async def test_hello_goes_over_and_is_answered(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        where = address_headers(listener.client_address)
        asked = client.post(
            OpCode.HELLO_REQUEST, headers=(*where, ("user", "me")), body=b"let me in"
        )
        request = await server.event()
        assert request == from_app(
            OpCode.HELLO_REQUEST,
            request.channel,
            asked.message_id,
            headers=(*where, ("user", "me")),
            body=b"let me in",
        )
        assert request.channel not in (0, listener.number)
        server.post(
            OpCode.HELLO_RESPONSE,
            request.channel,
            asked.message_id,
            headers=(("you", "may"),),
            body=b"welcome",
        )
        assert await client.event() == from_app(
            OpCode.HELLO_RESPONSE,
            asked.channel_number,
            asked.message_id,
            headers=(("you", "may"),),
            body=b"welcome",
        )
        assert await server.rest() == []
        assert await client.rest() == []


async def test_connecting_says_nothing_to_the_application(address: ServerAddress) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address, 5, body=b"abc")
            with await listener.accept() as peer:
                request = await peer.receive_frame()
                assert (request.channel, request.opcode) == (end.number, OpCode.HELLO_REQUEST)
                assert (request.message_id, request.body) == (5, b"abc")
                assert await app.rest() == []


async def test_posts_behind_the_hello_are_sent_after_it_before_it_is_answered(
    address: ServerAddress,
) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address, 5)
            opcodes = [OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL, OpCode.BYE_REQUEST]
            for message_id, opcode in enumerate(opcodes, 6):
                end.post(opcode, message_id, body=opcode.name.encode())
            with await listener.accept() as peer:
                for message_id, opcode in enumerate([OpCode.HELLO_REQUEST, *opcodes], 5):
                    received = await peer.receive_frame()
                    assert (received.opcode, received.message_id) == (opcode, message_id)
                assert await app.rest() == []
                await peer.send(frame(OpCode.HELLO_RESPONSE, 5) + frame(OpCode.BYE_RESPONSE, 9))
                assert await end.events_until_closed() == [
                    from_app(OpCode.HELLO_RESPONSE, end.number, 5),
                    from_app(OpCode.BYE_RESPONSE, end.number, 9),
                    end.closed(AmpeStatus.SUCCESS),
                ]
                assert await peer.ending() == (b"", FIN)


async def test_messages_behind_the_hello_are_received_in_order(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        end = client.connect(listener.client_address)
        for message_id in range(100, 200):
            end.post(OpCode.REQUEST, message_id)
        accepted = await server.accept(listener.client_address, end.message_id)
        assert await server.events(100) == [
            from_app(OpCode.REQUEST, accepted.number, message_id) for message_id in range(100, 200)
        ]


async def test_the_answer_may_carry_another_id(address: ServerAddress, side: Side) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        client_end = client.connect(listener.client_address, 5)
        server_end = await server.accept(listener.client_address, 5)
        server_end.post(OpCode.HELLO_RESPONSE, 6)
        assert await client.event() == from_app(OpCode.HELLO_RESPONSE, client_end.number, 6)
        near, far = (client_end, server_end) if side == "client" else (server_end, client_end)
        near.post(OpCode.BYE_SIGNAL, 7)
        # Either side's last event carries the id of the HelloRequest.
        assert await near.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED, near.number, 7),
            closed(near.number, 5, AmpeStatus.CHANNEL_CLOSED),
        ]
        assert await far.events_until_closed() == [closed(far.number, 5, abort_reason(address))]


async def test_a_hello_without_an_id(address: ServerAddress) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(0) + frame(OpCode.BYE_RESPONSE, 4))
            first, *others = await app.events(3)
            assert first.opcode is OpCode.HELLO_REQUEST
            assert first.message_id == 0
            assert others == [
                from_app(OpCode.BYE_RESPONSE, first.channel, 4),
                closed(first.channel, 0, AmpeStatus.SUCCESS),
            ]


def body_of_hello(address: ClientAddress, size: int) -> bytes:
    """Which makes text headers and body together `size` bytes."""
    message = Message()
    address.format(message)
    return bytes(size - len(message.text_headers.to_bytes()))


@pytest.mark.parametrize(
    ("options", "size"),
    [(Options(), 16 * 1024), (Options(max_hello_bytes=65_535), 65_535)],
    ids=["by default", "as an option says"],
)
async def test_a_hello_as_large_as_it_may_be(
    address: ServerAddress, options: Options, size: int
) -> None:
    async with open_app(options) as server, open_app() as client:
        listener = await server.listen(address)
        body = body_of_hello(listener.client_address, size)
        end = client.connect(listener.client_address, body=body)
        await server.accept(listener.client_address, end.message_id, body=body)


async def test_a_hello_larger_than_it_may_be(address: ServerAddress) -> None:
    """Its first bytes say so: nothing more of it is waited for, and others are none the worse."""
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        largest = 16 + 16 * 1024
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5, body=bytes(largest + 1 - len(hello(5))))[:16])
            event = await server.event()
            assert event == closed(event.channel, 0, AmpeStatus.NOT_ALLOWED)
            assert event.detail == "max_hello_bytes"
            assert await peer.ending() == (b"", abort_ending(address))
        assert server.ampe.statistics().limits_reached == {"max_hello_bytes": 1}
        await connect_apps(client, listener)


async def test_client_and_server_in_one_group(address: ServerAddress) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        client, server = await connect_apps(app, listener)
        assert len({client.number, server.number, listener.number}) == 3
        client.post(OpCode.REQUEST, 5, body=b"ping")
        assert await app.event() == from_app(OpCode.REQUEST, server.number, 5, body=b"ping")
        server.post(OpCode.RESPONSE, 5, body=b"pong")
        assert await app.event() == from_app(OpCode.RESPONSE, client.number, 5, body=b"pong")
        client.post(OpCode.BYE_REQUEST, 6)
        assert await app.event() == from_app(OpCode.BYE_REQUEST, server.number, 6)
        server.post(OpCode.BYE_RESPONSE, 6)
        events = await app.events_until_closed(client.number, server.number)
        assert [event for event in events if event.channel == client.number] == [
            from_app(OpCode.BYE_RESPONSE, client.number, 6),
            client.closed(AmpeStatus.SUCCESS),
        ]
        assert [event for event in events if event.channel == server.number] == [
            server.closed(AmpeStatus.SUCCESS)
        ]


async def test_client_and_server_in_two_groups_of_one_engine(address: ServerAddress) -> None:
    async with open_app() as server, server.ampe.open_channel_group() as chnls:
        client = App(server.ampe, chnls)
        listener = await server.listen(address)
        client_end, server_end = await connect_apps(client, listener)
        assert len({client_end.number, server_end.number, listener.number}) == 3
        client_end.post(OpCode.REQUEST, 5)
        server_end.post(OpCode.REQUEST, 6)
        assert await client.event() == from_app(OpCode.REQUEST, client_end.number, 6)
        assert await server.event() == from_app(OpCode.REQUEST, server_end.number, 5)
        assert await client.rest() == await server.rest() == []


async def test_many_clients(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        ends = [client.connect(listener.client_address) for _ in range(100)]
        requests = await server.events(100)
        assert {request.message_id for request in requests} == {end.message_id for end in ends}
        assert len({request.channel for request in requests}) == 100
        for request in requests:
            server.post(OpCode.HELLO_RESPONSE, request.channel, request.message_id)
        answers = {answer.channel: answer for answer in await client.events(100)}
        assert answers == {
            end.number: from_app(OpCode.HELLO_RESPONSE, end.number, end.message_id) for end in ends
        }


async def test_tcp_nodelay_is_set() -> None:
    async with open_pair(LOOPBACK) as pair:
        for end in (pair.client, pair.server):
            channel = end.app.chnls._group._numbers.open[end.number]
            assert isinstance(channel, IoChannel)
            with socket.fromfd(channel.fileno(), socket.AF_INET, socket.SOCK_STREAM) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# ---------------------------------------------------------------------- failing to connect


@attrs.frozen
class Failure:
    """A way in which connecting fails: the headers that lead there, and what comes back."""

    headers: Headers
    opcode: OpCode
    status: AmpeStatus


FAILURES: Final = [
    "refused",
    "unresolvable",
    "no address",
    "listen_on",
    "four parts",
    "foreign scheme",
    "no digits",
    "port too large",
    "no host",
    "uds path missing",
    "uds directory missing",
    "uds dead",
    "uds no socket",
    "uds too long",
    "uds empty",
    "mem refused",
    "mem empty",
]


class Unresolving(trio.abc.HostnameResolver):
    """Knows no name, and asks nobody."""

    async def getaddrinfo(self, *args: object, **kwargs: object) -> list[object]:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: object) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture(params=FAILURES)
async def failure(request: pytest.FixtureRequest, tmp_path: Path) -> Failure:
    """Each way in turn."""

    def connect_to(value: str) -> Headers:
        return (("~connect_to", value),)

    path = tmp_path / "s"
    bad_address = OpCode.HELLO_RESPONSE, AmpeStatus.INVALID_ADDRESS
    match request.param:
        case "refused":
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))  # and nobody listens
                headers = connect_to(f"tcp|127.0.0.1|{sock.getsockname()[1]}")
            return Failure(headers, OpCode.HELLO_REQUEST, AmpeStatus.CONNECT_FAILED)
        case "unresolvable":
            trio.socket.set_custom_hostname_resolver(Unresolving())
            return Failure(connect_to("tcp|nobody.invalid|80"), *bad_address)
        case "no address":
            return Failure((("name", "value"),), *bad_address)
        case "listen_on":
            return Failure((("~listen_on", "tcp|127.0.0.1|7099"),), *bad_address)
        case "four parts":
            return Failure(connect_to("tcp|127.0.0.1|7099|1"), *bad_address)
        case "foreign scheme":
            return Failure(connect_to("foo|bar|80"), *bad_address)
        case "no digits":
            return Failure(connect_to("tcp|127.0.0.1|7o99"), *bad_address)
        case "port too large":
            return Failure(connect_to("tcp|127.0.0.1|65536"), *bad_address)
        case "no host":
            return Failure(connect_to("tcp|a b|7099"), *bad_address)
        case "uds path missing":
            headers = connect_to(f"uds|{path}")
            return Failure(headers, OpCode.HELLO_RESPONSE, AmpeStatus.UDS_PATH_NOT_FOUND)
        case "uds directory missing":
            headers = connect_to(f"uds|{path}/s")
            return Failure(headers, OpCode.HELLO_RESPONSE, AmpeStatus.UDS_PATH_NOT_FOUND)
        case "uds dead":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(path))
            headers = connect_to(f"uds|{path}")
            return Failure(headers, OpCode.HELLO_RESPONSE, AmpeStatus.CONNECT_FAILED)
        case "uds no socket":
            path.write_text("a file")
            headers = connect_to(f"uds|{path}")
            return Failure(headers, OpCode.HELLO_RESPONSE, AmpeStatus.CONNECT_FAILED)
        case "uds too long":
            return Failure(connect_to(f"uds|/{'x' * 107}"), *bad_address)
        case "uds empty":
            return Failure(connect_to("uds|"), *bad_address)
        case "mem refused":
            headers = connect_to("mem|nobody")
            return Failure(headers, OpCode.HELLO_REQUEST, AmpeStatus.CONNECT_FAILED)
        case _:
            return Failure(connect_to("mem|"), *bad_address)


async def test_a_failing_hello_comes_back_whole(failure: Failure) -> None:
    headers = (*failure.headers, ("more", "headers"))
    async with open_app() as app:
        header = app.post(OpCode.HELLO_REQUEST, 0, 5, headers=headers, body=b"abc")
        assert header.channel_number
        assert await app.events(2) == [
            from_engine(
                failure.opcode,
                failure.status,
                header.channel_number,
                5,
                headers=headers,
                body=b"abc",
            ),
            closed(header.channel_number, 5, failure.status),
        ]
        assert await app.rest() == []


async def test_posts_behind_a_failing_hello_come_back_with_its_status(failure: Failure) -> None:
    async with open_app() as app:
        number = app.post(OpCode.HELLO_REQUEST, 0, 5, headers=failure.headers).channel_number
        app.post(OpCode.REQUEST, number, 6, headers=(("a", "b"),), body=b"first", more=True)
        app.post(OpCode.RESPONSE, number, 6, body=b"second")
        app.post(OpCode.SIGNAL, number, 7)
        app.post(OpCode.BYE_REQUEST, number, 8)
        app.post(OpCode.SIGNAL, number, 9, body=b"behind the bye")
        assert await app.events_until_closed(number) == [
            from_engine(
                OpCode.SIGNAL, AmpeStatus.CHANNEL_CLOSED, number, 9, body=b"behind the bye"
            ),
            from_engine(failure.opcode, failure.status, number, 5, headers=failure.headers),
            from_engine(
                OpCode.REQUEST,
                failure.status,
                number,
                6,
                headers=(("a", "b"),),
                body=b"first",
                more=True,
            ),
            from_engine(OpCode.RESPONSE, failure.status, number, 6, body=b"second"),
            from_engine(OpCode.SIGNAL, failure.status, number, 7),
            from_engine(OpCode.BYE_REQUEST, failure.status, number, 8),
            closed(number, 5, failure.status),
        ]
        assert await app.rest() == []


async def test_a_client_may_be_there_before_the_server(tmp_path: Path) -> None:
    async with open_app() as server, open_app() as client:
        early = client.connect(UDSClientAddress(tmp_path / "s"))
        assert (await early.events_until_closed())[-1] == early.closed(
            AmpeStatus.UDS_PATH_NOT_FOUND
        )
        listener = await server.listen(UDSServerAddress(tmp_path / "s"))
        await connect_apps(client, listener)


class FullListener:
    """Listens, has a full backlog, and never accepts."""

    def __init__(self, address: TCPServerAddress | UDSServerAddress) -> None:
        uds = isinstance(address, UDSServerAddress)
        family = socket.AF_UNIX if uds else socket.AF_INET
        self._sock = socket.socket(family)
        self._sock.bind(
            address.path if isinstance(address, UDSServerAddress) else (address.host, 0)
        )
        self._sock.listen(0)
        self.address: ClientAddress = client_address_of(
            address if uds else TCPServerAddress(*self._sock.getsockname())
        )
        self._waiting: list[socket.socket] = []
        while True:
            sock = socket.socket(family)
            sock.setblocking(False)
            self._waiting.append(sock)
            error = sock.connect_ex(self._sock.getsockname())
            if error == errno.EAGAIN or (error == errno.EINPROGRESS and len(self._waiting) > 3):
                break

    def close(self) -> None:
        for sock in (self._sock, *self._waiting):
            sock.close()


@contextmanager
def full_name(address: MemoryServerAddress) -> Iterator[ClientAddress]:
    """What a `FullListener` is, within the process."""
    listening = memory.begin_listen(address)
    assert isinstance(listening, list)
    where = MemoryClientAddress(address.name)
    while isinstance(memory.begin_connect(where), Link):
        pass
    yield where
    listening[0].close()


@pytest.fixture
def unanswering(address: ServerAddress) -> Iterator[ClientAddress]:
    """An address that is there, and where connecting goes on and on."""
    if isinstance(address, MemoryServerAddress):
        with full_name(address) as where:
            yield where
    else:
        tls = isinstance(address, TLSServerAddress)
        listener = FullListener(
            TCPServerAddress(address.host, 0) if isinstance(address, TLSServerAddress) else address
        )
        where = listener.address
        if tls and isinstance(where, TCPClientAddress):
            where = TLSClientAddress(where.host, where.port)
        yield where
        listener.close()


async def test_connecting_takes_too_long(unanswering: ClientAddress) -> None:
    async with open_app(Options(connect_timeout=0.1)) as app:
        headers = address_headers(unanswering)
        end = app.connect(unanswering, body=b"abc")
        end.post(OpCode.REQUEST, 6, body=b"behind")
        status = AmpeStatus.CONNECT_FAILED
        assert await end.events_until_closed() == [
            from_engine(
                OpCode.HELLO_REQUEST,
                status,
                end.number,
                end.message_id,
                headers=headers,
                body=b"abc",
            ),
            from_engine(OpCode.REQUEST, status, end.number, 6, body=b"behind"),
            end.closed(status),
        ]


async def test_aborting_while_connecting(unanswering: ClientAddress) -> None:
    async with open_app() as app:
        end = app.connect(unanswering, body=b"abc")
        end.post(OpCode.REQUEST, 6, body=b"behind")
        assert await app.rest() == []
        end.post(OpCode.BYE_SIGNAL, 7, body=b"no")
        assert await end.events_until_closed() == _aborted_hello(end, unanswering)


async def test_aborting_before_connecting_has_begun(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as app:
        listener = await server.listen(address)
        end = app.connect(listener.client_address, body=b"abc")
        end.post(OpCode.REQUEST, 6, body=b"behind")
        end.post(OpCode.BYE_SIGNAL, 7, body=b"no")
        assert await end.events_until_closed() == _aborted_hello(end, listener.client_address)
        assert await server.rest() == []


def _aborted_hello(end: End, address: ClientAddress) -> list[Event]:
    status = AmpeStatus.CHANNEL_CLOSED
    headers = address_headers(address)
    return [
        from_engine(OpCode.BYE_SIGNAL, status, end.number, 7, body=b"no"),
        from_engine(
            OpCode.HELLO_REQUEST, status, end.number, end.message_id, headers=headers, body=b"abc"
        ),
        from_engine(OpCode.REQUEST, status, end.number, 6, body=b"behind"),
        end.closed(status),
    ]


async def test_a_second_hello_while_connecting(unanswering: ClientAddress) -> None:
    async with open_app() as app:
        end = app.connect(unanswering)
        headers = address_headers(unanswering)
        app.post(OpCode.HELLO_REQUEST, end.number, 6, headers=headers)
        assert await end.events_until_closed() == [
            from_engine(
                OpCode.HELLO_RESPONSE,
                AmpeStatus.INVALID_CHANNEL_NUMBER,
                end.number,
                6,
                headers=headers,
            ),
            from_engine(
                OpCode.HELLO_REQUEST,
                AmpeStatus.CHANNEL_CLOSED,
                end.number,
                end.message_id,
                headers=headers,
            ),
            end.closed(AmpeStatus.INVALID_CHANNEL_NUMBER),
        ]


# ---------------------------------------------------------------------- turning a client away


async def test_hello_rejected_by_bye_response(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        client_end = client.connect(listener.client_address)
        client_end.post(OpCode.REQUEST, 6, body=b"behind the hello")
        server_end = await server.accept(listener.client_address, client_end.message_id)
        assert await server.event() == from_app(
            OpCode.REQUEST, server_end.number, 6, body=b"behind the hello"
        )
        server_end.post(OpCode.BYE_RESPONSE, client_end.message_id, body=b"no")
        assert await client_end.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, client_end.number, client_end.message_id, body=b"no"),
            client_end.closed(AmpeStatus.SUCCESS),
        ]
        assert await server_end.events_until_closed() == [server_end.closed(AmpeStatus.SUCCESS)]
        assert await client.rest() == await server.rest() == []


async def test_hello_rejected_by_bye_signal(address: ServerAddress) -> None:
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        client_end = client.connect(listener.client_address)
        server_end = await server.accept(listener.client_address, client_end.message_id)
        server_end.post(OpCode.BYE_SIGNAL, 8, body=b"no")
        assert await server_end.events_until_closed() == [
            from_engine(
                OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED, server_end.number, 8, body=b"no"
            ),
            server_end.closed(AmpeStatus.CHANNEL_CLOSED),
        ]
        assert await client_end.events_until_closed() == [client_end.closed(abort_reason(address))]
        assert await client.rest() == await server.rest() == []


async def test_how_a_rejected_connection_ends(address: ServerAddress) -> None:
    async with open_app(Options(close_timeout=0.1)) as app:
        listener = await app.listen(address)
        for opcode in (OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL):
            with await RawPeer.connect(listener.client_address) as peer:
                await peer.send(hello(5))
                request = await app.event()
                app.post(opcode, request.channel, 5)
                if opcode is OpCode.BYE_RESPONSE:
                    assert (await peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
                    peer.fin()
                    assert await peer.ending() == (b"", FIN)
                else:
                    assert await peer.ending() == (b"", abort_ending(address))
                await app.events_until_closed(request.channel)


async def test_a_zig_peer_may_reject_by_a_bye_signal_on_the_wire(address: ServerAddress) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address)
            with await listener.accept() as peer:
                await peer.receive_frame()
                await peer.send(frame(OpCode.BYE_SIGNAL, 3, body=b"no", internal=0))
                assert await end.events_until_closed() == [
                    from_app(OpCode.BYE_SIGNAL, end.number, 3, body=b"no"),
                    end.closed(AmpeStatus.PEER_DISCONNECTED),
                ]


async def test_a_hello_that_came_back_can_be_posted_again(address: ServerAddress) -> None:
    """As it is, but for channel and opcode: the way to reconnect."""
    async with open_app() as server, open_app() as client:
        listener = await server.listen(address)
        where = address_headers(listener.client_address)
        listener.post(OpCode.BYE_SIGNAL)
        await listener.events_until_closed()
        first = client.connect(listener.client_address)
        message: Message = await client.receive()
        assert message.text_headers.get("~connect_to") == where[0][1]
        assert (await first.events_until_closed())[-1].channel == first.number
        again = await server.listen(listener.address)
        message.channel_number = 0
        message.opcode = OpCode.HELLO_REQUEST
        header = client.chnls.post(Holder(message))
        assert header.channel_number != first.number
        await server.accept(again.client_address, first.message_id)


async def test_leaving_while_connecting(unanswering: ClientAddress) -> None:
    """The hello might still go out, so it is waited for, but only so long."""
    with trio.fail_after(2):
        async with open_app(Options(close_timeout=0.05)) as app:
            app.connect(unanswering)
            await trio.testing.wait_all_tasks_blocked()


async def test_an_exception_while_connecting(unanswering: ClientAddress) -> None:
    with trio.fail_after(2), pytest.raises(ZeroDivisionError):
        await _fail_while_connecting(unanswering)


async def _fail_while_connecting(address: ClientAddress) -> None:
    async with open_app() as app:
        app.connect(address)
        await trio.testing.wait_all_tasks_blocked()
        raise ZeroDivisionError
