"""`pytofu listen`: show what programs send."""

from collections.abc import Sequence
from functools import partial

import click
import trio

from pytofu import Incoming, Peer, RemoteError, serve
from pytofu.cli.bodies import body_line, body_record
from pytofu.cli.endpoints import Places, listening
from pytofu.cli.options import example, json_option
from pytofu.cli.output import Output, harmless, number_of
from pytofu.cli.running import until_interrupted


class Listener:
    """Prints what peers send, and answers their calls."""

    def __init__(self, reply: bytes | None, output: Output, nursery: trio.Nursery) -> None:
        self._reply = reply
        self._output = output
        self._nursery = nursery
        self._calls = 0
        self._messages = 0

    def listening(self, address: str) -> None:
        """Say so."""
        self._output.record({"event": "listening", "address": address}, f"listening on {address}")

    async def attend(self, peer: Peer) -> None:
        """Begin to show what belongs to no call."""
        # A task of our own: `serve` would end it with the peer, though messages are left to show.
        self._nursery.start_soon(self._show_messages, peer)

    async def _show_messages(self, peer: Peer) -> None:
        async for incoming in peer.messages:
            self._messages += 1
            self.show("message", incoming)

    async def answer(self, peer: Peer, request: Incoming) -> bytes:
        """Show a call, and answer it."""
        self._calls += 1
        self.show("call", request)
        if self._reply is None or request.stream is not None:
            raise RemoteError("UNIMPLEMENTED", "it was printed, and nothing else")
        return self._reply

    def show(self, event: str, incoming: Incoming) -> None:
        """Print one."""
        missed = incoming.missed
        words = [event]
        if missed:
            words.append(f"(behind {missed:,} that were dropped)")
        if incoming.method:
            words.append(harmless(incoming.method))
        words += [f"{harmless(name)}={harmless(value)}" for name, value in incoming.headers.items()]
        line = (
            f"{' '.join(words)}: {body_line(incoming.body)}" if incoming.body else " ".join(words)
        )
        self._output.record(
            {
                "event": event,
                "method": incoming.method,
                "headers": dict(incoming.headers),
                "missed": missed,
                **body_record(incoming.body),
            },
            line,
            verbatim=True,
        )

    def summarise(self) -> None:
        """Print how much it was."""
        self._output.record(
            {"event": "summary", "calls": self._calls, "messages": self._messages},
            f"{number_of(self._calls, 'call')}, {number_of(self._messages, 'other message')}",
        )


async def listen(
    places: Places,
    reply: bytes | None,
    output: Output,
    task_status: trio.TaskStatus[Sequence[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until Ctrl-C, then print a summary. Raises OSError when it cannot listen."""
    async with (
        until_interrupted(),
        places.open_engine() as ampe,
        trio.open_nursery() as nursery,
    ):
        listener = Listener(reply, output, nursery)
        work = partial(
            serve, listener.answer, *places.addresses, on_peer=listener.attend, ampe=ampe
        )
        bound: Sequence[str] = await nursery.start(work)
        for address in bound:
            listener.listening(address)
        task_status.started(bound)
    listener.summarise()


@click.command("listen", epilog=example("pytofu listen 127.0.0.1:7099 --reply '\"done\"'"))
@listening
@click.option("--reply", metavar="TEXT", help="Answer calls with this; else with an error.")
@json_option
def command(places: Places, reply: str | None, as_json: bool) -> None:
    """Print every call and message that comes, until Ctrl-C.

    Calls are answered with TEXT; without it with UNIMPLEMENTED, so that nobody believes that
    anything was done.
    """
    body = None if reply is None else reply.encode(errors="surrogateescape")
    trio.run(listen, places, body, Output(as_json=as_json))
