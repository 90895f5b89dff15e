"""`pytofu decode`: frames in a readable tree, and where bytes break the protocol."""

import base64
import os
import re
import sys
from typing import Final

import attrs
import click
from rich.text import Text
from rich.tree import Tree

from pytofu.cli.captures import Stream, is_capture, read_capture
from pytofu.cli.frames import (
    Break,
    Frame,
    Side,
    describe_header,
    guess_side,
    hex_dump,
    read_frames,
)
from pytofu.cli.inputs import read_input
from pytofu.cli.options import example, json_option
from pytofu.cli.output import Output, harmless, number_of
from pytofu.cli.running import CommandError
from pytofu.values.header import MORE_BIT

_HEX: Final = re.compile(rb"(?:0[xX])?[0-9a-fA-F\s:]*")
_MOST: Final = 256 * 1024 * 1024
"""Bytes read from what may have no end."""
_CONTEXT: Final = 48  # bytes shown of a broken frame


@attrs.frozen
class _Source:
    """Bytes that one side sent, and where they come from."""

    name: str
    data: bytes
    side: Side
    stream: Stream | None = None

    def place(self, offset: int) -> str:
        """Where a byte is, in words."""
        if self.stream is None:
            return f"byte {offset}"
        return f"byte {offset} (packet {self.stream.packet_at(offset)})"


def from_hex(text: bytes) -> bytes | None:
    """The bytes of hexadecimal digits, blanks and colons between them; None for anything else."""
    if not _HEX.fullmatch(text.strip()):
        return None
    digits = re.sub(rb"[\s:]|0[xX]", b"", text).decode()
    return bytes.fromhex(digits) if len(digits) % 2 == 0 else None


def _input(argument: str) -> tuple[str, bytes]:
    """What to decode: a name for it, and its bytes. Raises `CommandError`, `OSError`."""
    if argument == "-":
        if sys.stdin is not None and sys.stdin.isatty():
            raise click.UsageError("name a FILE, give bytes in HEX, or pipe something in")
        name, data = "standard input", read_input(argument, _MOST)
    elif os.path.exists(argument):
        name, data = argument, read_input(argument, _MOST)
    else:
        name, data = "bytes", argument.encode(errors="replace")
        if from_hex(data) is None:
            raise CommandError(f"neither a file nor bytes in hexadecimal: {argument!r:.80}")
    found = from_hex(data)
    return harmless(name), data if found is None else found


def _sources(name: str, data: bytes, port: int | None, whole: bool) -> tuple[list[_Source], str]:
    """The directions in the input, and what was wrong with the input itself, if anything."""
    if not is_capture(data):
        side = guess_side(data)
        if whole and side is Side.UNKNOWN:
            side = Side.CONNECTING  # which then is what its first message breaks
        return [_Source(name, data, side)], ""
    capture = read_capture(data, port)
    sources: list[_Source] = []
    for stream in capture.streams:
        side = guess_side(stream.data)
        if stream.from_start:
            side = Side.CONNECTING if stream.connecting else Side.ACCEPTING
        sources.append(_Source(f"{stream.source} to {stream.target}", stream.data, side, stream))
    return sources, f"{name}: {capture.problem}" if capture.problem else ""


def decode(
    argument: str, output: Output, *, port: int | None, whole: bool, body_bytes: int
) -> None:
    """Print what is in the input. Raises `CommandError` if it breaks the protocol anywhere."""
    name, data = _input(argument)
    sources, problem = _sources(name, data, port, whole)
    if not data or not (sources or problem):
        problem = f"{name}: nothing to decode"
    for source in sources:
        frames = list(read_frames(source.data, source.side))
        _print(source, frames, output, body_bytes)
        for frame in frames:
            if isinstance(frame, Break) and not problem:
                problem = f"{source.name}: {source.place(frame.offset)}: {frame.why}"
    if problem:
        raise CommandError(problem)


