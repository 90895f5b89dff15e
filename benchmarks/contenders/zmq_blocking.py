"""pyzmq with blocking calls.

Asynchronous request and reply are DEALER's, which ZeroMQ's guide recommends for several requests
under way; with many clients the server is a ROUTER. libzmq sets TCP_NODELAY itself.
"""

from collections import deque
from collections.abc import Set
from contextlib import suppress
from typing import Final

import zmq

from benchmarks.alarm import Alarm
from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, pack, unpack
from benchmarks.open_loop import OpenLoop
from benchmarks.runs import Echoes, Figures, OneWay, Tally, echo_figures
from benchmarks.work import Subject, Task


class _ZmqBlocking:
    subjects: Set[Subject] = MESSAGES | {Subject.FAN_IN, Subject.RATE}

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        fan_in = task.work.subject is Subject.FAN_IN
        context = zmq.Context()
        context.max_sockets = 2000
        sock = context.socket(zmq.ROUTER if fan_in else zmq.DEALER)
        sock.bind("tcp://127.0.0.1:*")
        ready(sock.getsockopt_string(zmq.LAST_ENDPOINT))
        if task.work.subject is Subject.ONE_WAY:
            _count(sock, Tally(task))
        elif fan_in:
            while True:
                sock.send_multipart(sock.recv_multipart())
        else:
            while True:
                sock.send(sock.recv())

    def run(self, task: Task, address: str) -> Figures:
        context = zmq.Context()
        context.max_sockets = 2000
        socks = [context.socket(zmq.DEALER) for _ in range(task.work.channels)]
        for sock in socks:
            sock.connect(address)
        match task.work.subject:
            case Subject.ONE_WAY:
                figures = _send(socks[0], OneWay(task))
            case Subject.FAN_IN:
                figures = _fan_in(socks, task)
            case Subject.RATE:
                figures = _pace(socks[0], task)
            case _:
                run = Echoes(task)
                _ask(socks[0], run, task.work.outstanding)
                figures = echo_figures([run])
        context.destroy(linger=0)
        return figures


def _count(sock: zmq.Socket[bytes], tally: Tally) -> None:
    while True:
        message_id, body = unpack(sock.recv())
        if message_id == ASK:
            sock.send(tally.answer())
        else:
            tally.arrived(message_id, body)


def _ask(sock: zmq.Socket[bytes], run: Echoes, outstanding: int) -> None:
    for _ in range(outstanding):
        sock.send(pack(run.next_id(), run.body))
    while run.outstanding:
        run.answered(*unpack(sock.recv()))
        if run.running:
            sock.send(pack(run.next_id(), run.body))


def _pace(sock: zmq.Socket[bytes], task: Task) -> Figures:
    saturation = Echoes(task.saturation)
    _ask(sock, saturation, task.work.outstanding)
    run = OpenLoop(task, saturation.per_second)
    due: deque[bytes] = deque()
    poller = zmq.Poller()
    with Alarm() as alarm:
        poller.register(alarm.fileno(), zmq.POLLIN)
        while not run.finished:
            due.extend(pack(message_id, run.body) for message_id in run.due())
            _send_now(sock, due)
            if not _hear_now(sock, run):
                # Whoever waited for room while the server waits to be read would wait for ever.
                poller.register(sock, zmq.POLLIN | (zmq.POLLOUT if due else 0))
                alarm.set(run.next_due if run.unsent else None)
                poller.poll()
    return run.figures()


def _send_now(sock: zmq.Socket[bytes], due: deque[bytes]) -> None:
    """What there is room for."""
    with suppress(zmq.Again):
        while due:
            sock.send(due[0], zmq.NOBLOCK)
            due.popleft()


def _hear_now(sock: zmq.Socket[bytes], run: OpenLoop) -> bool:
    """What has arrived; whether there was anything."""
    heard = False
    with suppress(zmq.Again):
        while True:
            run.answered(*unpack(sock.recv(zmq.NOBLOCK)))
            heard = True
    return heard


def _fan_in(socks: list[zmq.Socket[bytes]], task: Task) -> Figures:
    runs = {sock: Echoes(task, channel) for channel, sock in enumerate(socks)}
    poller = zmq.Poller()
    for sock, run in runs.items():
        poller.register(sock, zmq.POLLIN)
        sock.send(pack(run.next_id(), run.body))
    waiting = len(runs)
    while waiting:
        for sock, _ in poller.poll():
            run = runs[sock]
            run.answered(*unpack(sock.recv()))
            if run.running:
                sock.send(pack(run.next_id(), run.body))
            else:
                waiting -= 1
    return echo_figures(list(runs.values()))


def _send(sock: zmq.Socket[bytes], run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            sock.send(pack(message_id, run.body))
        sock.send(pack(ASK, b""))
        run.counted(sock.recv())
    return run.figures()


CONTENDER: Final = _ZmqBlocking()
