"""What one client of `serve-files` sends: files, one after the other, each in its parts."""

import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import rich.progress
import trio

from pytofu import Ampe, ChannelGroup, Holder, Message, OpCode, Options, borrowed_message
from pytofu.cli.output import (
    Output,
    duration_text,
    harmless,
    number_of,
    progress_bar,
    size_text,
)
from pytofu.cli.receiving import Incoming, RefusedError
from pytofu.cli.serving import answer, give_up
from pytofu.cli.transfer import ERROR, FILE, OFFSET, SHA256, SIZE, name_from_header

_WAITING: Final = Options().max_pool_msgs
"""Messages that a client may have waiting: more than the engine lets this program hold, so that it
holds the client back before that."""
_BYE_PATIENCE: Final = 5.0  # seconds
_HASH: Final = re.compile("[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class Limits:
    """What clients may do."""

    max_size: int | None = None
    """Bytes of a file."""
    max_uploads: int = 100
    """Files on their way at the same time, of all clients."""
    idle_timeout: float = 60.0
    """Seconds after which a client that sends nothing is disconnected."""
    keep: float = 86400.0
    """Seconds for which what came of a file is kept when its upload was cut."""


class Storage:
    """The directory, what all clients have in common there, and what became of it."""

    def __init__(self, directory: Path, output: Output, limits: Limits, *, overwrite: bool) -> None:
        self.directory: Path = directory
        self.output: Output = output
        self.limits: Limits = limits
        self.overwrite: bool = overwrite
        self.uploads: int = 0
        """Files on their way."""
        self.kept: int = 0
        """Files whose upload was cut, and that may be gone on with."""
        self.files: int = 0
        """Files stored."""
        self.octets: int = 0
        """Bytes of them."""
        self.bars: rich.progress.Progress = progress_bar(output)


@attrs.define
class _Transfer:
    """A file on its way."""

    message_id: int
    name: str = ""
    counted: bool = False
    """Whether it is one of the uploads of `Storage`."""
    started: float = attrs.field(factory=trio.current_time)
    incoming: Incoming | None = None
    """None when the file was refused: its other parts are on their way and are dropped."""
    bar: rich.progress.TaskID | None = None


class Client:
    """A channel, and the task that takes in what arrives there: a slow one delays no other."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup, channel: int, storage: Storage) -> None:
        self._ampe = ampe
        self._chnls = chnls
        self._channel = channel
        self._storage = storage
        self._transfer: _Transfer | None = None
        self._put, self._waiting = trio.open_memory_channel[Holder[Message]](_WAITING)
        self._why_ended = "the server ends"

    def received(self, holder: Holder[Message]) -> None:
        """Take a message over; a client with too many of them waiting is given up."""
        try:
            self._put.send_nowait(Holder(holder.value))
        except trio.WouldBlock:
            holder.unwrap().reset()
            give_up(self._chnls, self._channel, holder)
        else:
            holder.take()

    def closed(self, reason: str) -> None:
        """The channel has closed: nothing more comes."""
        self._why_ended = reason
        self._put.close()

    async def run(self) -> None:
        """Take in what the client sends, until its channel has closed or it has been quiet long.

        However it ends, what is not complete is removed.
        """
        try:
            while (holder := await self._next()) is not None:
                try:
                    await self._take(holder)
                finally:
                    self._ampe.put(holder)
            await self._send_away()
        except trio.EndOfChannel:
            pass
        finally:
            self._drop(f"not complete, {self._why_ended}")
            with suppress(trio.EndOfChannel, trio.WouldBlock):
                while True:
                    self._ampe.put(self._waiting.receive_nowait())

    async def _next(self) -> Holder[Message] | None:
        """The next message; None when none has come for long. Raises `trio.EndOfChannel`."""
        with trio.move_on_after(self._storage.limits.idle_timeout):
            return await self._waiting.receive()
        return None

    async def _take(self, holder: Holder[Message]) -> None:
        """Take in a part of a file, and answer when it is stored or refused."""
        message = holder.unwrap()
        more = message.has_more()
        reply: tuple[str, str] | None = None
        transfer = self._transfer
        fresh = transfer is None or transfer.message_id != message.message_id
        if transfer is None or fresh:
            self._drop("not complete, another one came")
            transfer = self._transfer = _Transfer(message.message_id)
        try:
            if fresh:
                await self._begin(transfer, message)
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
            self._transfer = None
        if reply is not None:
            self._reply(holder, reply)

    async def _begin(self, transfer: _Transfer, message: Message) -> None:
        storage = self._storage
        try:
            transfer.name = name_from_header(message.text_headers.get(FILE) or "")
        except ValueError as error:
            raise RefusedError(str(error)) from None
        if not transfer.name:
            raise RefusedError("not a file: the first message has to name it")
        digits = message.text_headers.get(SIZE) or ""
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise RefusedError("the first message has to say how many bytes the file has")
        size, most = int(digits), storage.limits.max_size
        if most is not None and size > most:
            raise RefusedError(f"it has {size:,} bytes, and {most:,} are the most here")
        if storage.uploads >= storage.limits.max_uploads:
            on_the_way = number_of(storage.uploads, "file")
            raise RefusedError(f"{on_the_way} on the way already: try again later")
        storage.uploads += 1
        transfer.counted = True
        sha256 = message.text_headers.get(SHA256)
        if sha256 is not None and not _HASH.fullmatch(sha256):
            raise RefusedError("the sha256 is none")
        lasting = sha256 if storage.limits.keep else None
        open_file = partial(Incoming, overwrite=storage.overwrite, sha256=lasting)
        transfer.incoming = await trio.to_thread.run_sync(
            open_file, storage.directory, transfer.name, size
        )
        if sha256 is not None:
            self._say_offset(transfer, transfer.incoming)
        transfer.bar = storage.bars.add_task(harmless(transfer.name), total=size)

    def _say_offset(self, transfer: _Transfer, incoming: Incoming) -> None:
        """Tell the client where to go on."""
        if incoming.received:
            self._storage.kept = max(0, self._storage.kept - 1)
        with borrowed_message(self._ampe) as holder:
            self._address(holder, transfer.message_id)
            self._reply(holder, (OFFSET, str(incoming.received)), more=True)

    def _draw(self, transfer: _Transfer, incoming: Incoming) -> None:
        assert transfer.bar is not None
        self._storage.bars.update(transfer.bar, completed=incoming.received)

    async def _store(self, transfer: _Transfer, incoming: Incoming, sha256: str | None) -> str:
        stored = await trio.to_thread.run_sync(incoming.store, sha256)
        storage = self._storage
        self._forget(transfer)
        storage.files += 1
        storage.octets += incoming.size
        seconds = trio.current_time() - transfer.started
        storage.output.record(
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
        if transfer.counted:
            self._storage.uploads -= 1
            transfer.counted = False
        if transfer.bar is not None:
            self._storage.bars.remove_task(transfer.bar)
            transfer.bar = None

    def _refuse(self, transfer: _Transfer, reason: str) -> None:
        if transfer.incoming is not None:
            transfer.incoming.discard()
        self._forget(transfer)
        self._storage.output.record(
            {"event": "refused", "file": transfer.name, "reason": reason},
            f"refused {harmless(transfer.name) or 'a message'}: {reason}",
        )

    def _drop(self, reason: str) -> None:
        """Forget what the client was sending, and say so if it was a file."""
        transfer, self._transfer = self._transfer, None
        if transfer is None or transfer.incoming is None:
            return
        incoming, storage = transfer.incoming, self._storage
        if incoming.lasting and incoming.received and storage.kept < storage.limits.max_uploads:
            storage.kept += 1
            incoming.leave()
            self._forget(transfer)
            storage.output.record(
                {
                    "event": "cut",
                    "file": transfer.name,
                    "bytes": incoming.received,
                    "reason": reason,
                },
                f"kept {size_text(incoming.received)} of {harmless(transfer.name)}: {reason}",
            )
        else:
            self._refuse(transfer, reason)

    def _reply(
        self, holder: Holder[Message], header: tuple[str, str], *, more: bool = False
    ) -> None:
        message = holder.unwrap()
        message.opcode = OpCode.RESPONSE
        message.more = more
        message.text_headers.clear()
        message.text_headers.append(*header)
        message.set_payload(b"")
        answer(self._chnls, holder)

    async def _send_away(self) -> None:
        """Say why and bye to a client that is quiet, and wait until its channel has closed.

        Raises `trio.EndOfChannel` then.
        """
        reason = f"nothing came for {self._storage.limits.idle_timeout:g} s"
        with borrowed_message(self._ampe) as holder:
            if self._transfer is not None and self._transfer.incoming is not None:
                self._address(holder, self._transfer.message_id)
                self._drop(reason)
                self._reply(holder, (ERROR, reason))
        with borrowed_message(self._ampe) as holder:
            self._address(holder, 0)
            holder.unwrap().opcode = OpCode.BYE_REQUEST
            answer(self._chnls, holder)
        with trio.move_on_after(_BYE_PATIENCE):
            await self._drain()
        with borrowed_message(self._ampe) as holder:
            give_up(self._chnls, self._channel, holder)
        await self._drain()

    def _address(self, holder: Holder[Message], message_id: int) -> None:
        message = holder.unwrap()
        message.channel_number = self._channel
        message.message_id = message_id

    async def _drain(self) -> None:
        while True:
            self._ampe.put(await self._waiting.receive())
