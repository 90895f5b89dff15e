"""pytofu, over TCP, TLS and a Unix socket: default options, written as its documentation says.

Both sides drain what has arrived with `receive_nowait` before they wait again. The server answers
a request in place: it changes the opcode and posts the very message.
"""

import os
import tempfile
from collections.abc import Set
from typing import Final

import trio

from benchmarks.alarm import TrioAlarm
from benchmarks.certificates import HOST, client_context, server_context
from benchmarks.contenders import ALL_OTHERS, MESSAGES, ONLY_TLS, Ready
from benchmarks.memory import ALREADY_OPEN, IdleMemory
from benchmarks.open_loop import OpenLoop, send_when_due
from benchmarks.runs import Echoes, Figures, OneWay, Tally, WrongAnswer, echo_figures
from benchmarks.work import Subject, Task
from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    Options,
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)

type _ServerAddress = TCPServerAddress | TLSServerAddress | UDSServerAddress
type _ClientAddress = TCPClientAddress | TLSClientAddress | UDSClientAddress


class _OverTCP:
    # Calls are the bare exchange: the measure of what `pytofu-peers` puts on top. And what is to be
    # compared with TLS is the same without it.
    subjects: Set[Subject] = MESSAGES | ALL_OTHERS | {Subject.CALL, Subject.TLS}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        trio.run(_serve, task, TCPServerAddress(HOST, 0), ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, TCPClientAddress(HOST, int(address)))


class _OverTLS:
    subjects: Set[Subject] = ONLY_TLS

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        options = Options(tls_server=server_context(task))
        trio.run(_serve, task, TLSServerAddress(HOST, 0), ready, options)

    def run(self, task: Task, address: str) -> Figures:
        options = Options(tls_client=client_context(task))
        return trio.run(_run, task, TLSClientAddress(HOST, int(address)), options)


class _OverUDS:
    subjects: Set[Subject] = MESSAGES | ALL_OTHERS | {Subject.CALL}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(_serve, task, UDSServerAddress(os.path.join(folder, "socket")), ready)

    def run(self, task: Task, address: str) -> Figures:
        return trio.run(_run, task, UDSClientAddress(address))


# ---------------------------------------------------------------------- the server


async def _serve(
    task: Task, address: _ServerAddress, ready: Ready, options: Options | None = None
) -> None:
    async with open_ampe(options) as ampe, ampe.open_channel_group() as chnls:
        ready(await _listen(ampe, chnls, address))
        await _answer(ampe, chnls, Tally(task) if task.work.subject is Subject.ONE_WAY else None)


async def _listen(ampe: Ampe, chnls: ChannelGroup, address: _ServerAddress) -> str:
    with borrowed_message(ampe) as holder:
        address.format(holder.value)
        chnls.post(holder)
        holder.set(await chnls.wait_receive())
        assert holder.value is not None
        assert holder.value.status is AmpeStatus.SUCCESS, holder.value
        match parse_address(holder.value):
            case TCPServerAddress(_, port) | TLSServerAddress(_, port):
                return str(port)
            case UDSServerAddress(path):
                return path
            case _:
                raise AssertionError


async def _answer(ampe: Ampe, chnls: ChannelGroup, tally: Tally | None) -> None:
    """Requests are echoed; where signals are counted, a request asks how many there were."""
    holder: Holder[Message] = Holder()
    while True:
        message: Message | None = await chnls.wait_receive()
        while message is not None:
            holder.set(message)
            match message.opcode:
                case OpCode.REQUEST:
                    message.opcode = OpCode.RESPONSE
                    if tally is not None:
                        message.set_payload(tally.answer())
                    chnls.post(holder)
                case OpCode.SIGNAL if tally is not None and message.is_from_application():
                    tally.arrived(message.message_id, message.payload)
                case OpCode.HELLO_REQUEST:
                    message.opcode = OpCode.HELLO_RESPONSE
                    chnls.post(holder)
                case OpCode.BYE_REQUEST:
                    message.opcode = OpCode.BYE_RESPONSE
                    chnls.post(holder)
                case _:
                    pass  # the engine says that a channel has closed
            ampe.put(holder)
            message = chnls.receive_nowait()


# ---------------------------------------------------------------------- the client


async def _run(task: Task, address: _ClientAddress, options: Options | None = None) -> Figures:
    async with open_ampe(options) as ampe, ampe.open_channel_group() as chnls:
        match task.work.subject:
            case Subject.ONE_WAY:
                number = await _connect(ampe, chnls, address)
                return await _send(ampe, chnls, number, OneWay(task))
            case Subject.CONNECTIONS:
                return await _visit(ampe, chnls, address, Echoes(task))
            case Subject.IDLE:
                for _ in range(ALREADY_OPEN):
                    await _connect(ampe, chnls, address)
                memory = IdleMemory(task)
                for _ in range(task.work.channels):
                    await _connect(ampe, chnls, address)
                return memory.figures()
            case Subject.RATE:
                return await _pace(ampe, chnls, await _connect(ampe, chnls, address), task)
            case _:
                numbers = [await _connect(ampe, chnls, address) for _ in range(task.work.channels)]
                runs = {number: Echoes(task, number) for number in numbers}
                await _ask(ampe, chnls, runs, task.work.outstanding)
                return echo_figures(list(runs.values()))


