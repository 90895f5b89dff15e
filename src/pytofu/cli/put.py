"""`pytofu put`: send a file to `pytofu serve-files`."""

import hashlib
import os
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import click
import trio
from rich.console import RenderableType

from pytofu import AmpeException
from pytofu.cli.conversation import Conversation, Received, dial
from pytofu.cli.endpoints import Target, connecting
from pytofu.cli.inputs import open_regular
from pytofu.cli.options import example, json_option
from pytofu.cli.output import Output, duration_text, harmless, progress_bar, size_text
from pytofu.cli.running import CommandError, naming, unless_interrupted
from pytofu.cli.transfer import ERROR, FILE, SHA256, SIZE, name_to_header

_PART_LEN: Final = 60 * 1024


class Upload:
    """One file on its way."""

    def __init__(self, conversation: Conversation, path: Path, file: BinaryIO, name: str) -> None:
        self._conversation = conversation
        self._path = path
        self._file = file
        self._name = name
        self._status = os.fstat(file.fileno())
        self.size: int = self._status.st_size
        """Bytes of the file."""
        self._digest = hashlib.sha256()
        self.sent: int = 0
        """Bytes handed over so far."""

    async def run(self) -> str:
        """Send the file and return its hash, which the server has found to be the same.

        Raises `CommandError` when the server has not stored it.
        """
        try:
            message_id = await self._conversation.send_part(
                headers=[(FILE, name_to_header(self._name)), (SIZE, str(self.size))],
                more=True,
            )
        except AmpeException as error:
            raise CommandError(f"this name cannot be sent, see --name: {error}") from error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_parts, message_id)
            # An answer before the end is a refusal: the rest would be sent in vain.
            answer = await self._conversation.answer_to(message_id)
            nursery.cancel_scope.cancel()
        return self._check(answer)

    async def _send_parts(self, message_id: int) -> None:
        while part := await trio.to_thread.run_sync(self._read):
            await self._conversation.send_part(message_id, body=part, more=True)
            self.sent += len(part)
        await self._conversation.send_part(
            message_id, headers=[(SHA256, self._digest.hexdigest())], more=False
        )

    def _read(self) -> bytes:
        """The next part, empty at the end. Raises `CommandError` if the file has changed."""
        with naming(str(self._path)):
            part = self._file.read(_PART_LEN)
        self._digest.update(part)
        sent = self.sent + len(part)
        if not part or sent > self.size:
            now = os.fstat(self._file.fileno())
            if sent != self.size or now.st_mtime_ns != self._status.st_mtime_ns:
                raise CommandError(f"{self._path} has changed while it was being sent")
        return part

    def _check(self, answer: Received) -> str:
        error = answer.header(ERROR)
        if error is not None:
            raise CommandError(f"{self._conversation.where}: {harmless(error)}")
        if answer.header(SHA256) != self._digest.hexdigest():
            raise CommandError(f"{self._conversation.where} answers, but not as serve-files does")
        return self._digest.hexdigest()


async def put(path: Path, target: Target, name: str, output: Output) -> None:
    """Send a file and say how it went.

    Raises `CommandError` when it was not stored, `OSError` when it cannot be read.
    """
    with open_regular(path) as file:
        async with dial(target) as conversation:
            upload = Upload(conversation, path, file, name)
            started = time.perf_counter()
            bar = progress_bar(output)
            task = bar.add_task(harmless(path.name), total=upload.size)

            def draw() -> RenderableType:
                bar.update(task, completed=upload.sent)
                return bar

            async with trio.open_nursery() as nursery:
                nursery.start_soon(output.show, draw)
                sha256 = await upload.run()
                nursery.cancel_scope.cancel()
    seconds = time.perf_counter() - started
    rate = upload.size / seconds
    output.record(
        {
            "file": name,
            "bytes": upload.size,
            "sha256": sha256,
            "seconds": round(seconds, 4),
            "bytes_per_second": round(rate),
        },
        f"{harmless(name)}: {size_text(upload.size)} in {duration_text(seconds)},"
        f" {size_text(rate)}/s\n  sha256 {sha256}",
    )


@click.command("put", epilog=example("pytofu put movie.mp4 tcp://127.0.0.1:7099"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@connecting
@click.option("--name", help="Store it under this name; the file's own is the default.")
@json_option
def command(file: Path, target: Target, name: str | None, as_json: bool) -> None:
    """Send a file to `pytofu serve-files`.

    It is done when the server has stored the file and found its SHA-256 hash to be right.
    """
    if name == "":
        raise click.UsageError("--name is empty")
    work = partial(put, file, target, name or file.name, Output(as_json=as_json))
    trio.run(unless_interrupted, work)
