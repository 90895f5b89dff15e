"""Blocking sockets and a little framing: what Python and the kernel cost at the least."""

import socket
from collections.abc import Callable, Set
from queue import SimpleQueue
from threading import Thread
from typing import Final

from benchmarks.contenders import MESSAGES, Ready
from benchmarks.frames import ASK, Cutter, frame
from benchmarks.runs import Echoes, Figures, OneWay, Tally, WrongAnswer, echo_figures
from benchmarks.work import Subject, Task

type _Send = Callable[[bytes], None]

_RECEIVE: Final = 64 * 1024


class _RawSockets:
    subjects: Set[Subject] = MESSAGES

    def missing(self) -> str | None:
        return None

    def serve(self, task: Task, ready: Ready) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ready(str(listener.getsockname()[1]))
            sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            if task.work.subject is Subject.ONE_WAY:
                _count(sock, Tally(task))
            else:
                _echo(sock)

    def run(self, task: Task, address: str) -> Figures:
        with socket.create_connection(("127.0.0.1", int(address))) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if task.work.subject is Subject.ONE_WAY:
                return _send(sock, OneWay(task))
            send = _in_a_thread(sock.sendall) if task.fills_buffers else sock.sendall
            return _ask(sock, Echoes(task), task.work.outstanding, send)


def _echo(sock: socket.socket) -> None:
    cutter = Cutter()
    while data := sock.recv(_RECEIVE):
        answers = [frame(message_id, body) for message_id, body in cutter.feed(data)]
        if answers:
            sock.sendall(b"".join(answers))


def _count(sock: socket.socket, tally: Tally) -> None:
    cutter = Cutter()
    while data := sock.recv(_RECEIVE):
        for message_id, body in cutter.feed(data):
            if message_id == ASK:
                sock.sendall(frame(ASK, tally.answer()))
            else:
                tally.arrived(message_id, body)


def _ask(sock: socket.socket, run: Echoes, outstanding: int, send: _Send) -> Figures:
    cutter = Cutter()
    send(b"".join(frame(run.next_id(), run.body) for _ in range(outstanding)))
    while run.outstanding:
        data = sock.recv(_RECEIVE)
        if not data:
            raise WrongAnswer("the server has closed the connection")
        requests = []
        for message_id, body in cutter.feed(data):
            run.answered(message_id, body)
            if run.running:
                requests.append(frame(run.next_id(), run.body))
        if requests:
            send(b"".join(requests))
    return echo_figures([run])


def _in_a_thread(send: _Send) -> _Send:
    """A function that has another thread send, so that this one can go on reading."""
    queue: SimpleQueue[bytes] = SimpleQueue()

    def work() -> None:
        while True:
            send(queue.get())

    Thread(target=work, daemon=True).start()
    return queue.put


def _send(sock: socket.socket, run: OneWay) -> Figures:
    for ids in run.stretches():
        for message_id in ids:
            sock.sendall(frame(message_id, run.body))
        sock.sendall(frame(ASK, b""))
        cutter, answers = Cutter(), list[tuple[int, bytes]]()
        while not answers:
            answers += cutter.feed(sock.recv(_RECEIVE))
        run.counted(answers[0][1])
    return run.figures()


CONTENDER: Final = _RawSockets()
