"""--cert, --key, --ca and --insecure: what is wrong with them is said before anything is opened."""

import os
import ssl
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from pytofu.cli import certificates, main
from pytofu.cli.certificates import Credentials
from pytofu.values.address_text import client_address, server_address
from tests.cli.programs import PYTOFU
from tests.terminal import on_terminal

TLS_CLIENT = client_address("tls://127.0.0.1:1")
TLS_SERVER = server_address("tls://127.0.0.1:0")
TCP_SERVER = server_address("tcp://127.0.0.1:0")


def encrypted(key: bytes) -> bytes:
    """The key, so that it takes a password."""
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with certificates and keys, good and bad."""
    made = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made / "ca.pem")
    for name in ("mine", "other"):
        leaf = authority.issue_cert("127.0.0.1", common_name=name)
        leaf.private_key_pem.write_to_path(made / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(made / f"{name}.pem")
        leaf.private_key_and_cert_chain_pem.write_to_path(made / f"{name}-both.pem")
    (made / "text").write_text("a secret of mine\n")
    (made / "broken.pem").write_text((made / "mine.pem").read_text()[:200])
    (made / "broken.key").write_text((made / "mine.key").read_text()[:100])
    (made / "encrypted.key").write_bytes(encrypted((made / "mine.key").read_bytes()))
    return made


@pytest.fixture(autouse=True)
def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


# ---------------------------------------------------------------------- what is wrong

MINE = ["--cert", "mine.pem", "--key", "mine.key"]
WRONG = [
    (["--key", "mine.key"], "--key without --cert"),
    (["--cert", "nowhere"], "Invalid value for '--cert': File 'nowhere' does not exist."),
    (["--cert", "."], "Invalid value for '--cert': File '.' is a directory."),
    ([*MINE[:3], "nowhere"], "Invalid value for '--key': File 'nowhere' does not exist."),
    ([*MINE, "--ca", "nowhere"], "Invalid value for '--ca': File 'nowhere' does not exist."),
    (["--cert", "text"], "--cert: there is no certificate (PEM) in text"),
    (["--cert", "broken.pem"], "--cert: there is no certificate (PEM) in broken.pem"),
    (["--cert", "mine.key"], "--cert: there is no certificate (PEM) in mine.key"),
    ([*MINE, "--ca", "text"], "--ca: there is no certificate (PEM) in text"),
    ([*MINE, "--ca", "mine.key"], "--ca: there is no certificate (PEM) in mine.key"),
    ([*MINE[:3], "text"], "--key: there is no private key (PEM) in text"),
    ([*MINE[:3], "mine.pem"], "--key: there is no private key (PEM) in mine.pem"),
    ([*MINE[:3], "broken.key"], "--key: there is no private key (PEM) in broken.key"),
    (
        ["--cert", "mine.pem"],
        "--cert: there is no private key (PEM) in mine.pem; --key names the file with it",
    ),
    (
        [*MINE[:3], "other.key"],
        "the private key in other.key is not that of the certificate in mine.pem",
    ),
    (
        [*MINE[:3], "encrypted.key"],
        "the private key in encrypted.key is encrypted; decrypt it, into a file that nobody else"
        " can read",
    ),
]
COMMANDS = (["echo"], ["listen"], ["serve-files", "."], ["ping"], ["subscribe"])


def arguments(command: Sequence[str], *addresses: str) -> list[str]:
    """Of a command that would come to nothing, or would leave a file, if it were carried out."""
    behind = ["news"] if command == ["subscribe"] else []
    return [*command, *addresses, *behind]


@pytest.mark.parametrize(("options", "why"), WRONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_files_are_wrong_usage(
    command: list[str], options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["tls://127.0.0.1:0"] if command[0] in {"ping", "subscribe"} else ["./s", "tls://:0"]
    if options == ["--key", "mine.key"] and len(where) > 1:
        why = "listening at tls://0.0.0.0:0 takes --cert"
    assert main([*arguments(command, *where), *options]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"pytofu: {why}\n")
    assert not Path("s").exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (["echo", "tls://:0"], "listening at tls://0.0.0.0:0 takes --cert"),
        (["echo", "./s", *MINE], "--cert is for listening at tls://HOST:PORT"),
        (["echo", "./s", "--ca", "ca.pem"], "--ca is for listening at tls://HOST:PORT"),
        (
            ["echo", "tls://:0", *MINE, "--insecure"],
            "--insecure is for listening without TLS, at tcp://HOST:PORT",
        ),
        (
            ["echo", "./s", "--insecure"],
            "--insecure is for listening without TLS, at tcp://HOST:PORT",
        ),
        (
            ["ping", "127.0.0.1:1", "--ca", "ca.pem"],
            "--ca is for tls://HOST:PORT, not for tcp://127.0.0.1:1",
        ),
        (["ping", "./s", "--insecure"], "--insecure is for tls://HOST:PORT, not for uds://./s"),
        (
            ["ping", "tls://:1", "--ca", "ca.pem", "--insecure"],
            "--ca and --insecure exclude each other",
        ),
    ],
)
def test_options_that_do_not_go_together(
    given: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(given) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"pytofu: {why}\n")
    assert not Path("s").exists()


def test_a_password_is_never_asked_for() -> None:
    """On a terminal OpenSSL would."""
    command = [*PYTOFU, "echo", "tls://:0", "--cert", "mine.pem", "--key", "encrypted.key"]
    with on_terminal(command, os.environ) as (process, screen):
        shown = b""
        while not shown.endswith(b"\n"):
            shown += screen.read(1)
        assert process.wait() == 2
    assert shown.startswith(b"pytofu: the private key in encrypted.key is encrypted")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0)
    assert main(["ping", "tls://:1", "--cert", "mine.pem", "--key", str(key)]) == 2
    assert "is not readable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        (Credentials("nowhere", "mine.key"), "^--cert or --key: No such file"),
        (Credentials("mine.pem", "nowhere"), "^--cert or --key: No such file"),
        (Credentials(ca="nowhere"), "^--ca: nowhere: No such file"),
    ],
)
def test_a_file_that_goes_while_it_is_looked_at(credentials: Credentials, why: str) -> None:
    with pytest.raises(click.UsageError, match=why):
        credentials.context_to_connect(TLS_CLIENT)


def test_a_certificate_that_is_too_weak_for_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    """It depends on how OpenSSL was configured which that is."""
    error = ssl.SSLError(1, "[SSL: EE_KEY_TOO_SMALL] ee key too small")
    error.reason = "EE_KEY_TOO_SMALL"
    text = certificates._wrong(error, "mine.pem", "mine.key")
    assert text == "the certificate in mine.pem is too weak: EE_KEY_TOO_SMALL"


# ---------------------------------------------------------------------- what comes of it


def test_contexts_to_connect(capsys: pytest.CaptureFixture[str]) -> None:
    assert Credentials().context_to_connect(client_address("127.0.0.1:1")) is None
    system, ours = (Credentials(ca=ca).context_to_connect(TLS_CLIENT) for ca in (None, "ca.pem"))
    assert system is not None
    assert ours is not None
    for context in (system, ours):
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(ours.get_ca_certs()) == 1  # and not the system's besides
    assert capsys.readouterr().err == ""


def test_insecure_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    context = Credentials(insecure=True).context_to_connect(TLS_CLIENT)
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert capsys.readouterr().err == (
        "pytofu: --insecure: who the server is will not be verified; whoever is on the way can"
        " pretend to be it\n"
    )


def test_contexts_to_listen(capsys: pytest.CaptureFixture[str]) -> None:
    assert Credentials().context_to_listen([TCP_SERVER]) is None
    plain = Credentials("mine-both.pem").context_to_listen([TCP_SERVER, TLS_SERVER])
    mutual = Credentials("mine.pem", "mine.key", "ca.pem").context_to_listen([TLS_SERVER])
    assert plain is not None
    assert mutual is not None
    assert (plain.verify_mode, mutual.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert [len(context.get_ca_certs()) for context in (plain, mutual)] == [0, 1]
    assert capsys.readouterr().err == ""


def test_insecure_names_where_there_is_no_tls(capsys: pytest.CaptureFixture[str]) -> None:
    credentials = Credentials("mine-both.pem", insecure=True)
    assert credentials.context_to_listen([TCP_SERVER, TLS_SERVER]) is not None
    assert capsys.readouterr().err == (
        "pytofu: --insecure: tcp://127.0.0.1:0 is without TLS; whoever is on the way can read and"
        " change everything\n"
    )


def test_each_file_may_be_a_pipe(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for name in ("mine.pem", "mine.key", "ca.pem"):
            os.mkfifo(tmp_path / name)
            writer = threading.Thread(
                target=(tmp_path / name).write_bytes, args=(Path(name).read_bytes(),)
            )
            writer.start()
            stack.callback(writer.join)
        cert, key, ca = (str(tmp_path / name) for name in ("mine.pem", "mine.key", "ca.pem"))
        context = Credentials(cert, key, ca).context_to_listen([TLS_SERVER])
    assert context is not None
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize("insecure", [False, True])
def test_listening_in_clear_is_warned_of_unless_it_is_meant(insecure: bool) -> None:
    options = ["--insecure"] if insecure else []
    command = [*PYTOFU, "echo", "tcp://0.0.0.0:0", "./s", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as echo:
        assert echo.stdout is not None
        for _ in range(2):
            assert echo.stdout.readline().startswith("listening on ")
        echo.terminate()
        _, errors = echo.communicate()
    if insecure:
        assert errors == (
            "pytofu: --insecure: tcp://0.0.0.0:0 is without TLS; whoever is on the way can read and"
            " change everything\n"
        )
    else:
        assert "Options(in_clear=True) silences this" in errors