async def _connect(
    ampe: Ampe,
    chnls: ChannelGroup,
    address: _ClientAddress,
    message_id: int = 0,
) -> int:
    with borrowed_message(ampe) as holder:
        address.format(holder.value)
        assert holder.value is not None
        holder.value.message_id = message_id
        number = chnls.post(holder).channel_number
    await _expect(ampe, chnls, OpCode.HELLO_RESPONSE)
    return number


async def _expect(ampe: Ampe, chnls: ChannelGroup, opcode: OpCode) -> tuple[int, bytes]:
    """The id and the body of the next message, which must have this opcode."""
    holder = Holder(await chnls.wait_receive())
    message = holder.value
    assert message is not None
    if message.opcode is not opcode:
        raise WrongAnswer(f"expected {opcode.name}, got {message}")
    answer = message.message_id, message.payload
    ampe.put(holder)
    return answer


async def _visit(
    ampe: Ampe,
    chnls: ChannelGroup,
    address: _ClientAddress,
    run: Echoes,
) -> Figures:
    while run.running:
        number = await _connect(ampe, chnls, address, run.next_id())
        with borrowed_message(ampe) as holder:
            message = holder.value
            assert message is not None
            message.opcode = OpCode.BYE_REQUEST
            message.channel_number = number
            chnls.post(holder)
        _, body = await _expect(ampe, chnls, OpCode.BYE_RESPONSE)
        closed_id, _ = await _expect(ampe, chnls, OpCode.SIGNAL)  # the channel has closed
        run.answered(closed_id, body)
    return echo_figures([run])


async def _ask(ampe: Ampe, chnls: ChannelGroup, runs: dict[int, Echoes], outstanding: int) -> None:
    """The message that brought an answer takes the next request along."""
    for number, run in runs.items():
        for _ in range(outstanding):
            with borrowed_message(ampe) as holder:
                holder.unwrap().channel_number = number
                _post_request(chnls, holder, run)
    waiting = len(runs)
    holder = Holder[Message]()
    while waiting:
        received: Message | None = await chnls.wait_receive()
        while received is not None:
            if received.opcode is not OpCode.RESPONSE:
                raise WrongAnswer(f"no Response: {received}")
            number = received.channel_number
            run = runs[number]
            run.answered(received.message_id, received.payload)
            holder.set(received)
            if run.running:
                _post_request(chnls, holder, run)
            else:
                ampe.put(holder)
                if not run.outstanding:
                    waiting -= 1
            received = chnls.receive_nowait()


def _post_request(chnls: ChannelGroup, holder: Holder[Message], run: Echoes) -> None:
    message = holder.unwrap()
    message.opcode = OpCode.REQUEST
    message.message_id = run.next_id()
    message.set_payload(run.body)
    chnls.post(holder)


async def _pace(ampe: Ampe, chnls: ChannelGroup, number: int, task: Task) -> Figures:
    saturation = Echoes(task.saturation)
    await _ask(ampe, chnls, {number: saturation}, task.work.outstanding)
    run = OpenLoop(task, saturation.per_second)

    async def send(ids: range) -> None:
        for message_id in ids:
            with borrowed_message(ampe) as holder:
                message = holder.unwrap()
                message.opcode = OpCode.REQUEST
                message.channel_number = number
                message.message_id = message_id
                message.set_payload(run.body)
                if message_id == ids[-1]:
                    await chnls.send(holder)  # waits while the peer is behind
                else:
                    chnls.post(holder)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_when_due, run, TrioAlarm(), send)
        await _hear(ampe, chnls, run)
    return run.figures()


async def _hear(ampe: Ampe, chnls: ChannelGroup, run: OpenLoop) -> None:
    """Answers, and word of a pool that ran dry: reading goes on once messages have come back."""
    holder = Holder[Message]()
    while not run.finished:
        received: Message | None = await chnls.wait_receive()
        while received is not None:
            if received.opcode is OpCode.RESPONSE:
                run.answered(received.message_id, received.payload)
            elif received.status is not AmpeStatus.POOL_EMPTY:
                raise WrongAnswer(f"no Response: {received}")
            holder.set(received)
            ampe.put(holder)
            received = chnls.receive_nowait()


async def _send(ampe: Ampe, chnls: ChannelGroup, number: int, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            with borrowed_message(ampe) as holder:
                message = holder.value
                assert message is not None
                message.opcode = OpCode.SIGNAL
                message.channel_number = number
                message.message_id = message_id
                message.set_payload(run.body)
                await chnls.send(holder)
        run.counted(await _ask_count(ampe, chnls, number))
    return run.figures()


async def _ask_count(ampe: Ampe, chnls: ChannelGroup, number: int) -> bytes:
    with borrowed_message(ampe) as holder:
        message = holder.value
        assert message is not None
        message.opcode = OpCode.REQUEST
        message.channel_number = number
        chnls.post(holder)
    _, body = await _expect(ampe, chnls, OpCode.RESPONSE)
    return body


TCP: Final = _OverTCP()
TLS: Final = _OverTLS()
UDS: Final = _OverUDS()
