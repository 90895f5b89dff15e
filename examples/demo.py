"""Two processes exchange messages, over TCP and then over a Unix socket.

    python examples/demo.py [FILE]

This process is the client. The server is the same script in a process of its own. Over either
transport they say hello, exchange requests and responses, first one by one and then with many
outstanding, send FILE (if none is given, an archive of Python's own library) while the server
signals its progress, and say bye. The exit code is not 0 if anything is other than it should be.
"""

import hashlib
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from pytofu import (
    Ampe,
    AmpeStatus,
    BinaryHeader,
    ChannelGroup,
    Message,
    OpCode,
    TCPClientAddress,
    TCPServerAddress,
    UDSClientAddress,
    UDSServerAddress,
    borrowed_message,
    open_ampe,
    parse_address,
)

ONE_BY_ONE = 3_000  # requests, each waiting for its response: this measures the round trip
AT_ONCE = 30_000  # requests, of which
OUTSTANDING = 256  # wait for their responses at any time
PART_LEN = 32 * 1024  # bytes of the file in a message; 65,535 are possible
TIME_LIMIT = 60  # seconds for everything; it takes a few


def check(condition: bool, what: object) -> None:
    """Give up unless the condition holds."""
    if not condition:
        raise SystemError(f"not as it should be: {what}")


# ---------------------------------------------------------------------------------- the server


@dataclass
class Upload:
    """A file on its way to the server: a Request in many messages with one message_id."""

    message_id: int
    size: int
    received: int = 0
    signalled: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


async def serve(address: TCPServerAddress | UDSServerAddress) -> None:
    """Listen, serve one client, and return when its channel has closed in good order."""
    upload = Upload(message_id=0, size=0)
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            address.format(holder.value)
            chnls.post(holder)
        async for holder in chnls:  # puts every message back that is still in its holder
            message = holder.unwrap()
            match message.opcode:
                case OpCode.WELCOME_RESPONSE if message.status is AmpeStatus.SUCCESS:
                    bound = parse_address(message)  # with the port that the system has chosen
                    print(bound.port if isinstance(bound, TCPServerAddress) else "", flush=True)
                case OpCode.HELLO_REQUEST:
                    message.opcode = OpCode.HELLO_RESPONSE
                    chnls.post(holder)
                case OpCode.REQUEST if size := message.text_headers.get("size"):
                    upload = Upload(message.message_id, int(size))
                case OpCode.REQUEST if message.message_id == upload.message_id:
                    receive_part(ampe, chnls, upload, message)
                case OpCode.REQUEST:  # everything else goes back as it is
                    message.opcode = OpCode.RESPONSE
                    chnls.post(holder)
                case OpCode.BYE_REQUEST:
                    message.opcode = OpCode.BYE_RESPONSE
                    chnls.post(holder)
                case _:
                    check(closed_in_good_order(message), message)
                    return


def receive_part(ampe: Ampe, chnls: ChannelGroup, upload: Upload, part: Message) -> None:
    """Take a part of the file; signal progress now and then, answer the last part."""
    upload.digest.update(part.payload)
    upload.received += len(part.payload)
    with borrowed_message(ampe) as holder:
        answer = holder.unwrap()
        answer.channel_number = part.channel_number
        answer.message_id = part.message_id
        if not part.has_more():
            digest = upload.digest.hexdigest()
            check(digest == part.text_headers.get("sha256"), "the hash of the file")
            check(upload.received == upload.size, "the size of the file")
            answer.opcode = OpCode.RESPONSE
            answer.set_payload(digest.encode())
            chnls.post(holder)
        elif upload.received - upload.signalled >= upload.size / 50:
            upload.signalled = upload.received
            answer.opcode = OpCode.SIGNAL
            answer.text_headers.append("received", str(upload.received))
            chnls.post(holder)


def closed_in_good_order(message: Message) -> bool:
    """Whether this is the last event of a channel that both sides agreed to close."""
    return (
        message.is_from_engine()
        and message.status is AmpeStatus.CHANNEL_CLOSED
        and message.text_headers.get("~reason") == "SUCCESS"
    )


