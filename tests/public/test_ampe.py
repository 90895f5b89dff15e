"""`open_ampe` and `Ampe`: the engine as applications see it (PROTOCOL 2 and 6)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from pytofu import (
    AllocationStrategy,
    Ampe,
    AmpeStatistics,
    AmpeStatus,
    ChannelGroup,
    Holder,
    Message,
    MessageReleasedError,
    NullMessageException,
    OpCode,
    Options,
    ShutdownException,
    TCPServerAddress,
    open_ampe,
)
from pytofu.engine.group import Group
from tests.resources import nothing_left as nothing_left
from tests.support import (
    FIN,
    PATIENCE,
    App,
    End,
    RawListener,
    RawPeer,
    ServerAddress,
    address_headers,
    connect_apps,
    frame,
    from_app,
    open_app,
    open_pair,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
POOL_ONLY: Final = AllocationStrategy.POOL_ONLY
RESET_BY_PEER: Final = AmpeStatus.COMMUNICATION_FAILED


class OwnError(BaseException):
    """Neither an `Exception` nor one of Python's own."""


BODY_ERRORS: Final = [
    ValueError("v"),
    ExceptionGroup("the user's own", [ValueError("v"), KeyError("k")]),
    BaseExceptionGroup("the user's own", [KeyboardInterrupt(), ValueError("v")]),
    KeyboardInterrupt(),
    SystemExit(3),
    OwnError(),
    StopIteration(),
    StopAsyncIteration(),
    GeneratorExit(),
    ShutdownException.from_error(AmpeStatus.SHUTDOWN_STARTED.to_error()),  # type: ignore[arg-type]
]


def name_of(error: BaseException) -> str:
    return type(error).__name__


@asynccontextmanager
async def connected(ampe: Ampe, chnls: ChannelGroup) -> AsyncIterator[RawPeer]:
    """A raw peer to which this group is connected."""
    with RawListener(LOCALHOST) as listener:
        App(ampe, chnls).connect(listener.client_address, 1)
        with await listener.accept() as peer:
            await peer.receive_frame()
            yield peer


async def connect(ampe: Ampe) -> RawPeer:
    """A raw peer to which a new group is connected."""
    with RawListener(LOCALHOST) as listener:
        App(ampe, ampe.create()).connect(listener.client_address, 1)
        peer = await listener.accept()
        await peer.receive_frame()
        return peer


async def leave(action: Callable[[], Awaitable[object]], peer: RawPeer) -> str:
    """Do what closes the connection, while the peer closes in turn; how it ended for the peer."""
    endings: list[str] = []

    async def watch() -> None:
        endings.append((await peer.ending())[1])
        peer.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await action()
    return endings[0]


async def assert_reset(peer: RawPeer) -> None:
    """The connection was reset, whether or not a FIN had gone before."""
    _, how = await peer.ending()
    if how == FIN:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await peer.send(b"x")


# ---------------------------------------------------------------------- messages


@pytest.mark.parametrize("outsiders_first", [False, True])
async def test_messages_come_from_the_pool_and_go_back(outsiders_first: bool) -> None:
    async with open_ampe(Options(initial_pool_msgs=2, max_pool_msgs=3)) as ampe:
        holders = [Holder(ampe.get()), Holder(ampe.get(POOL_ONLY))]
        assert ampe.statistics().pool_free == 0
        assert ampe.get(POOL_ONLY) is None
        holders += [Holder(ampe.get()), Holder(ampe.get(AllocationStrategy.ALWAYS))]
        if outsiders_first:
            holders.reverse()
        for holder, free in zip(holders, (1, 2, 3, 3), strict=True):
            message = holder.value
            assert message is not None
            ampe.put(holder)
            assert holder.is_empty()
            assert ampe.statistics().pool_free == free
            with pytest.raises(MessageReleasedError):
                _ = message.opcode


async def test_an_empty_holder_can_be_put() -> None:
    async with open_ampe() as ampe:
        ampe.put(Holder())
        assert ampe.statistics().pool_free == Options().initial_pool_msgs


async def test_a_message_with_two_owners_cannot_be_put_twice() -> None:
    async with open_ampe() as ampe:
        message = ampe.get()
        ampe.put(Holder(message))
        second = Holder(message)
        with pytest.raises(MessageReleasedError):
            ampe.put(second)
        assert second.is_empty()
        assert ampe.statistics().pool_free == Options().initial_pool_msgs


