"""Two processes exchange messages, over TCP and then over a Unix socket; then calls and more.

    python examples/demo.py [FILE]

This process is the client; the server is the same script, started once more. They say hello,
exchange requests and responses, first one by one, then many at once, send FILE (or an archive of
Python's own library) with progress, and say bye. What most programs do on top of messages comes
last: calls, a stream and a topic. Exit code 0: all was as it should be.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import trio

import pytofu
from pytofu import (
    Ampe,
    AmpeStatus,
    ChannelGroup,
    Holder,
    Incoming,
    Message,
    OpCode,
    Peer,
    RemoteError,
    Reply,
    Service,
    TCPClientAddress,
    TCPServerAddress,
    Topics,
    UDSClientAddress,
    UDSServerAddress,
    borrowed_message,
    connect,
    open_ampe,
    parse_address,
)

ONE_BY_ONE = 3_000  # requests, each waiting for its response: this measures the round trip
AT_ONCE = 30_000  # requests, of which
OUTSTANDING = 256  # wait for their responses at any time
CALLS = 1_000
CALLERS = 50  # tasks, each with one call after the other


def check(condition: bool, what: object) -> None:
    if not condition:
        print("not as it should be:", what, file=sys.stderr)
        sys.exit(1)


def compose(
    ampe: Ampe, opcode: OpCode, channel: int, body: bytes = b"", message_id: int = 0
) -> Holder[Message]:
    """A message, ready to be posted; a message_id of 0 lets the engine assign one."""
    message = ampe.get()
    message.opcode = opcode
    message.channel_number = channel
    message.message_id = message_id
    message.set_payload(body)
    return Holder(message)


async def serve_messages(address: TCPServerAddress | UDSServerAddress) -> None:
    """The server: listen, serve one client, return when its channel has closed in good order."""
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            address.format(holder.value)
            chnls.post(holder)
        async for holder in chnls:  # what is still in its holder goes back to the pool
            message = holder.unwrap()
            match message.opcode:
                case OpCode.WELCOME_RESPONSE:
                    check(message.status is AmpeStatus.SUCCESS, message)
                    bound = parse_address(message)  # with the port that the system has chosen
                    print(bound.port if isinstance(bound, TCPServerAddress) else 0, flush=True)
                case OpCode.REQUEST if message.has_more():
                    await receive_file(ampe, chnls, message)
                case OpCode.HELLO_REQUEST | OpCode.REQUEST | OpCode.BYE_REQUEST:
                    message.opcode = message.opcode.echo().unwrap()  # the matching response
                    chnls.post(holder)
                case _:  # the last event of the channel: both sides have agreed to close it
                    check(message.text_headers.get("~reason") == "SUCCESS", message)
                    return


async def receive_file(ampe: Ampe, chnls: ChannelGroup, first: Message) -> None:
    """Receive the parts that follow the first message, signal progress, answer the last one."""
    channel, message_id, size = first.channel_number, first.message_id, int(first.payload)
    digest, received, signalled = hashlib.sha256(), 0, 0
    async for holder in chnls:
        part = holder.unwrap()
        if part.status is AmpeStatus.POOL_EMPTY:  # from the engine: we are slow, so it waits
            continue
        check(part.opcode is OpCode.REQUEST and part.message_id == message_id, part)
        digest.update(part.payload)
        received += len(part.payload)
        if not part.has_more():
            check(received == size, f"{received} of {size} bytes of the file")
            chnls.post(compose(ampe, OpCode.RESPONSE, channel, digest.digest(), message_id))
            return
        percent = received * 20 // max(size, 1) * 5  # in steps of five
        if percent > signalled:
            signalled = percent
            chnls.post(compose(ampe, OpCode.SIGNAL, channel, b"%d" % percent, message_id))


@dataclass
class Client:
    """A channel to the server, and what this application does with it."""

    ampe: Ampe
    chnls: ChannelGroup
    channel: int = 0

    async def hello(self, address: TCPClientAddress | UDSClientAddress) -> None:
        with borrowed_message(self.ampe) as holder:
            address.format(holder.value)
            header = self.chnls.post(holder)
        self.channel = header.channel_number
        await self._expect(OpCode.HELLO_RESPONSE, header.message_id)

    async def ask(self, count: int, outstanding: int) -> list[float]:
        """Send requests, receive the responses, in order; returns the round trips in seconds."""
        round_trips: list[float] = []
        waiting: deque[tuple[int, bytes, float]] = deque()
        for number in range(count + outstanding):
            if number >= outstanding:
                message_id, question, started = waiting.popleft()
                answer = await self._expect(OpCode.RESPONSE, message_id)
                round_trips.append(time.perf_counter() - started)
                check(answer == question, f"{answer!r} is not {question!r}")
            if number < count:
                question, started = b"%064d" % number, time.perf_counter()
                holder = compose(self.ampe, OpCode.REQUEST, self.channel, question)
                waiting.append((self.chnls.post(holder).message_id, question, started))
        return round_trips

    async def send_file(self, path: Path) -> None:
        """Send a file, draw how much of it the server has, compare what it makes of it."""
        size = (await trio.Path(path).stat()).st_size
        first = compose(self.ampe, OpCode.REQUEST, self.channel, b"%d" % size)
        first.unwrap().more = True
        message_id = self.chnls.post(first).message_id
        digest = hashlib.sha256()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_parts, path, message_id, digest)
            while (message := await self.chnls.wait_receive()).opcode is OpCode.SIGNAL:
                check(message.message_id == message_id, message)
                draw_progress(int(message.payload), size)
                self.ampe.put(Holder(message))
        check(message.opcode is OpCode.RESPONSE and message.message_id == message_id, message)
        check(message.payload == digest.digest(), "the server has received another file")
        self.ampe.put(Holder(message))

    async def _send_parts(self, path: Path, message_id: int, digest: "hashlib._Hash") -> None:
        part = b"not yet read"
        async with await trio.open_file(path, "rb") as file:
            while part:  # the last message is the one without a body
                digest.update(part := await file.read(32 * 1024))  # 65,535 would fit
                holder = compose(self.ampe, OpCode.REQUEST, self.channel, part, message_id)
                holder.unwrap().more = bool(part)
                try:
                    await self.chnls.send(holder)  # waits if the server does not keep up
                finally:
                    self.ampe.put(holder)  # if it was not sent

    async def bye(self) -> None:
        header = self.chnls.post(compose(self.ampe, OpCode.BYE_REQUEST, self.channel))
        await self._expect(OpCode.BYE_RESPONSE, header.message_id)
        message = await self.chnls.wait_receive()
        check(message.text_headers.get("~reason") == "SUCCESS", message)

    async def _expect(self, opcode: OpCode, message_id: int) -> bytes:
        """Receive a message, which must be this one, and return its body."""
        message = await self.chnls.wait_receive()
        check(message.opcode is opcode and message.status is AmpeStatus.SUCCESS, message)
        check(message.message_id == message_id, message)
        body = message.payload
        self.ampe.put(Holder(message))
        return body


def draw_progress(percent: int, size: int) -> None:
    """A bar drawn in place on a terminal, a line for every quarter elsewhere."""
    text = f"{percent:5} % of {size / 1e6:.1f} MB"
    if sys.stdout.isatty():
        bar = ("#" * (percent // 4)).ljust(25, "-")
        print(f"\r  [{bar}]{text}\x1b[K", end="\n" if percent == 100 else "", flush=True)
    elif percent % 25 == 0:
        print(text, flush=True)


async def start_server(nursery: trio.Nursery, *arguments: str) -> trio.abc.ReceiveStream:
    """Start this script as a server; what it prints. The nursery waits for its end."""
    # In a process group of its own, so that Ctrl-C reaches only this process.
    start = partial(trio.run_process, stdout=subprocess.PIPE, process_group=0)
    command = [sys.executable, __file__, "serve", *arguments]
    server: trio.Process = await nursery.start(start, command)
    assert server.stdout is not None
    return server.stdout


async def demonstrate(name: str, where: str, file: Path) -> str:
    """Start the server, be its client, see both end well; returns a row for the table."""
    print(f"{name}: hello, {ONE_BY_ONE:,} + {AT_ONCE:,} requests, {file.name}, bye")
    async with trio.open_nursery() as nursery:
        said = await start_server(nursery, name, where)
        async with said, open_ampe() as ampe, ampe.open_channel_group() as chnls:
            port = int(await said.receive_some() or 0)  # as soon as it listens
            client = Client(ampe, chnls)
            started = time.perf_counter()
            tcp = name == "TCP"
            await client.hello(TCPClientAddress(where, port) if tcp else UDSClientAddress(where))
            round_trips = await client.ask(ONE_BY_ONE, outstanding=1)
            await client.ask(AT_ONCE, OUTSTANDING)
            await client.send_file(file)
            await client.bye()
            seconds, total = time.perf_counter() - started, ampe.statistics()
    messages = total.messages_sent + total.messages_received
    octets = total.bytes_sent + total.bytes_received
    p = [f"{value * 1e3:.3f} ms" for value in statistics.quantiles(round_trips, n=100)]
    return f"{name:9} {messages:10,} {octets:13,} {seconds:9.2f} {p[49]:>16} {p[98]:>9}"


async def serve_peers(where: str) -> None:
    """The other server: methods that are called, a stream, a topic. No message is in sight."""
    topics = Topics()
    service = Service(errors={ZeroDivisionError: "INVALID_ARGUMENT"})

    @service.method
    async def divide(a: float, b: float) -> float:
        return a / b

    @service.method
    async def publish(count: int) -> int:
        return sum(topics.publish(f"tick.{n}", b"%d" % n) for n in range(count))

    @service.method
    async def stop() -> None:
        nursery.cancel_scope.cancel()  # this call is still answered

    async def answer(peer: Peer, request: Incoming) -> bytes | Reply:
        if request.stream is None:
            return await service(peer, request)
        lines = 0
        async for line in request.stream:
            await request.stream.send(line.upper())
            lines += 1
        return b"%d" % lines

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(pytofu.serve, answer, where, topics=topics))
        print("listening", flush=True)


class Methods(Protocol):
    """What can be called there, for this side and for its type checker."""

    async def divide(self, a: float, b: float) -> float: ...
    async def publish(self, count: int) -> int: ...
    async def stop(self) -> None: ...


async def demonstrate_peers(where: str) -> None:
    """Call methods, use a stream both ways, subscribe to a topic; say how it went."""
    print("\npeers, over a Unix socket")
    async with trio.open_nursery() as nursery:
        said = await start_server(nursery, "peers", where)
        async with said:
            await said.receive_some()
            async with connect(where) as peer:
                await make_calls(peer.proxy(Methods))
                await use_stream(peer)
                await hear_topic(peer)
                await peer.proxy(Methods).stop()


async def make_calls(server: Methods) -> None:
    """Many at once, each with its own answer; an error of the server's is one here."""

    async def caller() -> None:
        while numbers:
            number = numbers.pop()
            check(await server.divide(number, 4) == number / 4, f"a quarter of {number}")

    numbers = list(range(CALLS))
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)
    seconds = time.perf_counter() - started
    print(f"  calls   {CALLS:,} answered, {CALLERS} at a time, {CALLS / seconds:,.0f}/s")
    try:
        check(False, await server.divide(1, 0))
    except RemoteError as error:
        print(f"          divide(1, 0) is refused: {error}")


