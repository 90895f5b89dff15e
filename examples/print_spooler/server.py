"""The server of the print spooler: spools any number of jobs, prints one at a time.

python -m print_spooler.server PATH, the path being that of the Unix socket to listen on. It runs
until it is told to end by SIGTERM or Ctrl-C.
"""

import math
import signal
import sys
from dataclasses import dataclass, field

import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
)

from .job import END_OF_PAGE, REFUSED, SHEETS, TOTAL, JobTicket

MOST_COPIES = 10
SECONDS_PER_SHEET = 0.005


@dataclass
class Job:
    """A job that has been accepted."""

    ticket: JobTicket
    channel: int
    message_id: int
    document: bytearray = field(default_factory=bytearray)


class Spooler:
    """Receives jobs, and prints them one after the other."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._spooling: dict[tuple[int, int], Job] = {}  # by channel and message_id
        self._to_print, self._queue = trio.open_memory_channel[Job](math.inf)

    async def run(self, path: str) -> None:
        """Serve until the channel group is destroyed."""
        with borrowed_message(self._ampe) as holder:
            UDSServerAddress(path).format(holder.value)
            self._chnls.post(holder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._print_jobs)
            async for holder in self._chnls:
                try:
                    self._handle(holder)
                except ChannelClosedException:
                    print("server: a client has gone before it could be answered")
            nursery.cancel_scope.cancel()

    def _handle(self, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        match message.opcode:
            case OpCode.WELCOME_RESPONSE if message.status is not AmpeStatus.SUCCESS:
                raise RuntimeError(f"cannot listen: {message.status.name}")
            case OpCode.WELCOME_RESPONSE:
                print("server: ready")
            case OpCode.HELLO_REQUEST | OpCode.BYE_REQUEST:
                message.opcode = message.opcode.echo().unwrap()
                self._chnls.post(holder)
            case OpCode.REQUEST:
                job = self._spooling.get((message.channel_number, message.message_id))
                if job is None:
                    self._accept(holder)
                else:
                    self._spool(job, message)
            case OpCode.SIGNAL if message.status is AmpeStatus.CHANNEL_CLOSED:
                self._forget(message.channel_number)
            case _:
                print("server: ignored:", message)

    def _accept(self, holder: Holder[Message]) -> None:
        """Answer a ticket."""
        message = holder.unwrap()
        message.opcode = OpCode.RESPONSE
        try:
            ticket = JobTicket.read_from(message)
            if not 1 <= ticket.copies <= MOST_COPIES:
                raise ValueError(f"{ticket.copies} copies: not between 1 and {MOST_COPIES}")
        except ValueError as error:
            message.text_headers.append(REFUSED, str(error))
            self._chnls.post(holder)
        else:
            header = self._chnls.post(holder)
            key = header.channel_number, header.message_id
            self._spooling[key] = Job(ticket, *key)
            print(f"server: accepted {ticket.title!r} of {ticket.user}")

    def _spool(self, job: Job, part: Message) -> None:
        """Take a part of the document."""
        job.document += part.payload
        if not part.has_more():
            del self._spooling[job.channel, job.message_id]
            self._to_print.send_nowait(job)

    def _forget(self, channel: int) -> None:
        """A client has gone: what it has not sent completely will never be."""
        for key in [key for key in self._spooling if key[0] == channel]:
            print(f"server: {self._spooling.pop(key).ticket.title!r} is incomplete, dropped")

    async def _print_jobs(self) -> None:
        async for job in self._queue:
            try:
                await self._print(job)
            except ChannelClosedException:
                print(f"server: the client of {job.ticket.title!r} has gone, stopped printing")

    async def _print(self, job: Job) -> None:
        total = job.document.count(END_OF_PAGE) * job.ticket.copies
        for sheet in range(1, total + 1):
            await trio.sleep(SECONDS_PER_SHEET)  # this is the printer
            self._report(job, OpCode.SIGNAL, sheet, total)
        self._report(job, OpCode.RESPONSE, total, total)
        print(f"server: printed {job.ticket.title!r}: {total} sheets")

    def _report(self, job: Job, opcode: OpCode, sheets: int, total: int) -> None:
        with borrowed_message(self._ampe) as holder:
            message = holder.unwrap()
            message.opcode = opcode
            message.channel_number = job.channel
            message.message_id = job.message_id
            message.text_headers.append(SHEETS, str(sheets))
            message.text_headers.append(TOTAL, str(total))
            self._chnls.post(holder)


async def main(path: str) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with (
            open_ampe() as ampe,
            ampe.open_channel_group() as chnls,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(Spooler(ampe, chnls).run, path)
            async for _ in signals:
                break
            await ampe.destroy(chnls)  # ends the loop of the spooler
    print("server: ended")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
