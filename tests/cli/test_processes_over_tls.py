"""Every command over TLS as a process of its own, with certificates of `pytofu cert`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.programs import PYTOFU, run, server

pytestmark = pytest.mark.timeout(30)  # Python starts often here

ADDRESS = "tls://127.0.0.1:0"


class Certificates:
    """What `pytofu cert` has made, as options."""

    def __init__(self, folder: Path, *options: str) -> None:
        made = run("cert", str(folder), *options)
        assert made.returncode == 0, made.stderr
        self.ca = ("--ca", str(folder / "ca.pem"))
        self.server = self._side(folder, "server")
        self.client = self._side(folder, "client")

    @staticmethod
    def _side(folder: Path, who: str) -> tuple[str, ...]:
        return ("--cert", str(folder / f"{who}.pem"), "--key", str(folder / f"{who}.key"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of another CA."""
    return Certificates(tmp_path_factory.mktemp("others"))


def test_echo_ping_and_send(ours: Certificates) -> None:
    with server("echo", ADDRESS, *ours.server) as echo:
        assert echo.address.startswith("tls://127.0.0.1:")
        ping = run("ping", echo.address, *ours.ca, "-c", "2", "-i", "0.01")
        send = run("send", echo.address, *ours.ca, "--file", "-", "--json", stdin=b"body")
    for finished in (ping, send):
        assert (finished.returncode, finished.stderr) == (0, b"")
    assert f"56 bytes from {echo.address}: seq=1".encode() in ping.stdout
    assert json.loads(send.stdout)["text"] == "body"
    assert echo.output[-1]["messages"] == 3


def test_call_and_listen(ours: Certificates) -> None:
    with server("listen", ADDRESS, *ours.server, "--reply", "7") as listener:
        call = run("call", listener.address, *ours.ca, "add", '{"a": 3, "b": 4}')
    assert (call.returncode, call.stdout, call.stderr) == (0, b"7\n", b"")
    assert listener.output[0]["method"] == "add"


_PUBLISHER = """
import ssl
import sys
from functools import partial

import trio

import pytofu

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    topics = pytofu.Topics()
    async with trio.open_nursery() as nursery:
        work = partial(pytofu.serve, None, "tls://127.0.0.1:0", topics=topics, tls=context)
        print(*await nursery.start(work), flush=True)
        while topics.publish("news.sport", b"goal") == 0:
            await trio.lowlevel.checkpoint()
        await trio.sleep_forever()

trio.run(main)
"""


def test_subscribe(ours: Certificates) -> None:
    command = [sys.executable, "-c", _PUBLISHER, *ours.server[1::2]]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        where = publisher.stdout.readline().decode().strip()
        finished = run("subscribe", where, *ours.ca, "news.*", "--count", "1")
        publisher.kill()
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert finished.stdout.decode().splitlines()[1] == "news.sport: goal"


def test_put_and_serve_files(ours: Certificates, tmp_path: Path) -> None:
    inbox, file = tmp_path / "inbox", tmp_path / "file"
    inbox.mkdir()
    content = os.urandom(3_000_000)
    file.write_bytes(content)
    with server("serve-files", str(inbox), ADDRESS, *ours.server) as files:
        put = run("put", str(file), files.address, *ours.ca)
    assert (put.returncode, put.stderr) == (0, b"")
    assert (inbox / "file").read_bytes() == content


def test_a_server_with_a_ca_lets_in_whom_it_knows(ours: Certificates, others: Certificates) -> None:
    with server("echo", ADDRESS, *ours.server, *ours.ca) as echo:
        known = run("ping", echo.address, *ours.ca, *ours.client, "-c", "1")
        nobody = run("ping", echo.address, *ours.ca, "-c", "1")
        stranger = run("call", echo.address, *ours.ca, *others.client, "x")
    assert (known.returncode, known.stderr) == (0, b"")
    assert (nobody.returncode, stranger.returncode) == (1, 1)
    start = f"pytofu: cannot connect to {echo.address}: TLS: "
    assert nobody.stderr.decode().startswith(f"{start}the peer wants a certificate of this side (")
    assert stranger.stderr.decode().startswith(
        f"{start}the peer does not trust the CA of this side's certificate ("
    )
    assert [record["channels"] for record in echo.output if record["event"] == "summary"] == [1]


def test_a_ca_that_is_not_that_of_the_server(ours: Certificates, others: Certificates) -> None:
    with server("echo", ADDRESS, *ours.server) as echo:
        finished = [
            run(*before, echo.address, *behind, *others.ca)
            for before, behind in (
                (["ping"], []),
                (["send"], []),
                (["call"], ["x"]),
                (["subscribe"], ["x"]),
                (["put", __file__], []),
            )
        ]
    for one in finished:
        assert (one.returncode, one.stdout) == (1, b"")
        assert one.stderr.decode().startswith(
            f"pytofu: cannot connect to {echo.address}: TLS: the peer's certificate comes from a CA"
            " that is not trusted here ("
        )
        assert one.stderr.count(b"\n") == 1


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    elsewhere = Certificates(tmp_path, "--host", "example.org")
    with server("echo", ADDRESS, *elsewhere.server) as echo:
        port = echo.address.rpartition(":")[2]
        wrong = run("ping", echo.address, *elsewhere.ca, "-c", "1")
        named = run("ping", f"tls|127.0.0.1|{port}|example.org", *elsewhere.ca, "-c", "1")
    assert (wrong.returncode, named.returncode) == (1, 0)
    assert b": TLS: the peer's certificate is for another IP address (" in wrong.stderr


def test_insecure_trusts_whoever_it_is(ours: Certificates) -> None:
    with server("echo", ADDRESS, *ours.server) as echo:
        finished = run("ping", echo.address, "--insecure", "-c", "1")
    assert finished.returncode == 0
    assert finished.stderr.startswith(b"pytofu: --insecure: who the server is will not be verified")


def test_without_options_the_system_is_asked_whom_to_trust(ours: Certificates) -> None:
    with server("echo", ADDRESS, *ours.server) as echo:
        finished = run("ping", echo.address, "-c", "1")
    assert finished.returncode == 1
    assert b"comes from a CA that is not trusted here" in finished.stderr


def test_plain_text_and_tls_do_not_meet(ours: Certificates) -> None:
    with server("echo", "tcp://127.0.0.1:0", ADDRESS, *ours.server) as echo:
        assert echo.process.stdout is not None
        second = json.loads(echo.process.stdout.readline())["address"]
        plain, over_tls = echo.address, second
        both = [
            run("ping", where, "-c", "1", *ca) for where, ca in ((plain, ()), (second, ours.ca))
        ]
        wrong = run("ping", plain.replace("tcp://", "tls://"), "-c", "1", *ours.ca)
        clear = run("ping", over_tls.replace("tls://", "tcp://"), "-c", "1")
    assert [one.returncode for one in both] == [0, 0]
    assert (wrong.returncode, clear.returncode) == (1, 1)
    assert b": TLS: cut off in the handshake: " in wrong.stderr
    assert b" closed the channel: " in clear.stderr


def test_sigterm_ends_a_server_over_tls(ours: Certificates) -> None:
    with (
        server("echo", ADDRESS, *ours.server) as echo,
        subprocess.Popen(
            [*PYTOFU, "ping", echo.address, *ours.ca, "--json"], stdout=subprocess.PIPE
        ) as ping,
    ):
        assert ping.stdout is not None
        ping.stdout.readline()
        echo.end(signal.SIGTERM)
        ping.communicate()
    assert ping.returncode == 1
    assert echo.output[-1]["event"] == "summary"
