"""`pytofu bench`: how quick pytofu is here, in a few seconds."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import click
import trio
from rich.table import Table
from rich.text import Text

from pytofu import Holder, OpCode, borrowed_message
from pytofu.cli.cert import File, make_files, write_files
from pytofu.cli.certificates import Credentials
from pytofu.cli.conversation import Conversation, dial
from pytofu.cli.endpoints import Target
from pytofu.cli.options import Seconds, example, json_option
from pytofu.cli.output import Output, duration_text, size_text
from pytofu.cli.running import CommandError, unless_interrupted
from pytofu.cli.timing import RoundTrips
from pytofu.values.address_text import AddressError, client_address


@attrs.frozen
class Load:
    """What to measure: requests of so many bytes, so many of them outstanding at any time."""

    size: int
    outstanding: int


LOADS: Final = (Load(64, 1), Load(64, 64), Load(60_000, 1), Load(60_000, 16))


@attrs.frozen
class _Way:
    """How messages travel: where the echo server listens, with which options; whom to trust."""

    name: str
    listen_at: str
    options: tuple[str, ...] = ()
    ca: str | None = None

    def target(self, bound: str) -> Target:
        address = client_address(bound)
        return Target(address, tls=Credentials(ca=self.ca).context_to_connect(address))


_WIDE: Final = 60  # columns
_OTHER_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")


@attrs.frozen
class Figures:
    """What was measured."""

    transport: str
    load: Load
    seconds: float
    times: RoundTrips

    @property
    def per_second(self) -> float:
        """Round trips in a second."""
        return self.times.count / self.seconds

    def record(self) -> dict[str, object]:
        """The figures for machines."""
        return {
            "transport": self.transport,
            "size": self.load.size,
            "outstanding": self.load.outstanding,
            "round_trips": self.times.count,
            "per_second": round(self.per_second, 1),
            "p50_us": round(self.times.percentile(50) / 1e3, 2),
            "p99_us": round(self.times.percentile(99) / 1e3, 2),
            "max_us": round(self.times.maximum / 1e3, 2),
        }

    def cells(self) -> tuple[str, ...]:
        """The figures for people: a row of the table."""
        return (
            self.transport,
            size_text(self.load.size),
            str(self.load.outstanding),
            f"{self.per_second:,.0f}",
            f"{size_text(self.per_second * self.load.size)}/s",
            duration_text(self.times.percentile(50) / 1e9),
            duration_text(self.times.percentile(99) / 1e9),
        )


async def measure(
    conversation: Conversation, transport: str, load: Load, seconds: float
) -> Figures:
    """Keep so many requests outstanding for so long. Raises `CommandError` for a wrong answer."""
    ampe, chnls = conversation.ampe, conversation.chnls
    body = bytes(load.size)
    posted: dict[int, int] = {}
    times = RoundTrips()
    started = time.perf_counter()

    def ask() -> None:
        with borrowed_message(ampe) as holder:
            message = holder.unwrap()
            message.opcode = OpCode.REQUEST
            message.channel_number = conversation.channel_number
            message.set_payload(body)
            now = time.perf_counter_ns()
            posted[chnls.post(holder).message_id] = now

    for _ in range(load.outstanding):
        ask()
    while posted:
        # Not `conversation.receive`: it makes more of a message than is to be measured.
        message = await chnls.wait_receive()
        asked = posted.pop(message.message_id, None)
        if asked is None or message.payload != body:
            raise CommandError(f"not an answer to what was asked: {message}")
        times.add(time.perf_counter_ns() - asked)
        ampe.put(Holder(message))
        if time.perf_counter() - started < seconds:
            ask()
    return Figures(transport, load, time.perf_counter() - started, times)


@asynccontextmanager
async def echo_process(address: str, *options: str) -> AsyncGenerator[str]:
    """An echo server in a process of its own; the address that it really listens on."""
    arguments = [sys.executable, "-m", "pytofu", "echo", "--json", address, *options]
    # In a session of its own: Ctrl-C is for this process, which then ends the other.
    run = partial(trio.run_process, stdout=subprocess.PIPE, check=False, start_new_session=True)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run, arguments)
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            more = await process.stdout.receive_some()
            if not more:
                raise CommandError("the echo server does not start")
            line += more
        yield json.loads(line)["address"]
        nursery.cancel_scope.cancel()


@contextmanager
def socket_folder() -> Generator[str]:
    """A folder of our own, by a path that leaves room for the name of a socket.

    The usual place for temporary files may have a path that is too long, or cannot be in an
    address. Raises `CommandError` where no other will do.
    """
    for place in (tempfile.gettempdir(), *_OTHER_PLACES):
        # As long as the name of the folder will be.
        try:
            client_address(f"uds://{place}/{tempfile.gettempprefix()}12345678/echo")
            folder = tempfile.TemporaryDirectory(dir=place)
        except (AddressError, OSError):
            continue
        with folder as name:
            yield name
        return
    raise CommandError("no folder for temporary files has a path for a socket: set TMPDIR")


def _table(width: int) -> Table:
    """Fits fifty columns, and has more air where there is room."""
    title = "pytofu, client and echo server in two processes"
    padding = (0, 3 if width >= _WIDE else 1, 0, 0)
    table = Table(title=title, title_justify="left", box=None, padding=padding)
    table.add_column("over", no_wrap=True)
    for name in ("body", "out", "round\ntrips/s", "each way", "p50", "p99"):
        table.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    return table


async def bench(
    loads: Iterable[Load],
    seconds: float,
    output: Output,
    certificates: Mapping[str, File] | None = None,
) -> None:
    """Measure each load over TCP and a Unix socket, with certificates over TLS too; print a table.

    Raises `CommandError` when an answer is wrong or missing.
    """
    table = _table(output.console.width)
    now = Text("starting the echo server")
    with socket_folder() as folder:
        ways = [_Way("TCP", "tcp://127.0.0.1:0"), _Way("UDS", f"uds://{folder}/echo")]
        if certificates is not None:
            write_files(Path(folder), certificates, overwrite=False)
            options = ("--cert", f"{folder}/server.pem", "--key", f"{folder}/server.key")
            ways.append(_Way("TLS", "tls://127.0.0.1:0", options, f"{folder}/ca.pem"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.show, lambda: now)
            for way in ways:
                async with (
                    echo_process(way.listen_at, *way.options) as where,
                    dial(way.target(where)) as server,
                ):
                    for load in loads:
                        now = Text(f"{way.name}, {size_text(load.size)}, {load.outstanding} ...")
                        figures = await measure(server, way.name, load, seconds)
                        table.add_row(*figures.cells())
                        if output.as_json:
                            output.record(figures.record(), "")
            nursery.cancel_scope.cancel()
    if not output.as_json:
        output.print(table)


@click.command("bench", epilog=example("pytofu bench --seconds 3"))
@click.option(
    "--seconds",
    type=Seconds(0.01, 3600),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="For each measurement: four over each transport.",
)
@click.option("--tls", is_flag=True, help="Over TLS too, with certificates made for it.")
@json_option
def command(seconds: float, tls: bool, as_json: bool) -> None:
    """Measure how quick pytofu is on this machine.

    A client and an echo server in two processes, over TCP and over a Unix socket: small and large
    requests, one at a time and many outstanding. The comparison with other libraries is in the
    benchmarks of the source.
    """
    certificates = make_files(["127.0.0.1"], "client") if tls else None
    work = partial(bench, LOADS, seconds, Output(as_json=as_json), certificates)
    trio.run(unless_interrupted, work)
