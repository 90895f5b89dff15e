"""How commands end: failures with a reason, and Ctrl-C."""

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from pytofu import AmpeStatus


class CommandError(Exception):
    """The command failed; the text, one line, says why."""


@contextmanager
def naming(name: str) -> Generator[None]:
    """Say in an OSError what it is about, where the system does not."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


def reason_of(error: OSError) -> str:
    """What the system says, and about which file."""
    why = error.strerror or str(error)
    return why if error.filename is None else f"{os.fsdecode(error.filename)}: {why}"


class InterruptedBySignalError(Exception):
    """A signal ended a command before it was done."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code: int = 128 + number


_ENDING: Final = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
"""Signals that end a command in good order."""


class Interruption:
    """Whether, and by which signal, an `until_interrupted` block was ended."""

    signal: int | None = None


@asynccontextmanager
async def until_interrupted() -> AsyncGenerator[Interruption]:
    """A block that a signal cancels; what comes behind it goes on, to end in good order.

    Ctrl-C, SIGTERM and the end of the terminal do, unless whoever started this process has it
    ignore them: a shell does so for what runs in the background, and so does nohup. A second
    Ctrl-C then raises KeyboardInterrupt as usual. Exceptions of the block leave it in an exception
    group.
    """
    interruption = Interruption()
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    if not heeded:
        yield interruption
        return

    async def watch() -> None:
        async for number in signals:
            interruption.signal = number
            nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(*heeded) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            yield interruption
            nursery.cancel_scope.cancel()


async def unless_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Do work for which Ctrl-C means failure: raises `InterruptedBySignalError`."""
    async with until_interrupted() as interruption:
        await work()
    if interruption.signal is not None:
        raise InterruptedBySignalError(interruption.signal)


_IN_WORDS = {
    AmpeStatus.CONNECT_FAILED: "nobody answers there",
    AmpeStatus.INVALID_ADDRESS: "there is no such host",
    AmpeStatus.LISTEN_FAILED: "the address is in use, or may not be used",
    AmpeStatus.SUCCESS: "the peer said bye",
    AmpeStatus.UDS_PATH_NOT_FOUND: "there is no such socket file",
    AmpeStatus.CHANNEL_CLOSED: "closed by this side",
    AmpeStatus.COMMUNICATION_FAILED: "the connection broke",
}


def in_words(status: AmpeStatus, detail: str = "") -> str:
    """A status for people; of TLS the `~detail` says it better."""
    if detail.startswith("TLS: "):
        return detail
    return _IN_WORDS.get(status) or status.name.lower().replace("_", " ")