# ---------------------------------------------------------------------- statistics


async def test_statistics_of_an_idle_engine() -> None:
    async with open_ampe(Options(initial_pool_msgs=5, max_pool_msgs=3)) as ampe:
        assert ampe.statistics() == AmpeStatistics(
            groups=0,
            channels=0,
            pool_free=5,
            pool_max=5,
            pool_spells=0,
            messages_sent=0,
            messages_received=0,
            bytes_sent=0,
            bytes_received=0,
            bytes_held=0,
            bytes_queued=0,
            limits_reached={},
        )
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            ampe.statistics().groups = 1  # type: ignore[misc]


async def test_statistics_count_all_groups_and_those_that_are_gone() -> None:
    async with open_ampe() as ampe, open_app() as server:
        listener = await server.listen(LOCALHOST)
        for count in (1, 2):
            async with ampe.open_channel_group() as chnls, ampe.open_channel_group():
                client, far = await connect_apps(App(ampe, chnls), listener)
                assert ampe.statistics().groups == 2
                assert ampe.statistics().channels == 1
                client.post(OpCode.SIGNAL, body=b"12345")
                await far.app.event()
                statistics = ampe.statistics()
                assert statistics.messages_sent == 2 * count
                assert statistics.messages_received == count
                assert statistics.bytes_received == 16 * count
                opener = len(frame(3, text=b"~connect_to:tcp|127.0.0.1|\r\n"))
                assert statistics.bytes_sent > (opener + 16 + 5) * count
            await far.events_until_closed()
            assert ampe.statistics() == attrs.evolve(statistics, groups=0, channels=0)
        assert server.ampe.statistics().messages_received == 4


# ---------------------------------------------------------------------- groups


async def test_groups_by_hand(address: ServerAddress) -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        app = App(ampe, chnls)
        await app.listen(address)
        assert ampe.statistics().channels == 1
        with assert_checkpoints():
            await ampe.destroy(chnls)
        assert ampe.statistics().groups == ampe.statistics().channels == 0
        with pytest.raises(ShutdownException):
            chnls.receive_nowait()
        await App(ampe, ampe.create()).listen(address)  # which leaving the engine closes


async def test_destroying_twice_is_harmless_and_a_checkpoint() -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        for _ in range(2):
            with assert_checkpoints():
                await ampe.destroy(chnls)


async def test_a_second_destroy_waits_for_the_first() -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        finished: list[int] = []

        async def destroy(number: int) -> None:
            await ampe.destroy(chnls)
            finished.append(number)

        async with connected(ampe, chnls) as peer, trio.open_nursery() as nursery:
            for number in (1, 2):
                nursery.start_soon(destroy, number)
            assert await peer.ending() == (b"", FIN)
            await wait_all_tasks_blocked(0.01)
            assert finished == []
            peer.close()
        assert sorted(finished) == [1, 2]


async def test_destroying_closes_in_good_order() -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        async with connected(ampe, chnls) as peer:
            assert await leave(lambda: ampe.destroy(chnls), peer) == FIN


async def test_destroying_takes_no_longer_than_the_close_timeout() -> None:
    async with open_ampe(Options(close_timeout=0.05)) as ampe:
        chnls = ampe.create()
        async with connected(ampe, chnls) as peer:
            with trio.fail_after(1):
                await ampe.destroy(chnls)
            assert await peer.ending() == (b"", FIN)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_cancelling_destroy_resets_the_rest(when: str) -> None:
    async with open_ampe(Options(close_timeout=60)) as ampe:
        chnls = ampe.create()
        async with connected(ampe, chnls) as peer:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ampe.destroy, chnls)
                    if when == "meanwhile":
                        await wait_all_tasks_blocked(0.01)
                    scope.cancel()
            assert scope.cancelled_caught
            assert ampe.statistics().groups == 0
            await assert_reset(peer)


async def test_leaving_a_group_normally_closes_in_good_order() -> None:
    async with open_ampe() as ampe:
        manager = ampe.open_channel_group()
        chnls = await manager.__aenter__()
        async with connected(ampe, chnls) as peer:
            assert await leave(lambda: manager.__aexit__(None, None, None), peer) == FIN


