"""`pytofu echo`: send everything back."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs
import click
import trio
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pytofu import AmpeStatus, ChannelGroup, Holder, Message, OpCode, parse_address
from pytofu.cli.endpoints import Places, listening
from pytofu.cli.options import example, json_option
from pytofu.cli.output import Output, duration_text, harmless, number_of, size_text
from pytofu.cli.running import in_words, until_interrupted
from pytofu.cli.serving import answer, serve
from pytofu.values.address_text import ServerAddress, address_text

_TABLE_LINES: Final = 9
"""Of the live table, apart from the rows of channels."""
_RATE_INTERVAL: Final = 1.0  # seconds
_FIGURES: Final = ("open for", "messages", "bytes", "messages/s", "bytes/s")
_FEW_FIGURES: Final = ("messages", "messages/s")
_WIDE: Final = 100
"""Columns of a terminal from which on there is room for all figures."""


@attrs.define
class _Channel:
    """What one channel, or all of them together, has carried."""

    address: str
    since: float = attrs.field(factory=trio.current_time)
    messages: int = 0
    octets: int = 0
    rates: tuple[float, float] = (0.0, 0.0)
    """Messages and bytes per second, lately."""
    _before: tuple[float, int, int] | None = None

    def measure(self) -> None:
        """Bring the rates up to date; they are those of the last whole interval."""
        now = trio.current_time()
        before, messages, octets = self._before or (self.since, 0, 0)
        passed = now - before
        if passed >= _RATE_INTERVAL:
            self.rates = ((self.messages - messages) / passed, (self.octets - octets) / passed)
            self._before = (now, self.messages, self.octets)

    def cells(self, figures: Sequence[str]) -> Iterator[RenderableType]:
        """The columns of the live table behind the channel's number."""
        self.measure()
        messages, octets = self.rates
        cells = {
            "open for": duration_text(trio.current_time() - self.since),
            "messages": f"{self.messages:,}",
            "bytes": size_text(self.octets),
            "messages/s": f"{messages:,.0f}",
            "bytes/s": f"{size_text(octets)}/s",
        }
        yield Text(self.address, no_wrap=True, overflow="ellipsis")
        for name in figures:
            yield cells[name]


class Echo:
    """The service: requests become their responses, signals go back as they are."""

    def __init__(self, chnls: ChannelGroup, output: Output) -> None:
        self._chnls = chnls
        self._output = output
        self._channels: dict[int, _Channel] = {}
        self._total = _Channel("all")
        self._listeners: list[str] = []
        self._opened = 0

    def listening(self, address: ServerAddress) -> None:
        """Say so."""
        text = address_text(address)
        self._listeners.append(text)
        self._output.record({"event": "listening", "address": text}, f"listening on {text}")

    def opened(self, channel: int, hello: Message) -> None:
        """Begin to count."""
        text = harmless(address_text(parse_address(hello)))
        self._channels[channel] = _Channel(text)
        self._opened += 1
        if not self._output.live:
            self._output.record(
                {"event": "opened", "channel": channel, "address": text},
                f"channel {channel} opened, by a client of {text}",
            )

    def received(self, holder: Holder[Message]) -> None:
        """Count it, and send it back."""
        message = holder.unwrap()
        size = len(message.payload)
        for counted in (self._channels[message.channel_number], self._total):
            counted.messages += 1
            counted.octets += size
        if message.opcode is OpCode.REQUEST:
            message.opcode = OpCode.RESPONSE
        elif message.opcode is OpCode.RESPONSE:
            return  # nobody asked
        answer(self._chnls, holder)

    def closed(self, channel: int, reason: AmpeStatus) -> None:
        """Say what the channel has carried, unless the table shows it."""
        gone = self._channels.pop(channel)
        if not self._output.live:
            self._output.record(
                {
                    "event": "closed",
                    "channel": channel,
                    "reason": reason.name.lower(),
                    "messages": gone.messages,
                    "bytes": gone.octets,
                },
                f"channel {channel} closed after {number_of(gone.messages, 'message')},"
                f" {size_text(gone.octets)}: {in_words(reason)}",
            )

    def table(self) -> Table:
        """The live table: the busiest channels, and all together."""
        names = _FIGURES if self._output.console.width >= _WIDE else _FEW_FIGURES
        table = Table(caption="Ctrl-C ends it", caption_justify="left")
        table.add_column("channel", justify="right", no_wrap=True)
        table.add_column("address")  # gives way: its column may wrap, its cells do not
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        busiest = sorted(self._channels.items(), key=lambda item: -item[1].messages)
        most = max(1, self._output.console.height - _TABLE_LINES)
        for number, channel in busiest[:most]:
            table.add_row(str(number), *channel.cells(names))
        if len(busiest) > most:
            table.add_row(f"{len(busiest) - most} more")
        table.add_section()
        table.add_row(f"{len(busiest)} open", *self._total.cells(names), style="bold")
        return table

    def summarise(self) -> None:
        """Print what all channels have carried."""
        total = self._total
        self._output.record(
            {
                "event": "summary",
                "channels": self._opened,
                "messages": total.messages,
                "bytes": total.octets,
                "seconds": round(trio.current_time() - total.since, 3),
            },
            f"{number_of(self._opened, 'channel')}, {number_of(total.messages, 'message')},"
            f" {size_text(total.octets)}"
            f" in {duration_text(trio.current_time() - total.since)}",
        )


async def echo(
    places: Places,
    output: Output,
    task_status: trio.TaskStatus[Sequence[ServerAddress]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until Ctrl-C, then print a summary. Raises `CommandError` when it cannot listen."""
    async with places.open_engine() as ampe, ampe.open_channel_group() as chnls:
        service = Echo(chnls, output)
        async with until_interrupted(), trio.open_nursery() as nursery:
            bound = await nursery.start(serve, ampe, chnls, places.addresses, service)
            nursery.start_soon(output.show, service.table)
            task_status.started(bound)
        service.summarise()


@click.command(
    "echo", epilog=example("pytofu echo tcp://127.0.0.1:7099 uds:///run/user/1000/echo.sock")
)
@listening
@json_option
def command(places: Places, as_json: bool) -> None:
    """Send every message back, until Ctrl-C.

    Listens on any number of addresses, over TCP and over Unix sockets. On a terminal a table
    shows what each channel carries; elsewhere there is a line for every channel that opens or
    closes.
    """
    trio.run(echo, places, Output(as_json=as_json))
