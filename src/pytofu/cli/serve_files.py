"""`pytofu serve-files`: receive files into a directory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import click
import rich.progress
import trio

from pytofu import AmpeStatus, ChannelGroup, Holder, Message, OpCode, open_ampe
from pytofu.cli.addresses import ServerAddress, address_text, to_server_addresses
from pytofu.cli.output import (
    Output,
    duration_text,
    example,
    harmless,
    json_option,
    number_of,
    progress_bar,
    size_text,
)
from pytofu.cli.receiving import Incoming, RefusedError
from pytofu.cli.running import in_words, until_interrupted
from pytofu.cli.serving import answer, serve
from pytofu.cli.transfer import ERROR, FILE, SHA256, SIZE


@attrs.define
class _Transfer:
    """What a channel is sending: one file at a time."""

    message_id: int
    name: str
    started: float = attrs.field(factory=trio.current_time)
    incoming: Incoming | None = None
    """None when the file was refused: its other parts are on their way and are dropped."""
    bar: rich.progress.TaskID | None = None


class FileServer:
    """The service: every file goes to the one directory, or is refused."""

    def __init__(
        self, chnls: ChannelGroup, directory: Path, output: Output, *, overwrite: bool
    ) -> None:
        self._chnls = chnls
        self._directory = directory
        self._output = output
        self._overwrite = overwrite
        self._transfers: dict[int, _Transfer] = {}
        self._stored = 0
        self._octets = 0
        self.bars: rich.progress.Progress = progress_bar(output)

    def listening(self, address: ServerAddress) -> None:
        """Say so."""
        text = address_text(address)
        self._output.record({"event": "listening", "address": text}, f"listening on {text}")

    def opened(self, channel: int, hello: Message) -> None:
        """Nothing to do: what counts is files."""

    async def received(self, holder: Holder[Message]) -> None:
        """Take in a part of a file, and answer when it is stored or refused."""
        message = holder.unwrap()
        if message.opcode is not OpCode.REQUEST:
            return
        channel, more = message.channel_number, message.has_more()
        reply: tuple[str, str] | None = None
        transfer = self._transfers.get(channel)
        fresh = transfer is None or transfer.message_id != message.message_id
        if transfer is None or fresh:
            self._drop(channel, "another one came")
            transfer = _Transfer(message.message_id, message.text_headers.get(FILE) or "")
            self._transfers[channel] = transfer
        try:
            if fresh:
                await self._begin(transfer, message.text_headers.get(SIZE) or "")
            if transfer.incoming is not None:
                await trio.to_thread.run_sync(transfer.incoming.write, message.payload)
                self._draw(transfer, transfer.incoming)
                if not more:
                    sha256 = message.text_headers.get(SHA256)
                    reply = (SHA256, await self._store(transfer, transfer.incoming, sha256))
        except (RefusedError, OSError) as error:
            reason = error.strerror or "" if isinstance(error, OSError) else str(error)
            self._refuse(transfer, reason)
            reply = (ERROR, reason)
        if not more:
            del self._transfers[channel]
        if reply is not None:
            message.opcode = OpCode.RESPONSE
            message.more = False
            message.text_headers.clear()
            message.text_headers.append(*reply)
            message.set_payload(b"")
            await answer(self._chnls, holder)

    async def _begin(self, transfer: _Transfer, size: str) -> None:
        if not transfer.name:
            raise RefusedError("not a file: the first message has to name it")
        if not (size.isascii() and size.isdigit() and len(size) < 19):
            raise RefusedError("the first message has to say how many bytes the file has")
        open_file = partial(Incoming, overwrite=self._overwrite)
        transfer.incoming = await trio.to_thread.run_sync(
            open_file, self._directory, transfer.name, int(size)
        )
        transfer.bar = self.bars.add_task(harmless(transfer.name), total=int(size))

    def _draw(self, transfer: _Transfer, incoming: Incoming) -> None:
        assert transfer.bar is not None
        self.bars.update(transfer.bar, completed=incoming.received)

    async def _store(self, transfer: _Transfer, incoming: Incoming, sha256: str | None) -> str:
        stored = await trio.to_thread.run_sync(incoming.store, sha256)
        self._forget(transfer)
        self._stored += 1
        self._octets += incoming.size
        seconds = trio.current_time() - transfer.started
        self._output.record(
            {
                "event": "stored",
                "file": transfer.name,
                "bytes": incoming.size,
                "sha256": stored,
                "seconds": round(seconds, 4),
            },
            f"stored {harmless(transfer.name)}: {size_text(incoming.size)}"
            f" in {duration_text(seconds)}\n  sha256 {stored}",
        )
        return stored

    def _forget(self, transfer: _Transfer) -> None:
        """The file is no longer on its way: it is stored, or has to go."""
        transfer.incoming = None
        if transfer.bar is not None:
            self.bars.remove_task(transfer.bar)
            transfer.bar = None

    def _refuse(self, transfer: _Transfer, reason: str) -> None:
        if transfer.incoming is not None:
            transfer.incoming.discard()
        self._forget(transfer)
        self._output.record(
            {"event": "refused", "file": transfer.name, "reason": reason},
            f"refused {harmless(transfer.name) or 'a message'}: {reason}",
        )

    def _drop(self, channel: int, reason: str) -> None:
        """Forget what the channel was sending, and say so if it was a file."""
        transfer = self._transfers.pop(channel, None)
        if transfer is not None and transfer.incoming is not None:
            self._refuse(transfer, f"not complete, {reason}")

    def closed(self, channel: int, reason: AmpeStatus) -> None:
        """Drop what was not complete."""
        self._drop(channel, in_words(reason))

    def end(self) -> None:
        """Drop everything that is not complete."""
        for channel in list(self._transfers):
            self._drop(channel, "the server ends")

    def summarise(self) -> None:
        """Print how much was stored."""
        self._output.record(
            {"event": "summary", "files": self._stored, "bytes": self._octets},
            f"{number_of(self._stored, 'file')} stored, {size_text(self._octets)}",
        )


async def serve_files(
    directory: Path,
    addresses: Sequence[ServerAddress],
    output: Output,
    *,
    overwrite: bool = False,
    task_status: trio.TaskStatus[Sequence[ServerAddress]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until Ctrl-C, then print a summary. Raises `CommandError` when it cannot listen.

    However it ends, incomplete files are removed.
    """
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        service = FileServer(chnls, directory, output, overwrite=overwrite)
        try:
            async with until_interrupted(), trio.open_nursery() as nursery:
                bound = await nursery.start(serve, ampe, chnls, addresses, service)
                nursery.start_soon(output.show, lambda: service.bars)
                task_status.started(bound)
        finally:
            service.end()
        service.summarise()


@click.command("serve-files", epilog=example("pytofu serve-files ./inbox tcp://127.0.0.1:7099"))
@click.argument(
    "directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument(
    "addresses", metavar="ADDRESS...", nargs=-1, required=True, callback=to_server_addresses
)
@click.option("--overwrite", is_flag=True, help="Let a file replace one of the same name.")
@json_option
def command(
    directory: Path, addresses: Sequence[ServerAddress], overwrite: bool, as_json: bool
) -> None:
    """Store the files that `pytofu put` sends, until Ctrl-C.

    Nothing outside DIR is touched, whatever name a file has, and a file gets its name only when
    it is complete and its SHA-256 hash is right. Anybody who can connect can store files: listen
    where only those can connect who may.
    """
    work = partial(serve_files, overwrite=overwrite)
    trio.run(work, directory, addresses, Output(as_json=as_json))
