"""A client of the print spooler: prints two documents, one of them too often.

python -m print_spooler.client PATH, the path being that of the server's Unix socket.
"""

import sys

import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    Message,
    OpCode,
    UDSClientAddress,
    borrowed_message,
    open_ampe,
)

from .job import END_OF_PAGE, REFUSED, SHEETS, TOTAL, JobTicket

PART_LEN = 1000  # bytes; small, so that the documents below have many parts
PATIENCE = 10  # seconds for the server to be there
PAUSE = 0.02  # seconds between two attempts to connect


class RefusedError(Exception):
    """The server does not want the job."""


class Spooler:
    """The server, as its client sees it: one channel, one job at a time."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._channel = 0

    async def connect(self, path: str) -> None:
        """Connect, again and again until the server is there.

        Raises `trio.TooSlowError` after `PATIENCE` seconds.
        """
        with trio.fail_after(PATIENCE):
            while True:
                if await self._try_to_connect(path):
                    return
                await trio.sleep(PAUSE)

    async def _try_to_connect(self, path: str) -> bool:
        with borrowed_message(self._ampe) as holder:
            UDSClientAddress(path).format(holder.value)
            self._channel = self._chnls.post(holder).channel_number
        async for holder in self._chnls:
            message = holder.unwrap()
            connected = message.opcode is OpCode.HELLO_RESPONSE and message.is_from_application()
            if connected or message.status is AmpeStatus.CHANNEL_CLOSED:
                self._ampe.put(holder)
                return connected
        return False

    async def print(self, ticket: JobTicket, document: bytes) -> int:
        """Print a document and tell how it goes on; returns the number of sheets.

        Raises `RefusedError`.
        """
        with borrowed_message(self._ampe) as holder:
            ticket.write_to(self._address(holder, OpCode.REQUEST))
            message_id = self._chnls.post(holder).message_id
        _, headers = await self._receive()
        if REFUSED in headers:
            raise RefusedError(headers[REFUSED])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, document, message_id)
            while (received := await self._receive())[0] is OpCode.SIGNAL:
                headers = received[1]
                print(f"client: {ticket.title!r}: sheet {headers[SHEETS]} of {headers[TOTAL]}")
        return int(received[1][SHEETS])

    async def _send(self, document: bytes, message_id: int) -> None:
        """Send the document in parts, not faster than the server takes them."""
        for start in range(0, max(len(document), 1), PART_LEN):  # an empty one too
            with borrowed_message(self._ampe) as holder:
                message = self._address(holder, OpCode.REQUEST)
                message.message_id = message_id
                message.more = start + PART_LEN < len(document)
                message.set_payload(document[start : start + PART_LEN])
                await self._chnls.send(holder)

    async def bye(self) -> None:
        """Close the channel in good order."""
        with borrowed_message(self._ampe) as holder:
            self._address(holder, OpCode.BYE_REQUEST)
            self._chnls.post(holder)
        opcode, _ = await self._receive()
        assert opcode is OpCode.BYE_RESPONSE

    def _address(self, holder: Holder[Message], opcode: OpCode) -> Message:
        message = holder.unwrap()
        message.opcode = opcode
        message.channel_number = self._channel
        return message

    async def _receive(self) -> tuple[OpCode, dict[str, str]]:
        """What comes next from the server, which says everything in text headers."""
        holder = Holder(await self._chnls.wait_receive())
        message = holder.unwrap()
        if message.is_from_engine():
            raise ConnectionError("the server has gone")
        received = message.opcode, dict(message.text_headers)
        self._ampe.put(holder)
        return received


def document(pages: int) -> bytes:
    """A document in a very small part of PostScript."""
    text = "".join(
        f"/Courier findfont 10 scalefont setfont 72 {y} moveto (page {page}, line {y}) show\n"
        + (END_OF_PAGE.decode() if y == 0 else "")
        for page in range(pages)
        for y in range(700, -1, -20)
    )
    return text.encode()


async def main(path: str) -> None:
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        spooler = Spooler(ampe, chnls)
        await spooler.connect(path)
        sheets = await spooler.print(JobTicket("alice", "report", copies=2), document(pages=3))
        print(f"client: 'report': {sheets} sheets printed")
        try:
            await spooler.print(JobTicket("alice", "leaflet", copies=1000), document(pages=1))
        except RefusedError as error:
            print("client: 'leaflet' is refused:", error)
        await spooler.bye()
    print("client: bye")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