# ---------------------------------------------------------------------------------- the client


@dataclass
class Client:
    """One channel to the server, and what an application does with it."""

    ampe: Ampe
    chnls: ChannelGroup
    channel_number: int = 0

    def post(self, opcode: OpCode, body: bytes = b"") -> BinaryHeader:
        """Send a message; the header returned has the message_id that it was given."""
        with borrowed_message(self.ampe) as holder:
            message = holder.unwrap()
            message.opcode = opcode
            message.channel_number = self.channel_number
            message.set_payload(body)
            return self.chnls.post(holder)

    async def expect(self, opcode: OpCode, message_id: int) -> bytes:
        """Receive a message, which must be this one, and return its body."""
        async for holder in self.chnls:
            message = holder.unwrap()
            check(message.opcode is opcode and message.message_id == message_id, message)
            check(message.status is AmpeStatus.SUCCESS, message)
            body = message.payload
            self.ampe.put(holder)
            return body
        raise SystemError("the engine has been shut down")

    async def hello(self, address: TCPClientAddress | UDSClientAddress) -> None:
        """Connect."""
        with borrowed_message(self.ampe) as holder:
            address.format(holder.value)
            header = self.chnls.post(holder)
        self.channel_number = header.channel_number
        await self.expect(OpCode.HELLO_RESPONSE, header.message_id)

    async def ask_one_by_one(self) -> list[float]:
        """Requests that wait for their responses; the round trips in seconds."""
        round_trips: list[float] = []
        for number in range(ONE_BY_ONE):
            question = b"%064d" % number
            started = time.perf_counter()
            header = self.post(OpCode.REQUEST, question)
            answer = await self.expect(OpCode.RESPONSE, header.message_id)
            round_trips.append(time.perf_counter() - started)
            check(answer == question, f"the response to request {number}")
        return round_trips

    async def ask_many_at_once(self) -> None:
        """Requests that do not wait; the responses must come complete and in order."""
        waiting: deque[tuple[int, bytes]] = deque()
        for number in range(AT_ONCE + OUTSTANDING):
            if number >= OUTSTANDING:
                message_id, question = waiting.popleft()
                answer = await self.expect(OpCode.RESPONSE, message_id)
                check(answer == question, f"the response to request {message_id}")
            if number < AT_ONCE:
                question = b"%064d" % number
                waiting.append((self.post(OpCode.REQUEST, question).message_id, question))

    async def upload(self, path: Path) -> None:
        """Send a file and show how much of it the server has; the server checks its hash."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        with borrowed_message(self.ampe) as holder:
            message = holder.unwrap()
            message.channel_number = self.channel_number
            message.more = True
            message.text_headers.append("size", str(size))
            message_id = self.chnls.post(holder).message_id
        bar = ProgressBar(size)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_parts, path, message_id, digest)
            async for holder in self.chnls:
                message = holder.unwrap()
                check(message.message_id == message_id, message)
                if message.opcode is not OpCode.SIGNAL:
                    break
                bar.show(int(message.text_headers.get("received") or 0))
        check(message.opcode is OpCode.RESPONSE and message.payload == digest.encode(), message)
        self.ampe.put(holder)
        bar.show(size)

    async def _send_parts(self, path: Path, message_id: int, digest: str) -> None:
        async with await trio.open_file(path, "rb") as file:
            part = b"first"
            while part:
                part = await file.read(PART_LEN)
                with borrowed_message(self.ampe) as holder:
                    message = holder.unwrap()
                    message.channel_number = self.channel_number
                    message.message_id = message_id
                    message.more = bool(part)
                    message.set_payload(part)
                    if not part:
                        message.text_headers.append("sha256", digest)
                    await self.chnls.send(holder)  # waits when the server does not keep up

    async def bye(self) -> None:
        """Close the channel: the server agrees, and the engine says that it is done."""
        header = self.post(OpCode.BYE_REQUEST)
        await self.expect(OpCode.BYE_RESPONSE, header.message_id)
        message = await self.chnls.wait_receive()
        check(closed_in_good_order(message), message)


class ProgressBar:
    """Drawn in place on a terminal, a line for every quarter elsewhere."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._quarters = 0

    def show(self, received: int) -> None:
        percent = 100 * received // self._size if self._size else 100
        if sys.stdout.isatty():
            bar = ("█" * (percent // 4)).ljust(25, "░")
            text = f"  {bar} {percent:3} %  {received / 1e6:.1f} MB"
            print(f"\r\x1b[K{text}", end="\n" if received == self._size else "", flush=True)
        elif percent // 25 > self._quarters:
            self._quarters = percent // 25
            print(f"  {percent:3} %  {received / 1e6:.1f} MB", flush=True)


# ---------------------------------------------------------------------------------- both


async def demonstrate(path: Path, directory: str) -> None:
    """Run client and server over either transport, and print what it came to."""
    rows: list[str] = []
    for transport, where in (("TCP", "127.0.0.1"), ("UDS", f"{directory}/server.sock")):
        print(f"{transport}: hello, {ONE_BY_ONE:,} + {AT_ONCE:,} requests, {path.name}, bye")
        async with trio.open_nursery() as nursery:
            command = [sys.executable, __file__, "serve", transport, where]
            server: trio.Process = await nursery.start(
                partial(trio.run_process, command, stdout=subprocess.PIPE)
            )
            assert server.stdout is not None
            line = await server.stdout.receive_some()  # it listens now, or has failed
            if not line:
                return  # the nursery raises what has become of the server
            if transport == "TCP":
                rows.append(await converse("TCP", TCPClientAddress(where, int(line)), path))
            else:
                rows.append(await converse("UDS", UDSClientAddress(where), path))
            await server.stdout.aclose()
    print("\ntransport  messages       bytes  seconds  round trip p50      p99")
    print("\n".join(rows))


async def converse(
    transport: str, address: TCPClientAddress | UDSClientAddress, path: Path
) -> str:
    """The client's part; returns the row for the table."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        client = Client(ampe, chnls)
        started = time.perf_counter()
        await client.hello(address)
        round_trips = await client.ask_one_by_one()
        await client.ask_many_at_once()
        await client.upload(path)
        await client.bye()
        seconds = time.perf_counter() - started
        total = ampe.statistics()
    percentiles = statistics.quantiles(round_trips, n=100)
    return (
        f"{transport:9} {total.messages_sent + total.messages_received:9,}"
        f" {total.bytes_sent + total.bytes_received:11,} {seconds:8.2f}"
        f" {percentiles[49] * 1e6:11.0f} µs {percentiles[98] * 1e6:5.0f} µs"
    )


async def main(arguments: list[str]) -> None:
    with trio.fail_after(TIME_LIMIT):
        match arguments:
            case ["serve", "TCP", host]:
                await serve(TCPServerAddress(host, 0))
            case ["serve", "UDS", path]:
                await serve(UDSServerAddress(path))
            case _:
                with tempfile.TemporaryDirectory() as directory:
                    file = Path(arguments[0]) if arguments else archive_of_library(directory)
                    await demonstrate(file, directory)


def archive_of_library(directory: str) -> Path:
    """A real file of some MB that is there wherever Python is."""
    path = Path(directory, "library.tar")
    with tarfile.open(path, "w") as archive:
        for source in Path(sysconfig.get_path("stdlib")).glob("*/*.py"):
            archive.add(source)
    return path


if __name__ == "__main__":
    exit_code = 0
    try:
        trio.run(main, sys.argv[1:])
    except* KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        exit_code = 130
    except* (SystemError, subprocess.CalledProcessError) as group:
        print(group, *group.exceptions, sep="\n", file=sys.stderr)
        exit_code = exit_code or 1
    sys.exit(exit_code)
