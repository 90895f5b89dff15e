"""What all channels have in common: above all, that a defect costs one channel only.

Each test breaks a part that channels use, for one of several channels, and sees that this one
closes with PROCESSING_FAILED, that the log says why, and that everything else goes on.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import pytest

from pytofu import AmpeStatus, Holder, OpCode, TCPServerAddress
from pytofu.engine import transport
from pytofu.engine.io_channel import IoChannel
from pytofu.protocol.framing import FrameReader, FrameWriter
from tests.support import (
    End,
    ServerAddress,
    Side,
    abort_reason,
    address_headers,
    clog,
    closed,
    connect_apps,
    from_app,
    from_engine,
    open_app,
    open_pair,
    open_raw_pair,
)

DEFECT: Final = b"what trips the defect"
LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
FAILED: Final = AmpeStatus.PROCESSING_FAILED


class DefectError(RuntimeError):
    """What a broken part raises."""


@pytest.fixture(autouse=True)
def _the_log_says_so(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Exactly one thing is logged: the traceback of the defect."""
    with caplog.at_level(logging.INFO, "pytofu"):
        yield
    (record,) = caplog.get_records("call")
    assert record.name == "pytofu"
    assert record.levelno == logging.ERROR
    assert "closed by a defect in pytofu" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is DefectError


@contextmanager
def broken(
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    trips: Callable[..., bool] = lambda *args, **kwargs: True,
) -> Iterator[None]:
    """Let a function raise, once, where `trips` says so, behind what it has to do."""
    original = getattr(owner, name)
    tripped: list[bool] = []

    def defective(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if not tripped and trips(*args, **kwargs):
            tripped.append(True)
            raise DefectError(name)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, defective)
        yield
    assert tripped


def has_defect(_: object, data: bytes) -> bool:
    return DEFECT in data


@attrs.frozen
class World:
    """Three connections between two applications. The defect hits the near end of one."""

    near: End
    far: End
    others: list[tuple[End, End]]

    async def assert_others_talk(self) -> None:
        for one, other in self.others:
            await assert_talking(one, other)
            await assert_talking(other, one)
        channels = len(self.others) + 1
        number_of = sorted(end.app.chnls.statistics().channels for end in (self.near, self.far))
        assert number_of == [channels - 1, channels]  # the listener is on one side


async def assert_talking(one: End, other: End) -> None:
    """What one end posts is the next thing that the other receives."""
    header = one.post(OpCode.SIGNAL, body=b"still here")
    assert await other.app.event() == from_app(
        OpCode.SIGNAL, other.number, header.message_id, body=b"still here"
    )


@asynccontextmanager
async def open_world(address: ServerAddress, side: Side) -> AsyncIterator[World]:
    async with open_pair(address) as pair:
        others = [await connect_apps(pair.client.app, pair.listener) for _ in range(2)]
        yield World(*pair.ends(side), others)


# ---------------------------------------------------------------------- IO channels


async def test_a_defect_while_reading(
    address: ServerAddress, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(address, side) as world:
        near, far = world.near, world.far
        with broken(monkeypatch, FrameReader, "feed", has_defect):
            far.post(OpCode.SIGNAL, body=DEFECT)
            assert await near.events_until_closed() == [near.closed(FAILED)]
        assert await far.events_until_closed() == [far.closed(abort_reason(address))]
        await world.assert_others_talk()


async def test_a_defect_while_writing_from_the_dispatcher(
    address: ServerAddress, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(address, side) as world:
        near, far = world.near, world.far
        await assert_talking(near, far)  # now nothing that was received waits for an answer
        with broken(monkeypatch, FrameWriter, "block"):
            posted = near.post(OpCode.SIGNAL, body=b"1")
            events = await near.events_until_closed()
        assert events == [
            from_engine(OpCode.SIGNAL, CLOSED, near.number, posted.message_id, body=b"1"),
            near.closed(FAILED),
        ]
        assert await far.events_until_closed() == [far.closed(abort_reason(address))]
        await world.assert_others_talk()


async def test_a_defect_while_writing_from_post(
    address: ServerAddress, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(address, side) as world:
        near, far = world.near, world.far
        await assert_talking(far, near)  # the next thing posted is the answer, and sent at once
        with broken(monkeypatch, FrameWriter, "block"):
            posted = near.post(OpCode.SIGNAL, body=b"1")
        assert await near.events_until_closed() == [
            from_engine(OpCode.SIGNAL, CLOSED, near.number, posted.message_id, body=b"1"),
            near.closed(FAILED),
        ]
        assert await far.events_until_closed() == [far.closed(abort_reason(address))]
        await world.assert_others_talk()


async def test_a_defect_while_writing_to_a_socket_that_was_full(
    address: ServerAddress, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_raw_pair(side, address) as pair:
        full = await clog(pair)
        with broken(monkeypatch, FrameWriter, "wrote"):
            await pair.peer.ending()
            events = await pair.end.events_until_closed()
        assert events[-1] == pair.end.closed(FAILED)
        assert events[0].status is CLOSED
        assert 1 < len(events) <= len(full.unsent(CLOSED)) + 1
        pair.app.chnls.update_receiver(Holder())
        assert (await pair.app.event()).status is AmpeStatus.RECEIVER_UPDATE


@pytest.mark.parametrize("part", ["close_socket", "unsent"])
async def test_a_defect_while_closing(
    address: ServerAddress, side: Side, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async with open_world(address, side) as world:
        near, far = world.near, world.far
        with broken(monkeypatch, IoChannel, part, lambda channel: channel.number == near.number):
            near.post(OpCode.BYE_SIGNAL, 5)
            events = await near.events_until_closed()
        assert events == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, near.number, 5),
            near.closed(CLOSED),
        ]
        assert await far.events_until_closed() == [far.closed(abort_reason(address))]
        await world.assert_others_talk()


async def test_a_defect_while_connecting(
    address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(address: object) -> None:
        raise DefectError

    async with open_app() as app:
        listener = await app.listen(address)
        with monkeypatch.context() as patch:
            patch.setattr(transport, "connect", connect)
            end = app.connect(listener.client_address, 7)
            assert await end.events_until_closed() == [
                from_engine(
                    OpCode.HELLO_REQUEST,
                    CLOSED,
                    end.number,
                    7,
                    headers=address_headers(listener.client_address),
                ),
                closed(end.number, 7, FAILED),
            ]
        app.connect(listener.client_address, 8)
        assert (await app.event()).message_id == 8


# ---------------------------------------------------------------------- listeners


async def test_a_defect_while_accepting(
    address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_pair(address) as pair:
        listener, client = pair.listener, pair.client.app
        with monkeypatch.context() as patch:

            def accept_all(sock: object) -> None:
                raise DefectError

            patch.setattr(transport, "accept_all", accept_all)
            end = client.connect(listener.client_address)
            assert await listener.events_until_closed() == [listener.closed(FAILED)]
        await end.events_until_closed()
        await assert_talking(pair.client, pair.server)
        await assert_talking(pair.server, pair.client)


async def test_a_defect_while_binding(
    address: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listen(address: object, *, reuse_port: bool) -> None:
        raise DefectError

    async with open_app() as app:
        with monkeypatch.context() as patch:
            patch.setattr(transport, "listen", listen)
            header = app.post(OpCode.WELCOME_REQUEST, 0, 7, headers=address_headers(address))
            number = header.channel_number
            assert await app.events_until_closed(number) == [
                from_engine(
                    OpCode.WELCOME_RESPONSE, CLOSED, number, 7, headers=address_headers(address)
                ),
                closed(number, 7, FAILED),
            ]
        await app.listen(address)