async def use_stream(peer: Peer) -> None:
    """Send lines; each comes back in capitals, while others are still on their way."""
    lines = (__doc__ or "").encode().splitlines()

    async def send() -> None:
        for line in lines:
            await stream.send(line)
        await stream.send_eof()

    async with peer.stream() as stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        back = [line async for line in stream]
    check(back == [line.upper() for line in lines], back)
    print(f"  stream  {len(back)} lines there and back, in capitals")


async def hear_topic(peer: Peer) -> None:
    """Subscribe, let the server publish, and hear it."""
    async with peer.subscribe("tick.*") as messages:
        check(await peer.proxy(Methods).publish(5) == 5, "each is published to one subscriber")
        heard = [await anext(messages) for _ in range(5)]
    check([int(message.body) for message in heard] == list(range(5)), heard)
    print(f"  topic   {', '.join(message.topic for message in heard)}")


def archive_library(directory: str) -> Path:
    """A real file of some MB that is there wherever Python is."""
    path = Path(directory, "library.tar")
    with tarfile.open(path, "w") as archive:
        for source in Path(sysconfig.get_path("stdlib")).glob("*/*.py"):
            archive.add(source)
    return path


async def main(arguments: list[str]) -> None:
    with trio.fail_after(60), tempfile.TemporaryDirectory() as directory:
        match arguments:
            case ["serve", "TCP", host]:
                await serve_messages(TCPServerAddress(host, 0))
            case ["serve", "UDS", path]:
                await serve_messages(UDSServerAddress(path))
            case ["serve", "peers", path]:
                await serve_peers(path)
            case _:
                file = Path(arguments[0]) if arguments else archive_library(directory)
                tcp = await demonstrate("TCP", "127.0.0.1", file)
                uds = await demonstrate("UDS", f"{directory}/socket", file)
                print("\ntransport   messages         bytes   seconds   round trip p50       p99")
                print(tcp, uds, sep="\n")
                await demonstrate_peers(f"{directory}/peers")


if __name__ == "__main__":
    exit_code = 0
    try:
        trio.run(main, sys.argv[1:])
    except* (SystemExit, subprocess.CalledProcessError):  # who failed has said why
        exit_code = 1
    except* KeyboardInterrupt:
        exit_code = 130
    sys.exit(exit_code)