@pytest.mark.parametrize("error", BODY_ERRORS, ids=name_of)
async def test_leaving_a_group_by_an_exception_resets_and_the_exception_stays_bare(
    error: BaseException,
) -> None:
    async with open_ampe() as ampe, open_app() as other:
        listener = await other.listen(LOCALHOST)
        far: list[End] = []
        left: BaseException | None = None
        try:
            async with ampe.open_channel_group() as chnls:
                far.append((await connect_apps(App(ampe, chnls), listener))[1])
                raise error
        except BaseException as caught:
            left = caught
        assert left is error
        assert ampe.statistics().groups == 0
        assert await far[0].events_until_closed() == [far[0].closed(RESET_BY_PEER)]


async def test_cancelling_a_group_resets() -> None:
    async with open_ampe() as ampe, open_app() as other:
        listener = await other.listen(LOCALHOST)
        with trio.CancelScope() as scope:
            async with ampe.open_channel_group() as chnls:
                _, far = await connect_apps(App(ampe, chnls), listener)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert await far.events_until_closed() == [far.closed(RESET_BY_PEER)]


async def test_a_group_may_be_destroyed_within_its_block() -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        await ampe.destroy(chnls)


# ---------------------------------------------------------------------- leaving the engine


async def test_leaving_normally_closes_in_good_order() -> None:
    endings: list[str] = []

    async def watch(peer: RawPeer) -> None:
        with peer:
            endings.append((await peer.ending())[1])

    async with trio.open_nursery() as nursery, open_ampe() as ampe:
        nursery.start_soon(watch, await connect(ampe))
    assert endings == [FIN]


@pytest.mark.parametrize("with_group", [False, True])
@pytest.mark.parametrize("error", BODY_ERRORS, ids=name_of)
async def test_the_bodys_own_exception_leaves_bare_and_resets(
    error: BaseException, with_group: bool
) -> None:
    async with open_app() as other:
        listener = await other.listen(LOCALHOST)
        far: list[End] = []
        left: BaseException | None = None
        try:
            async with open_ampe() as ampe:
                if with_group:
                    async with ampe.open_channel_group() as chnls:
                        far.append((await connect_apps(App(ampe, chnls), listener))[1])
                        raise error
                far.append((await connect_apps(App(ampe, ampe.create()), listener))[1])
                raise error
        except BaseException as caught:
            left = caught
        assert left is error
        assert left.__cause__ is None
        assert await far[0].events_until_closed() == [far[0].closed(RESET_BY_PEER)]


async def test_cancellation_by_an_outer_scope_leaves_as_itself() -> None:
    async with open_app() as other:
        listener = await other.listen(LOCALHOST)
        with trio.CancelScope() as scope:
            async with open_ampe() as ampe:
                _, far = await connect_apps(App(ampe, ampe.create()), listener)
                scope.cancel()
                with pytest.raises(trio.Cancelled):
                    await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert await far.events_until_closed() == [far.closed(RESET_BY_PEER)]


async def test_an_exception_in_a_cancelled_body_leaves_bare() -> None:
    async def body() -> None:
        async with open_ampe():
            scope.cancel()
            raise KeyError

    with trio.CancelScope() as scope, pytest.raises(KeyError):
        await body()
    assert not scope.cancelled_caught


