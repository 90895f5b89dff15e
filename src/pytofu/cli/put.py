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
from pytofu.cli.transfer import ERROR, FILE, OFFSET, SHA256, SIZE, name_to_header

_PART_LEN: Final = 60 * 1024
_PIECE: Final = 1 << 20


class _ChangedError(CommandError):
    """The file is no longer the one that was announced."""


class Upload:
    """One file on its way."""

    def __init__(self, path: Path, file: BinaryIO, name: str) -> None:
        self._path = path
        self._file = file
        self._name = name
        self._status = os.fstat(file.fileno())
        self.size: int = self._status.st_size
        """Bytes of the file."""
        self.sha256: str = ""
        """The hash of its content, once `identify` has found it."""
        self.offset: int = 0
        """Bytes that the server had from an upload that was cut."""
        self._changed: _ChangedError | None = None
        self.sent: int = 0
        """Bytes that the server had, or that were handed over, so far."""

    async def identify(self) -> None:
        """Find the file's hash: the server knows by it whether it has a part of this very file."""
        digest = hashlib.sha256()
        while part := await trio.to_thread.run_sync(self._read, _PIECE):
            await trio.to_thread.run_sync(digest.update, part)
        self.sha256 = digest.hexdigest()

    async def run(self, conversation: Conversation) -> None:
        """Send what the server has not got of the file.

        Raises `CommandError` when the server has not stored it, with the same hash.
        """
        headers = [(FILE, name_to_header(self._name)), (SIZE, str(self.size))]
        try:
            message_id = await conversation.send_part(
                headers=[*headers, (SHA256, self.sha256)], more=True
            )
        except AmpeException as error:
            raise CommandError(f"this name cannot be sent, see --name: {error}") from error
        await self._go_to_offset(conversation, await conversation.answer_to(message_id))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_parts, conversation, message_id)
            # An answer before the end is a refusal: the rest would be sent in vain.
            answer = await conversation.answer_to(message_id)
            nursery.cancel_scope.cancel()
        if self._changed is not None:
            raise self._changed
        self._check(conversation, answer)
        if answer.header(SHA256) != self.sha256:
            raise CommandError(_other_server(conversation))

    async def _go_to_offset(self, conversation: Conversation, answer: Received) -> None:
        self._check(conversation, answer)
        digits = answer.header(OFFSET) or ""
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise CommandError(_other_server(conversation))
        self.sent = self.offset = min(int(digits), self.size)
        with naming(str(self._path)):
            await trio.to_thread.run_sync(self._file.seek, self.offset)

    async def _send_parts(self, conversation: Conversation, message_id: int) -> None:
        sha256 = [(SHA256, self.sha256)]
        try:
            while part := await trio.to_thread.run_sync(self._read_part):
                await conversation.send_part(message_id, body=part, more=True)
                self.sent += len(part)
        except _ChangedError as error:
            self._changed = error
            sha256 = []  # so that the server refuses it, and keeps nothing
        await conversation.send_part(message_id, headers=sha256, more=False)

    def _read(self, most: int) -> bytes:
        with naming(str(self._path)):
            return self._file.read(most)

    def _read_part(self) -> bytes:
        """The next part, empty at the end. Raises `_ChangedError`."""
        part = self._read(_PART_LEN)
        sent = self.sent + len(part)
        if not part or sent > self.size:
            now = os.fstat(self._file.fileno())
            if sent != self.size or now.st_mtime_ns != self._status.st_mtime_ns:
                raise _ChangedError(f"{self._path} has changed while it was being sent")
        return part

    @staticmethod
    def _check(conversation: Conversation, answer: Received) -> None:
        error = answer.header(ERROR)
        if error is not None:
            raise CommandError(f"{conversation.where}: {harmless(error)}")


def _other_server(conversation: Conversation) -> str:
    return f"{conversation.where} answers, but not as serve-files does"


async def put(path: Path, target: Target, name: str, output: Output) -> None:
    """Send a file and say how it went.

    Raises `CommandError` when it was not stored, `OSError` when it cannot be read.
    """
    with open_regular(path) as file:
        upload = Upload(path, file, name)
        await upload.identify()
        async with dial(target) as conversation:
            started = time.perf_counter()
            bar = progress_bar(output)
            task = bar.add_task(harmless(path.name), total=upload.size)

            def draw() -> RenderableType:
                bar.update(task, completed=upload.sent)
                return bar

            async with trio.open_nursery() as nursery:
                nursery.start_soon(output.show, draw)
                await upload.run(conversation)
                nursery.cancel_scope.cancel()
    seconds = time.perf_counter() - started
    rate = (upload.size - upload.offset) / seconds
    resumed = f", resumed at {size_text(upload.offset)}" if upload.offset else ""
    output.record(
        {
            "file": name,
            "bytes": upload.size,
            "sha256": upload.sha256,
            "resumed_at": upload.offset,
            "seconds": round(seconds, 4),
            "bytes_per_second": round(rate),
        },
        f"{harmless(name)}: {size_text(upload.size)} in {duration_text(seconds)},"
        f" {size_text(rate)}/s{resumed}\n  sha256 {upload.sha256}",
    )


@click.command("put", epilog=example("pytofu put movie.mp4 tcp://127.0.0.1:7099"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@connecting
@click.option("--name", help="Store it under this name; the file's own is the default.")
@json_option
def command(file: Path, target: Target, name: str | None, as_json: bool) -> None:
    """Send a file to `pytofu serve-files`.

    It is done when the server has stored the file and found its SHA-256 hash to be right. Of an
    upload that was cut only the rest is sent, when the same file is sent again.
    """
    if name == "":
        raise click.UsageError("--name is empty")
    work = partial(put, file, target, name or file.name, Output(as_json=as_json))
    trio.run(unless_interrupted, work)
