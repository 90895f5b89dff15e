"""Every command as a process of its own, with each other, as users run them."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import PYTOFU, listen_address, run, server
from tests.support import Kind, frame, hello
from tests.terminal import CTRL_C, on_terminal

pytestmark = pytest.mark.timeout(30)  # Python starts often here


def test_echo_ping_and_send(kind: Kind, tmp_path: Path) -> None:
    with server("echo", listen_address(kind, tmp_path)) as echo:
        ping = run("ping", echo.address, "--count", "3", "--interval", "0.01")
        send = run("send", echo.address, "-H", "a=b", "--file", "-", "--json", stdin=b"body")
        flood = run("ping", echo.address, "--count", "100", "--flood", "--json")
        signal_ = run("send", echo.address, "--signal", "--body", "news")
    for finished in (ping, send, flood, signal_):
        assert (finished.returncode, finished.stderr) == (0, b"")
    assert b"3 sent, 3 answered, 0 % lost" in ping.stdout
    answer = json.loads(send.stdout)
    assert (answer["opcode"], answer["headers"], answer["text"]) == (
        "RESPONSE",
        [["a", "b"]],
        "body",
    )
    assert json.loads(flood.stdout)["answered"] == 100
    assert signal_.stdout.startswith(b"sent, id ")
    assert echo.output[-1]["messages"] == 105


def test_sigterm_ends_a_server_as_ctrl_c_does(tmp_path: Path) -> None:
    with server("echo", listen_address("uds", tmp_path)) as echo:
        echo.end(signal.SIGTERM)
    assert echo.output[-1]["event"] == "summary"


_PUBLISHER = """
import sys
from functools import partial

import trio

import pytofu

async def main():
    topics = pytofu.Topics()
    async with trio.open_nursery() as nursery:
        work = partial(pytofu.serve, None, sys.argv[1], topics=topics)
        print(*await nursery.start(work), flush=True)
        number = 0
        while topics.publish("news.sport", b"%d" % number) == 0:
            await trio.lowlevel.checkpoint()
        for number in range(1, 4):
            await topics.send("news.sport", b"%d" % number)
        await trio.sleep_forever()

