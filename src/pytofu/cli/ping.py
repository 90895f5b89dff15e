"""`pytofu ping`: how long a request and its response take."""

import time

import attrs
import click
import trio

from pytofu import OpCode
from pytofu.cli.conversation import Conversation, ConversationEndedError, dial
from pytofu.cli.endpoints import Target, connecting
from pytofu.cli.options import Seconds, example, json_option
from pytofu.cli.output import Output, duration_text, size_text
from pytofu.cli.running import CommandError, until_interrupted
from pytofu.cli.timing import RoundTrips
from pytofu.values.header import MAX_PART_LEN


@attrs.frozen(kw_only=True)
class Settings:
    """What the options say; times in seconds."""

    count: int | None = None
    interval: float = 1.0
    size: int = 56
    timeout: float = 2.0
    flood: bool = False


class Ping:
    """Requests one after the other, and what became of them."""

    def __init__(self, conversation: Conversation, settings: Settings, output: Output) -> None:
        self._conversation = conversation
        self._settings = settings
        self._output = output
        self._body = bytes(index & 0xFF for index in range(settings.size))
        self._times = RoundTrips()
        self._started = trio.current_time()
        self._lost = 0

    async def run(self) -> None:
        """Send requests until there were enough. Raises as `Conversation.receive`."""
        settings = self._settings
        next_time = trio.current_time()
        number = 0
        while settings.count is None or number < settings.count:
            if not settings.flood:
                await self._wait_until(next_time)
            number += 1
            next_time += settings.interval
            await self._round_trip(number)

    async def _wait_until(self, moment: float) -> None:
        """Let time pass; late answers are dropped, and a closed channel is noticed."""
        with trio.move_on_at(moment):
            while True:
                await self._conversation.receive()

    async def _round_trip(self, number: int) -> None:
        started = time.perf_counter_ns()
        message_id = self._conversation.post(OpCode.REQUEST, body=self._body)
        with trio.move_on_after(self._settings.timeout):
            answer = await self._conversation.answer_to(message_id)
            passed = time.perf_counter_ns() - started
            self._times.add(passed)
            if not self._settings.flood:
                self._output.record(
                    {"seq": number, "bytes": len(answer.body), "ms": round(passed / 1e6, 4)},
                    f"{len(answer.body):,} bytes from {self._conversation.where}:"
                    f" seq={number} time={duration_text(passed / 1e9)}",
                )
            return
        self._lost += 1
        self._output.record(
            {"seq": number, "lost": True},
            f"no answer from {self._conversation.where} within {self._settings.timeout:g} s:"
            f" seq={number}",
        )

    def status(self) -> str:
        """The line that is kept up to date while `--flood` prints nothing else."""
        times = self._times
        return (
            f"{times.count:,} round trips, {self._rate():,.0f}/s,"
            f" p50 {duration_text(times.percentile(50) / 1e9)},"
            f" p99 {duration_text(times.percentile(99) / 1e9)}, {self._lost} lost"
        )

    def _rate(self) -> float:
        return self._times.count / max(1e-9, trio.current_time() - self._started)

    def summarise(self) -> str | None:
        """Print the figures, and return what was wrong, if anything was."""
        times = self._times
        sent = times.count + self._lost
        loss = self._lost / sent if sent else 0.0
        figures = {
            "min": times.minimum,
            "mean": times.mean,
            "p50": times.percentile(50),
            "p99": times.percentile(99),
            "max": times.maximum,
        }
        names = "/".join(figures)
        values = " / ".join(duration_text(value / 1e9) for value in figures.values())
        size = size_text(self._settings.size)
        self._output.record(
            {
                "address": self._conversation.where,
                "size": self._settings.size,
                "sent": sent,
                "answered": times.count,
                "loss": round(loss, 6),
                "per_second": round(self._rate(), 1),
                **{f"{name}_ms": round(value / 1e6, 4) for name, value in figures.items()},
            },
            f"\n--- {self._conversation.where}, {size} ---\n"
            f"{sent:,} sent, {times.count:,} answered, {100 * loss:.3g} % lost,"
            f" {self._rate():,.1f} round trips/s\n"
            f"{names} = {values}",
        )
        return f"{self._lost:,} of {sent:,} requests were not answered" if self._lost else None


async def ping(target: Target, settings: Settings, output: Output) -> None:
    """Ping until there were enough, or until Ctrl-C, and print a summary either way.

    Raises `CommandError` when there is no connection, or no answer to one of the requests.
    """
    async with dial(target) as conversation:
        task = Ping(conversation, settings, output)
        failure: str | None = None
        async with until_interrupted(), trio.open_nursery() as nursery:
            if settings.flood:
                nursery.start_soon(output.show, task.status)
            try:
                await task.run()
            except ConversationEndedError as error:
                failure = str(error)
            nursery.cancel_scope.cancel()
        failure = task.summarise() or failure
    if failure is not None:
        raise CommandError(failure)


@click.command("ping", epilog=example("pytofu ping tcp://127.0.0.1:7099 --count 5 --size 1000"))
@connecting
@click.option(
    "-c",
    "--count",
    type=click.IntRange(1),
    metavar="N",
    help="Requests to send; else until Ctrl-C.",
)
@click.option(
    "-i",
    "--interval",
    type=Seconds(0.001, 86400),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="From one request to the next.",
)
@click.option(
    "-s",
    "--size",
    type=click.IntRange(0, MAX_PART_LEN),
    metavar="BYTES",
    default=56,
    show_default=True,
    help="Length of each request's body.",
)
@click.option(
    "-W",
    "--timeout",
    type=Seconds(0.001, 86400),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="After which a request counts as lost.",
)
@click.option(
    "-f", "--flood", is_flag=True, help="Send the next request as soon as the last is answered."
)
@json_option
def command(
    target: Target,
    count: int | None,
    interval: float,
    size: int,
    timeout: float,
    flood: bool,
    as_json: bool,
) -> None:
    """Measure round trips to an echo server.

    A line for each, and at the end, also after Ctrl-C, the median, the 99th percentile, the
    maximum, the rate and what was lost. Fails if any request was not answered.
    """
    settings = Settings(count=count, interval=interval, size=size, timeout=timeout, flood=flood)
    trio.run(ping, target, settings, Output(as_json=as_json))