def _print(source: _Source, frames: list[Frame | Break], output: Output, body_bytes: int) -> None:
    if output.as_json:
        for frame in frames:
            record = _frame_record(frame) if isinstance(frame, Frame) else _break_record(frame)
            output.record({"source": source.name, **record}, "")
        return
    tree = Tree(
        Text(f"{source.name}: {number_of(len(source.data), 'byte')} from {source.side.value}"),
        highlight=False,
    )
    for frame in frames:
        if isinstance(frame, Frame):
            _add_frame(tree, frame, source, body_bytes)
        else:
            _add_break(tree, frame, source)
    if source.stream is not None and source.stream.missing:
        missing = source.stream.missing
        tree.add(Text(f"{missing:,} bytes are missing here in the capture", "yellow"))
    output.print(tree)


def _add_frame(tree: Tree, frame: Frame, source: _Source, body_bytes: int) -> None:
    label = Text.assemble(
        (frame.opcode.name, "bold"), f" at {source.place(frame.offset)}, {frame.length:,} bytes"
    )
    branch = tree.add(label)
    branch.add(Text(describe_header(frame.header)))
    if frame.header.text_headers_len:
        headers = branch.add(
            Text(f"text headers, {frame.header.text_headers_len:,} bytes at byte {frame.text_at}")
        )
        for name, value in frame.text_headers:
            headers.add(Text(f"{harmless(name)}: {harmless(value)}"))
    if frame.body:
        lines = [f"body, {len(frame.body):,} bytes at byte {frame.body_at}"]
        lines += hex_dump(frame.body[:body_bytes], frame.body_at)
        if len(frame.body) > body_bytes:
            lines.append(f"and {len(frame.body) - body_bytes:,} more")
        branch.add(Text("\n".join(lines)))


def _add_break(tree: Tree, found: Break, source: _Source) -> None:
    what = "ends too early" if found.error is None else f"breaks the protocol: {found.error.name}"
    branch = tree.add(Text(f"{what}, at {source.place(found.offset)}", "bold red"))
    branch.add(Text(f"in the frame that begins at byte {found.frame_offset}: {found.why}"))
    if found.header is not None:
        branch.add(Text(describe_header(found.header)))
    shown = source.data[found.frame_offset : found.frame_offset + _CONTEXT]
    dump = Text("\n".join(hex_dump(shown, found.frame_offset)))
    if found.error is not None:  # the proto byte, in the first line
        first = dump.plain.index("  ") + 2 + 3 * (found.offset - found.frame_offset)
        dump.stylize("bold red", first, first + 2)
    branch.add(dump)


def _frame_record(frame: Frame) -> dict[str, object]:
    header = frame.header
    proto = header.proto_byte
    return {
        "offset": frame.offset,
        "length": frame.length,
        "opcode": frame.opcode.name,
        "more": bool(proto & MORE_BIT),
        "channel": header.channel_number,
        "status": header.status,
        "id": header.message_id,
        "headers": [list(pair) for pair in frame.text_headers],
        "body": base64.b64encode(frame.body).decode(),
    }


def _break_record(found: Break) -> dict[str, object]:
    error = None if found.error is None else found.error.name.lower()
    return {
        "broken_at": found.offset,
        "frame_at": found.frame_offset,
        "error": error,
        "why": found.why,
    }


@click.command(
    "decode",
    short_help="Show captured frames, and where they are broken.",
    epilog=example("pytofu decode capture.pcap --port 7099"),
)
@click.argument("source", metavar="[FILE|HEX]", default="-")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Of a pcap: only this TCP port."
)
@click.option(
    "--whole", is_flag=True, help="The bytes begin where the channel does: hold them to that."
)
@click.option(
    "--body-bytes",
    type=click.IntRange(0),
    metavar="N",
    default=64,
    show_default=True,
    help="How much of each body to show.",
)
@json_option
def command(source: str, port: int | None, whole: bool, body_bytes: int, as_json: bool) -> None:
    """Show the frames in captured bytes, and where they break the protocol.

    Takes a pcap or pcapng file, a file with the bytes that one side sent, or bytes in
    hexadecimal; standard input without an argument. Fails, naming the byte and the reason, if the
    bytes break the protocol or end within a frame.
    """
    decode(source, Output(as_json=as_json), port=port, whole=whole, body_bytes=body_bytes)