trio.run(main)
"""


def test_call_and_listen(kind: Kind, tmp_path: Path) -> None:
    address = listen_address(kind, tmp_path)
    with server("listen", address, "--reply", '{"sum": 3}') as listener:
        call = run("call", listener.address, "add", '{"a": 1, "b": 2}', "--json")
        send = run("send", listener.address, "--signal", "--body", "news")
    assert (call.returncode, call.stderr, send.returncode) == (0, b"", 0)
    assert json.loads(call.stdout)["value"] == {"sum": 3}
    add, news, summary = listener.output
    assert (add["event"], add["method"], add["value"]) == ("call", "add", {"a": 1, "b": 2})
    assert (news["event"], news["text"]) == ("message", "news")
    assert summary == {"event": "summary", "calls": 1, "messages": 1}


def test_subscribe(kind: Kind, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PUBLISHER, listen_address(kind, tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        where = publisher.stdout.readline().decode().strip()
        finished = run("subscribe", where, "news.*", "--count", "4")
        publisher.kill()
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert finished.stdout.decode().splitlines() == [
        "subscribed to news.*",
        *(f"news.sport: {number}" for number in range(4)),
        "4 messages, 0 missed",
    ]


def test_put_and_serve_files(kind: Kind, tmp_path: Path) -> None:
    inbox, file = tmp_path / "inbox", tmp_path / "file"
    inbox.mkdir()
    content = os.urandom(3_000_000)
    file.write_bytes(content)
    with server("serve-files", str(inbox), listen_address(kind, tmp_path)) as files:
        good = run("put", str(file), files.address, "--json")
        bad = run("put", str(file), files.address, "--name", "../file2")
    assert (good.returncode, good.stderr) == (0, b"")
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert b": not a name of a file in the directory: " in bad.stderr
    assert (inbox / "file").read_bytes() == content
    assert sorted(os.listdir(tmp_path)) == ["file", "inbox"]
    assert files.output[-1] == {"event": "summary", "files": 1, "bytes": len(content)}


def sizes(directory: Path) -> list[int]:
    return [path.stat().st_size for path in directory.iterdir()]


@pytest.mark.parametrize("who", ["client", "server"])
def test_an_upload_goes_on_after_one_of_them_was_killed(
    kind: Kind, tmp_path: Path, who: str
) -> None:
    inbox, file = tmp_path / "inbox", tmp_path / "file"
    inbox.mkdir()
    content = os.urandom(1_000_000) * 60
    file.write_bytes(content)
    arguments = ("serve-files", str(inbox), listen_address(kind, tmp_path))
    with server(*arguments) as files:
        with subprocess.Popen([*PYTOFU, "put", str(file), files.address]) as put:
            while sum(sizes(inbox)) <= 100_000:
                assert put.poll() is None
            victim = put if who == "client" else files.process
            victim.kill()
            victim.wait()
        assert put.returncode != 0
        if who == "client":
            assert files.process.stdout is not None
            assert json.loads(files.process.stdout.readline())["event"] == "cut"
        (left,) = sizes(inbox)
        assert left < len(content)
        if who == "client":
            again = run("put", str(file), files.address, "--json")
        else:
            with server(*arguments) as other:
                again = run("put", str(file), other.address, "--json")
    assert (again.returncode, again.stderr) == (0, b"")
    assert json.loads(again.stdout)["resumed_at"] == left
    assert os.listdir(inbox) == ["file"]
    assert (inbox / "file").read_bytes() == content


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    nobody = "tcp://127.0.0.1:1"
    finished = run("put", str(tmp_path / "fifo"), nobody)
    assert finished.returncode == 1
    expected = f"pytofu: {tmp_path}/fifo is a named pipe, not a regular file\n"
    assert finished.stderr.decode() == expected


def test_a_server_that_is_started_later(tmp_path: Path) -> None:
    command = [*PYTOFU, "ping", "--count", "1", "--wait", "20", f"uds://{tmp_path}/s"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as ping,
        server("echo", listen_address("uds", tmp_path)),
    ):
        assert ping.stdout is not None
        assert b"1 answered, 0 % lost" in ping.stdout.read()
    assert ping.returncode == 0


def test_decode(tmp_path: Path) -> None:
    good = run("decode", stdin=hello())
    assert (good.returncode, good.stderr) == (0, b"")
    assert "└── HELLO_REQUEST at byte 0".encode() in good.stdout
    bad = run("decode", frame(15).hex())
    assert bad.returncode == 1
    assert bad.stderr.startswith(b"pytofu: bytes: byte 2: the proto byte is 0x0f, opcode 15")


def test_bench() -> None:
    finished = run("bench", "--seconds", "0.01", "--json")
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert len(finished.stdout.splitlines()) == 8


def test_ctrl_c_while_pinging(kind: Kind, tmp_path: Path) -> None:
    with server("echo", listen_address(kind, tmp_path)) as echo:
        command = [*PYTOFU, "ping", echo.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as ping:
            assert ping.stdout is not None
            assert ping.stdout.readline().startswith(b"56 bytes from ")
            ping.send_signal(signal.SIGINT)
            assert b" answered, 0 % lost" in ping.stdout.read()
        assert ping.returncode == 0


def test_ctrl_c_while_sending_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen()
        command = [*PYTOFU, "send", f"uds://{path}", "--timeout", "60"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as send:
            connection, _ = deaf.accept()
            with connection:
                assert connection.recv(16)  # its HelloRequest: it waits for the answer
                send.send_signal(signal.SIGINT)
                assert send.stderr is not None
                assert send.stderr.read() == b""
        assert send.returncode == 130


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    with server("echo", listen_address("uds", tmp_path)) as echo:
        for more in ([], ["--json"]):
            command = [*PYTOFU, "ping", echo.address, "--interval", "0.001", *more]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ping:
                assert ping.stdout is not None
                assert ping.stderr is not None
                ping.stdout.readline()
                ping.stdout.close()
                assert ping.stderr.read() == b""
            assert ping.returncode == 1


def test_on_a_terminal(tmp_path: Path) -> None:
    """The table is drawn, and Ctrl-C, typed there, ends it with a summary."""
    command = [*PYTOFU, "echo", f"uds://{tmp_path}/s"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with on_terminal(command, environment) as (echo, screen):
        seen = b""
        while b"messages/s" not in seen:
            seen += screen.read(4096)
        screen.write(CTRL_C)
        while b"0 channels, 0 messages" not in seen:
            seen += screen.read(4096)
        assert echo.wait() == 0