async def test_an_exception_beside_a_cancellation_leaves_in_the_bodys_own_group() -> None:
    async def fail() -> None:
        raise KeyError

    with pytest.RaisesGroup(KeyError), trio.CancelScope() as scope:
        async with open_ampe() as ampe, ampe.open_channel_group(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            scope.cancel()
            await trio.sleep_forever()


async def test_a_cancelled_body_can_still_say_good_bye() -> None:
    """The engine lives until the block has been left."""
    async with open_app() as other:
        listener = await other.listen(LOCALHOST)

        async def server(number: int) -> None:
            assert (await other.event()).opcode is OpCode.BYE_REQUEST
            other.post(OpCode.BYE_RESPONSE, number, 5)

        with trio.CancelScope() as scope:
            async with open_ampe() as ampe, trio.open_nursery() as nursery:
                client, far = await connect_apps(App(ampe, ampe.create()), listener)
                nursery.start_soon(server, far.number)
                await wait_all_tasks_blocked()
                try:
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                finally:
                    with trio.CancelScope(shield=True):
                        client.post(OpCode.BYE_REQUEST, 5)
                        far.post(OpCode.BYE_RESPONSE, 5)
                        events = await client.events_until_closed()
        assert scope.cancelled_caught
        assert events[-1] == client.closed(AmpeStatus.SUCCESS)


@pytest.mark.parametrize("when", ["before leaving", "while leaving"])
async def test_cancelling_the_orderly_end_resets(when: str) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery, open_ampe(Options(close_timeout=60)) as ampe:
            peer = await connect(ampe)
            if when == "before leaving":
                scope.cancel()
            else:

                async def cancel() -> None:
                    assert await peer.ending() == (b"", FIN)
                    scope.cancel()

                nursery.start_soon(cancel)
    assert scope.cancelled_caught
    with peer:
        await assert_reset(peer)


async def test_the_end_takes_no_longer_than_the_close_timeout() -> None:
    with trio.fail_after(1):
        async with open_ampe(Options(close_timeout=0.05)) as ampe:
            peer = await connect(ampe)
    with peer:
        assert await peer.ending() == (b"", FIN)


# ---------------------------------------------------------------------- checkpoints


async def test_entering_and_leaving_are_checkpoints() -> None:
    manager = open_ampe()
    with assert_checkpoints():
        await manager.__aenter__()
    with assert_checkpoints():
        await manager.__aexit__(None, None, None)


async def test_entering_is_a_point_of_cancellation() -> None:
    entered = False
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_ampe():
            entered = True
    assert scope.cancelled_caught
    assert not entered


# ---------------------------------------------------------------------- defects of the engine


class DefectError(RuntimeError):
    """What a broken engine raises."""


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """When this is set, the task of every group fails."""
    defect = trio.Event()

    async def keep_going(self: Group) -> None:
        await defect.wait()
        raise DefectError

    monkeypatch.setattr(Group, "_keep_going", keep_going)
    return defect


async def test_a_defect_of_the_engine_cancels_the_body(defect: trio.Event) -> None:
    with pytest.RaisesGroup(DefectError, flatten_subgroups=True):
        async with open_ampe() as ampe:
            ampe.create()
            defect.set()
            await trio.sleep_forever()


async def test_a_defect_of_the_engine_comes_out_at_the_end_of_the_body(
    defect: trio.Event,
) -> None:
    with pytest.RaisesGroup(DefectError, flatten_subgroups=True):
        async with open_ampe() as ampe:
            ampe.create()
            defect.set()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()


async def test_a_defect_of_the_engine_and_the_bodys_exception_come_in_one_group(
    defect: trio.Event,
) -> None:
    with pytest.RaisesGroup(DefectError, ValueError, flatten_subgroups=True):
        async with open_ampe() as ampe:
            chnls = ampe.create()
            defect.set()
            with trio.CancelScope(shield=True), pytest.raises(ShutdownException):
                await chnls.wait_receive()
            with pytest.raises(ShutdownException):
                chnls.update_receiver(Holder())
            raise ValueError


async def test_a_defect_while_the_engine_closes_comes_out(defect: trio.Event) -> None:
    with pytest.RaisesGroup(DefectError, flatten_subgroups=True):
        async with open_ampe() as ampe:
            ampe.create()
            defect.set()


async def test_a_defect_of_an_inner_engine_is_not_the_outer_ones(defect: trio.Event) -> None:
    async with open_ampe() as outer:
        with pytest.RaisesGroup(DefectError, flatten_subgroups=True):
            async with open_ampe() as inner:
                inner.create()
                defect.set()
                await trio.sleep_forever()
        assert outer.statistics().groups == 0
        assert outer.get(POOL_ONLY) is not None


# ---------------------------------------------------------------------- several engines


async def test_engines_can_be_nested(address: ServerAddress) -> None:
    async with open_app() as outer, open_app() as inner:
        listener = await outer.listen(address)
        client, server = await connect_apps(inner, listener)
        client.post(OpCode.REQUEST, 5)
        assert await outer.event() == from_app(OpCode.REQUEST, server.number, 5)


async def test_an_exception_goes_bare_through_nested_engines() -> None:
    error = KeyError()
    with pytest.raises(KeyError) as caught:
        async with open_app(), open_app(), open_app():
            raise error
    assert caught.value is error


async def test_an_inner_engine_that_is_left_does_not_end_the_outer_one(
    address: ServerAddress,
) -> None:
    async with open_app() as outer:
        listener = await outer.listen(address)
        far: list[End] = []

        async def body() -> None:
            async with open_app() as inner:
                far.append((await connect_apps(inner, listener))[1])
                raise KeyError

        with pytest.raises(KeyError):
            await body()
        await far[0].events_until_closed()
        await outer.listen(TCPServerAddress("127.0.0.1", 0))


# ---------------------------------------------------------------------- after the end


@pytest.mark.parametrize("how", ["normally", "by an exception", "in the middle of closing"])
async def test_what_still_works_after_shutdown(how: str, address: ServerAddress) -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        app = App(ampe, chnls)
        listener = await app.listen(address)
        ours = app.message(OpCode.SIGNAL, listener.number)
        opener = app.message(OpCode.WELCOME_REQUEST, headers=address_headers(listener.address))
        if how == "by an exception":
            ampe._engine.close(abort=True)
        elif how == "in the middle of closing":
            ampe._engine.close(abort=False)
        else:
            await ampe.destroy(chnls)
            ampe._engine.close(abort=False)
        for holder in (ours, opener):
            with pytest.raises(ShutdownException):
                chnls.post(holder)
            with pytest.raises(ShutdownException):
                await chnls.send(holder)
            with pytest.raises(ShutdownException):
                chnls.update_receiver(holder)
            assert not holder.is_empty()
        for call in (ampe.get, ampe.create, chnls.receive_nowait):
            with pytest.raises(ShutdownException):
                call()
        with pytest.raises(ShutdownException):
            ampe.get(POOL_ONLY)
        with pytest.raises(ShutdownException):
            chnls.update_receiver(Holder())
        for timeout_ns in (None, 0, 10**9):
            with trio.fail_after(PATIENCE), pytest.raises(ShutdownException):
                await chnls.wait_receive(timeout_ns=timeout_ns)
        with pytest.raises(ShutdownException):
            async with ampe.open_channel_group():
                pass
        with pytest.raises(NullMessageException):
            chnls.post(Holder())
        assert [holder async for holder in chnls] == []
        for holder in (ours, opener):
            ampe.put(holder)
            assert holder.is_empty()
        await ampe.destroy(chnls)
    message = Holder(Message())
    ampe.put(message)
    assert message.is_empty()
    assert ampe.statistics().channels == ampe.statistics().groups == 0
    with pytest.raises(ShutdownException):
        ampe.get()


# ---------------------------------------------------------------------- threads


async def test_everything_works_from_other_threads(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        near, far = pair.client, pair.server
        chnls, ampe = near.app.chnls, near.app.ampe

        def work() -> None:
            holder = Holder(trio.from_thread.run_sync(ampe.get))
            message = holder.unwrap()
            message.opcode = OpCode.SIGNAL
            message.channel_number = near.number
            message.message_id = 5
            trio.from_thread.run_sync(chnls.post, holder)
            assert holder.is_empty()
            trio.from_thread.run_sync(chnls.update_receiver, Holder[Message]())
            unused = Holder(trio.from_thread.run_sync(ampe.get, POOL_ONLY))
            trio.from_thread.run_sync(ampe.put, unused)
            other = Holder(trio.from_thread.run_sync(ampe.get))
            other.unwrap().channel_number = near.number
            trio.from_thread.run(chnls.send, other)
            received = Holder(trio.from_thread.run(chnls.wait_receive))
            assert received.unwrap().status is AmpeStatus.RECEIVER_UPDATE
            trio.from_thread.run_sync(ampe.put, received)
            with pytest.raises(NullMessageException):
                trio.from_thread.run_sync(chnls.post, Holder[Message]())

        await trio.to_thread.run_sync(work)
        assert (await far.app.event()).message_id == 5
        assert (await far.app.event()).opcode is OpCode.REQUEST
        free = ampe.statistics().pool_free
        assert free == Options().initial_pool_msgs
