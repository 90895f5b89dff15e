"""`pytofu serve-files`: receive files into a directory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
import trio

from pytofu import Ampe, AmpeStatus, ChannelGroup, Holder, Message, OpCode
from pytofu.cli.endpoints import Places, listening
from pytofu.cli.leftovers import remove_leftovers
from pytofu.cli.options import Seconds, example, json_option
from pytofu.cli.output import Output, number_of, size_text
from pytofu.cli.running import in_words, until_interrupted
from pytofu.cli.serving import serve
from pytofu.cli.uploads import Client, Limits, Storage
from pytofu.values.address_text import ServerAddress, address_text

_TIDY_INTERVAL: Final = 3600.0  # seconds


class FileServer:
    """The service: a task for each client takes in what it sends."""

    def __init__(
        self, ampe: Ampe, chnls: ChannelGroup, storage: Storage, nursery: trio.Nursery
    ) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._storage = storage
        self._nursery = nursery
        self._clients: dict[int, Client] = {}

    def listening(self, address: ServerAddress) -> None:
        """Say so."""
        text = address_text(address)
        self._storage.output.record({"event": "listening", "address": text}, f"listening on {text}")

    def opened(self, channel: int, hello: Message) -> None:
        """Begin to wait for files."""
        client = Client(self._ampe, self._chnls, channel, self._storage)
        self._clients[channel] = client
        self._nursery.start_soon(client.run)

    def received(self, holder: Holder[Message]) -> None:
        """Leave it to the client's task."""
        message = holder.unwrap()
        if message.opcode is OpCode.REQUEST:
            self._clients[message.channel_number].received(holder)

    def closed(self, channel: int, reason: AmpeStatus) -> None:
        """Let the client's task end."""
        self._clients.pop(channel).closed(in_words(reason))


async def tidy(storage: Storage) -> None:
    """Remove what is left of uploads that nobody can or will go on with, again and again."""
    limits = storage.limits
    while True:
        # The thread may be left alone: what it removes is nobody's.
        before = storage.kept
        removed, found = await trio.to_thread.run_sync(
            remove_leftovers,
            *(storage.directory, limits.keep, limits.max_uploads),
            abandon_on_cancel=True,
        )
        # With what has been kept, or gone on with, meanwhile: twice counted is better than not.
        storage.kept = max(0, found + storage.kept - before)
        if removed:
            storage.output.record(
                {"event": "tidied", "files": removed},
                f"removed what was left of {number_of(removed, 'incomplete file')}",
            )
        await trio.sleep(_TIDY_INTERVAL)


async def serve_files(
    directory: Path,
    places: Places,
    output: Output,
    *,
    overwrite: bool = False,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[Sequence[ServerAddress]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until Ctrl-C, then print a summary. Raises `CommandError` when it cannot listen.

    However it ends, incomplete files are removed, but for those that clients can go on with.
    """
    storage = Storage(directory, output, limits or Limits(), overwrite=overwrite)
    async with places.open_engine() as ampe, ampe.open_channel_group() as chnls:
        async with until_interrupted(), trio.open_nursery() as nursery:
            service = FileServer(ampe, chnls, storage, nursery)
            bound = await nursery.start(serve, ampe, chnls, places.addresses, service)
            nursery.start_soon(tidy, storage)
            nursery.start_soon(output.show, lambda: storage.bars)
            task_status.started(bound)
        output.record(
            {"event": "summary", "files": storage.files, "bytes": storage.octets},
            f"{number_of(storage.files, 'file')} stored, {size_text(storage.octets)}",
        )


@click.command("serve-files", epilog=example("pytofu serve-files ./inbox tcp://127.0.0.1:7099"))
@click.argument(
    "directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@listening
@click.option("--overwrite", is_flag=True, help="Let a file replace one of the same name.")
@click.option(
    "--max-size",
    type=click.IntRange(0),
    metavar="BYTES",
    help="Refuse files that have more; else the disk is the limit.",
)
@click.option(
    "--max-uploads",
    type=click.IntRange(1),
    metavar="N",
    default=Limits().max_uploads,
    show_default=True,
    help="Refuse more files on their way at the same time.",
)
@click.option(
    "--idle-timeout",
    type=Seconds(0.001, 86400),
    metavar="SECONDS",
    default=Limits().idle_timeout,
    show_default=True,
    help="Disconnect a client that sends nothing for so long.",
)
@click.option(
    "--keep",
    type=Seconds(0, 10**9),
    metavar="SECONDS",
    default=Limits().keep,
    show_default=True,
    help="How long a client may come back to go on with an upload that was cut.",
)
@json_option
def command(
    directory: Path,
    places: Places,
    overwrite: bool,
    max_size: int | None,
    max_uploads: int,
    idle_timeout: float,
    keep: float,
    as_json: bool,
) -> None:
    """Store the files that `pytofu put` sends, until Ctrl-C.

    Nothing outside DIR is touched, whatever name a file has, and a file gets its name only when
    it is complete and its SHA-256 hash is right. Anybody who can connect can store files: listen
    where only those can connect who may.
    """
    limits = Limits(
        max_size=max_size, max_uploads=max_uploads, idle_timeout=idle_timeout, keep=keep
    )
    work = partial(serve_files, overwrite=overwrite, limits=limits)
    trio.run(work, directory, places, Output(as_json=as_json))
