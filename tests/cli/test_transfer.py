"""`pytofu put` and `pytofu serve-files`, with each other and with peers that misbehave."""

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pytofu import Holder, Message, OpCode, TextHeaders
from pytofu.cli import serve_files
from pytofu.cli.conversation import Conversation
from pytofu.cli.endpoints import Target
from pytofu.cli.leftovers import lasting_name, remove_leftovers
from pytofu.cli.output import Output, harmless
from pytofu.cli.put import Upload, put
from pytofu.cli.transfer import name_from_header, name_to_header
from pytofu.cli.uploads import Limits
from tests.cli.peers import POLITE, Printed, fails, file_server, greet, peer, respond
from tests.cli.terminal import Paper, Terminal
from tests.support import PATIENCE, App, Headers, open_app

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


async def test_a_file_arrives(file: Path, inbox: Path) -> None:
    printed, log = Printed(), Printed()
    async with file_server(inbox, log.output) as address:
        await put(file, Target(address), "copy", printed.output)
    assert (inbox / "copy").read_bytes() == CONTENT
    assert os.listdir(inbox) == ["copy"]
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (record,) = printed.records
    assert (record["file"], record["bytes"], record["sha256"]) == ("copy", len(CONTENT), sha256)
    _, stored, summary = log.records
    assert (stored["event"], stored["file"], stored["sha256"]) == ("stored", "copy", sha256)
    assert summary == {"event": "summary", "files": 1, "bytes": len(CONTENT)}


async def test_an_empty_file_arrives(file: Path, inbox: Path) -> None:
    os.truncate(file, 0)
    async with file_server(inbox, Printed().output) as address:
        await put(file, Target(address), "copy", Printed().output)
    assert (inbox / "copy").read_bytes() == b""


async def test_bars_on_a_terminal(file: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("pytofu.cli.output._REFRESH", 0.01)
    os.truncate(file, 5_000_000)
    screen, log = Terminal(), Terminal()
    async with file_server(inbox, Output(file=log)) as address:
        await put(file, Target(address), "copy", Output(file=screen))
    assert "━" in screen.getvalue()
    assert "/5.0 MB" in screen.getvalue()
    assert "copy: 5 MB in" in screen.getvalue()
    assert "stored copy: 5 MB in" in log.getvalue()
    assert "1 file stored, 5 MB" in log.getvalue()


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "sub/../../x", "missing/x", "a" * 300])
async def test_a_name_that_leads_elsewhere_is_refused(file: Path, inbox: Path, name: str) -> None:
    log = Paper()
    async with file_server(inbox, Output(file=log)) as address:
        with fails(r"not a name|no such directory|name too long"):
            await put(file, Target(address), name, Printed().output)
    assert f"refused {name}: " in log.getvalue()
    assert os.listdir(inbox) == []


async def test_what_is_there_stays(file: Path, inbox: Path) -> None:
    (inbox / "file").write_bytes(b"old")
    async with file_server(inbox, Printed().output) as address:
        with fails("there is such a file already"):
            await put(file, Target(address), "file", Printed().output)
    assert (inbox / "file").read_bytes() == b"old"
    async with file_server(inbox, Printed().output, overwrite=True) as address:
        await put(file, Target(address), "file", Printed().output)
    assert (inbox / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["", "x" * 66_000])
async def test_a_name_that_cannot_be_sent(file: Path, name: str) -> None:
    async with peer() as address:
        with fails("this name cannot be sent"):
            await put(file, Target(address), name, Printed().output)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "plain",
            " leading",
            "trailing ",
            "\t",
            "a\nb",
            "\r\n",
            "\x1b[2J",
            "\udcff\udc80",
            "-dash",
        ),
        *("..dots", "%41", "%", "grün", "a:b|c", "x" * 255, "~", "*", "\u202e", "\N{BOM}"),
    ],
)
async def test_odd_names_are_kept(inbox: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    log = Paper()
    async with file_server(inbox, Output(file=log)) as address:
        await put(tmp_path / name, Target(address), name, Printed().output)
    assert os.listdir(inbox) == [name]
    assert f"stored {harmless(name)}: " in log.getvalue()


@pytest.mark.parametrize("name", ["", ".", "..", "a/", "./a", "a//b", "/a", "a\0b"])
async def test_names_that_cannot_be_kept_are_refused(file: Path, inbox: Path, name: str) -> None:
    async with file_server(inbox, Printed().output) as address:
        with fails("not a name of a file in the directory|this name cannot be sent"):
            await put(file, Target(address), name, Printed().output)
    assert os.listdir(inbox) == []


@given(st.binary(min_size=1))
def test_every_name_survives_the_header(name: bytes) -> None:
    headers = TextHeaders()
    headers.append("file", name_to_header(os.fsdecode(name)))
    value = TextHeaders.from_bytes(headers.to_bytes()).get("file")
    assert value is not None
    assert os.fsencode(name_from_header(value)) == name


def test_a_name_that_is_not_encoded() -> None:
    """It may have lost something on the way."""
    with pytest.raises(ValueError, match="not percent-encoded"):
        name_from_header("gr\N{REPLACEMENT CHARACTER}n")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 5),
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, len(CONTENT) + 1),
        lambda path: os.truncate(path, 10 * len(CONTENT)),
        lambda path: os.utime(path, (0, 0)),
    ],
)
async def test_a_file_that_changes_while_it_is_sent(
    file: Path, inbox: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Upload.run

    async def change_and_run(upload: Upload, conversation: Conversation) -> None:
        change(file)
        await run(upload, conversation)

    monkeypatch.setattr(Upload, "run", change_and_run)
    async with file_server(inbox, Printed().output) as address:
        with fails(f"{file} has changed while it was being sent"):
            await put(file, Target(address), "x", Printed().output)
    assert os.listdir(inbox) == []


async def test_a_file_that_cannot_be_read_to_its_end(
    file: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pytofu.cli.put.open_regular", Broken)
    named = pytest.raises(OSError, check=lambda error: error.filename == str(file))
    async with file_server(inbox, Printed().output) as address:
        with named:
            await put(file, Target(address), "x", Printed().output)
    assert os.listdir(inbox) == []


@pytest.mark.parametrize("content", [CONTENT, b""])
@pytest.mark.parametrize("how", ["client", "server"])
async def test_an_upload_that_was_cut_is_gone_on_with(
    tmp_path: Path, inbox: Path, how: str, content: bytes
) -> None:
    """Whichever side ends; and only the rest is sent."""
    file = tmp_path / "file"
    await trio.Path(file).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    begin = (("file", "copy"), ("size", str(len(content))), ("sha256", sha256))
    half = content[: len(content) // 2][:50_000]
    log, printed = Printed(), Printed()
    async with open_app() as app:
        async with file_server(inbox, log.output) as address:
            number = await greet(app, address)
            app.post(OpCode.REQUEST, number, 100, headers=begin, more=True)
            assert (await app.event()).headers == (("offset", "0"),)
            app.post(OpCode.REQUEST, number, 100, body=half, more=True)
            if how == "client":
                app.post(OpCode.BYE_REQUEST, number)
                await app.events_until_closed(number)
                await log.file.until("the peer said bye")
            else:
                await received(inbox, len(half))
        assert len(os.listdir(inbox)) == (1 if half else 0)
    async with file_server(inbox, log.output) as address:
        await put(file, Target(address), "copy", printed.output)
    assert (inbox / "copy").read_bytes() == content
    assert os.listdir(inbox) == ["copy"]
    assert printed.records[0]["resumed_at"] == len(half)
    cut = [record for record in log.records if record["event"] == "cut"]
    assert [(one["file"], one["bytes"]) for one in cut] == [("copy", len(half))] * bool(half)


async def received(inbox: Path, count: int) -> None:
    """Wait until the one file on its way has so many bytes."""
    with trio.fail_after(5):
        while [entry.stat().st_size for entry in os.scandir(inbox)] != [count]:
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("left", [b"something else", CONTENT + b"too much"])
async def test_what_is_left_and_is_not_of_the_file(file: Path, inbox: Path, left: bytes) -> None:
    """It is found out, removed, and the next attempt succeeds."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (inbox / lasting_name("copy", len(CONTENT), sha256)).write_bytes(left)
    async with file_server(inbox, Printed().output) as address:
        if len(left) < len(CONTENT):
            with fails("another one there"):
                await put(file, Target(address), "copy", Printed().output)
        await put(file, Target(address), "copy", Printed().output)
    assert (inbox / "copy").read_bytes() == CONTENT
    assert os.listdir(inbox) == ["copy"]


@pytest.mark.parametrize("limits", [Limits(keep=0), Limits(max_uploads=1)])
@pytest.mark.parametrize("tidying", [False, True])
async def test_not_everything_is_kept(
    inbox: Path, limits: Limits, tidying: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing at all, or not too many, also of what comes while others are counted."""
    counted, go_on = threading.Event(), threading.Event()

    def remove_slowly(*args: Any) -> tuple[int, int]:
        _, kept = remove_leftovers(*args)
        counted.set()
        go_on.wait(PATIENCE)
        return 1, kept  # which is said

    if tidying:
        monkeypatch.setattr(serve_files, "remove_leftovers", remove_slowly)
    log = Printed()
    kept = 0 if limits.keep == 0 else 1
    async with file_server(inbox, log.output, limits=limits) as address, open_app() as app:
        if tidying:
            await trio.to_thread.run_sync(counted.wait, PATIENCE)
        for name in ("a", "b"):
            number = await greet(app, address)
            begin = (("file", name), ("size", "2"), ("sha256", "0" * 64))
            app.post(OpCode.REQUEST, number, 100, headers=begin, more=True)
            assert (await app.event()).headers == (("offset", "0"),)
            app.post(OpCode.REQUEST, number, 100, body=b"1", more=True)
            app.post(OpCode.BYE_REQUEST, number)
            await app.events_until_closed(number)
            await log.file.until("the peer said bye", f'"{name}"')
            if tidying and not go_on.is_set():
                go_on.set()
                await log.file.until("tidied")
        assert len(os.listdir(inbox)) == kept
    events = [record["event"] for record in log.records]
    assert (events.count("cut"), events.count("refused")) == (kept, 2 - kept)


async def test_a_file_that_is_on_its_way_already_is_sent_whole(file: Path, inbox: Path) -> None:
    """Two clients never write to one file."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    begin = (("file", "copy"), ("size", str(len(CONTENT))), ("sha256", sha256))
    printed = Printed()
    async with file_server(inbox, Printed().output) as address, open_app() as app:
        number = await greet(app, address)
        app.post(OpCode.REQUEST, number, 100, headers=begin, more=True)
        assert (await app.event()).headers == (("offset", "0"),)
        app.post(OpCode.REQUEST, number, 100, body=b"1", more=True)
        await put(file, Target(address), "copy", printed.output)
    assert printed.records[0]["resumed_at"] == 0
    assert (inbox / "copy").read_bytes() == CONTENT


async def test_an_offset_that_is_none(file: Path) -> None:
    def misbehave(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        headers = (("offset", "-1"),)
        app.post(OpCode.RESPONSE, message.channel_number, message.message_id, headers=headers)

    async with peer({**POLITE, OpCode.REQUEST: misbehave}) as address:
        with fails("not as serve-files does"):
            await put(file, Target(address), "file", Printed().output)


async def test_a_hash_that_is_not_that_of_the_file(file: Path) -> None:
    def misbehave(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        channel, ident = message.channel_number, message.message_id
        if message.text_headers.get("file"):
            app.post(OpCode.RESPONSE, channel, ident, headers=(("offset", "0"),), more=True)
        elif not message.has_more():
            app.post(OpCode.RESPONSE, channel, ident, headers=(("sha256", "0" * 64),))

    async with peer({**POLITE, OpCode.REQUEST: misbehave}) as address:
        with fails("not as serve-files does"):
            await put(file, Target(address), "file", Printed().output)


async def test_a_server_that_is_no_file_server(file: Path) -> None:
    async with peer({**POLITE, OpCode.REQUEST: respond}) as address:
        with fails("not as serve-files does"):
            await put(file, Target(address), "file", Printed().output)


# ---------------------------------------------------------------------- misbehaving clients


async def test_parts_that_do_not_fit_together(inbox: Path) -> None:
    """Refused once, with the reason; what else belongs to the file is dropped."""
    log = Printed()
    begin = (("file", "x"), ("size", "2"))
    sha256 = (("sha256", hashlib.sha256(b"ab").hexdigest()),)
    conversations: list[tuple[list[tuple[Headers, bytes, bool]], str]] = [
        ([((), b"ab", False)], "not a file: the first message has to name it"),
        ([((("file", "grün"), ("size", "1")), b"", True)], "the name is not percent-encoded"),
        ([((("file", "x"),), b"", True), ((), b"", False)], "how many bytes"),
        ([((("file", "x"), ("size", "-1")), b"", True)], "how many bytes"),
        ([((("file", "x"), ("size", "9" * 30)), b"", True)], "how many bytes"),
        ([(begin, b"", True), ((), b"abc", True), ((), b"d", True)], "more than the 2 bytes"),
        ([(begin, b"", True), (sha256, b"a", False)], "2 bytes were announced, 1 came"),
        ([(begin, b"ab", True), ((), b"", False)], "another one there"),
        ([((*begin, ("sha256", "x")), b"", True)], "the sha256 is none"),
    ]
    async with file_server(inbox, log.output) as address, open_app() as app:
        number = await greet(app, address)
        for index, (parts, why) in enumerate(conversations):
            for headers, body, more in parts:
                app.post(OpCode.REQUEST, number, 100 + index, headers=headers, body=body, more=more)
            event = await app.event()
            assert (event.opcode, event.message_id) == (OpCode.RESPONSE, 100 + index)
            ((name, reason),) = event.headers
            assert name == "error"
            assert why in reason
        app.post(OpCode.REQUEST, number, 200, headers=begin, body=b"ab", more=True)
        app.post(OpCode.SIGNAL, number, 200)
        app.post(OpCode.REQUEST, number, 200, headers=sha256)
        assert (await app.event()).headers == sha256
    assert (inbox / "x").read_bytes() == b"ab"
    assert os.listdir(inbox) == ["x"]
    reasons = [record["reason"] for record in log.records if record["event"] == "refused"]
    assert len(reasons) == len(conversations)


async def test_incomplete_files_are_removed(inbox: Path) -> None:
    log = Printed()
    begin = (("file", "x"), ("size", "2"))
    async with open_app() as other, file_server(inbox, log.output) as address:
        async with open_app() as app:
            number = await greet(app, address)
            # The second file ends the first one, and the channel's end the second.
            app.post(OpCode.REQUEST, number, 100, headers=begin, more=True)
            app.post(OpCode.REQUEST, number, 101, headers=begin, more=True)
            app.post(OpCode.BYE_REQUEST, number)
            await app.events_until_closed(number)
            await log.file.until("the peer said bye")
        number = await greet(other, address)
        other.post(OpCode.REQUEST, number, 100, headers=begin, more=True)
        with trio.fail_after(5):
            while not os.listdir(inbox):
                await trio.testing.wait_all_tasks_blocked()
    refused = [record["reason"] for record in log.records if record["event"] == "refused"]
    assert refused == [
        "not complete, another one came",
        "not complete, the peer said bye",
        "not complete, the server ends",
    ]
    assert os.listdir(inbox) == []


async def test_a_disk_that_is_full(
    file: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    async with file_server(inbox, Printed().output) as address:
        with monkeypatch.context() as patched:
            patched.setattr("pytofu.cli.receiving.os.write", write)
            with fails("No space left on device"):
                await put(file, Target(address), "x", Printed().output)
    assert os.listdir(inbox) == []
