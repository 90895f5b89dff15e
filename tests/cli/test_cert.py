"""Certificates for trying things: what is written, for whom, and what is left alone."""

import builtins
import json
import shlex
import ssl
from pathlib import Path
from typing import Any

import pytest

from pytofu.cli import main
from tests.cli.programs import run

NAMES = ["ca.pem", "client.key", "client.pem", "server.key", "server.pem"]


def handshake(folder: Path, host: str) -> tuple[list[str], list[str]]:
    """Let the two certificates meet, each side trusting the CA alone. Raises `ssl.SSLError`.

    Returns the names in the server's certificate, and those in the client's.
    """
    contexts = {
        "server": ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem"),
        "client": ssl.create_default_context(cafile=folder / "ca.pem"),
    }
    contexts["server"].verify_mode = ssl.CERT_REQUIRED
    for who, context in contexts.items():
        context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = contexts["client"].wrap_bio(back, there, server_hostname=host)
    server = contexts["server"].wrap_bio(there, back, server_side=True)
    for side in (client, server):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    client.do_handshake()
    server.do_handshake()
    return _names(client.getpeercert()), _names(server.getpeercert())


def _names(certificate: Any) -> list[str]:
    return [name for _, name in certificate["subjectAltName"]]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_certificates_are_for_each_other_on_this_machine(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["cert", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    printed = capsys.readouterr().out
    for name in NAMES:
        assert f"{folder / name}: " in printed
        mode = (folder / name).stat().st_mode & 0o777
        assert mode == 0o600 if name.endswith(".key") else mode & 0o022 == 0
    server, client = handshake(folder, host)
    assert server == ["127.0.0.1", "localhost", "0:0:0:0:0:0:0:1"]
    assert client == ["client"]


def test_names_that_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts = ["--host", "fd00::7", "--host", "example.org"]
    assert main(["cert", str(tmp_path), *hosts, "--client", "ann.example.org", "--json"]) == 0
    server, client = handshake(tmp_path, "example.org")
    assert (server, client) == (["FD00:0:0:0:0:0:0:7", "example.org"], ["ann.example.org"])
    record = json.loads(capsys.readouterr().out)
    assert record["files"] == {name: str(tmp_path / name) for name in record["files"]}
    assert sorted(record["files"]) == NAMES
    assert (record["hosts"], record["client"]) == (["fd00::7", "example.org"], "ann.example.org")
    assert [line.split()[:3] for line in record["try"]] == [
        ["pytofu", "echo", "'tls://[fd00::7]:7099'"],
        ["pytofu", "ping", "'tls://[fd00::7]:7099'"],
    ]


def test_what_to_try_can_be_typed_whatever_the_folder_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's; here"
    assert main(["cert", str(folder), "--json"]) == 0
    for line in json.loads(capsys.readouterr().out)["try"]:
        _, _, _, *options = shlex.split(line)
        assert options[::2] == ["--ca", "--cert", "--key"]
        assert all(Path(file).is_file() for file in options[1::2])


def test_the_key_of_the_ca_is_nowhere(tmp_path: Path) -> None:
    assert main(["cert", str(tmp_path)]) == 0
    for path in tmp_path.iterdir():
        assert path.read_bytes().count(b"PRIVATE KEY") == (2 if path.suffix == ".key" else 0)


@pytest.mark.parametrize("there", NAMES)
def test_what_is_there_stays(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / there).symlink_to(elsewhere)  # leads to nothing, and is there all the same
    assert main(["cert", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error == f"pytofu: {folder / there} exists; --overwrite replaces it\n"
    assert [path.name for path in folder.iterdir()] == [there]


def test_a_key_that_replaces_another_file_is_the_owners_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    linked = tmp_path / "linked"
    linked.write_text("somebody's")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "client.key").symlink_to(linked)
    (folder / "server.key").touch(mode=0o666)
    assert main(["cert", str(folder), "--overwrite"]) == 0
    assert linked.read_text() == "somebody's"
    for name in ("client.key", "server.key"):
        assert (folder / name).lstat().st_mode & 0o777 == 0o600
    handshake(folder, "localhost")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--host", "*.example.org"], "Invalid value for '--host': not the name of a host: '*"),
        (["--host", "10.0.0.0/8"], "Invalid value for '--host': not the name of a host: '10."),
        (["--host", "a@b"], "Invalid value for '--host': not the name of a host: 'a@b'"),
        (["--host", ""], "Invalid value for '--host': not the name of a host: ''"),
        (["--host", "a b"], "Invalid value for '--host': there is a blank in the host, 'a b'"),
        (["--client", "a..b"], "no name for a certificate: "),
        (["--client", ""], "no name for a certificate: "),
    ],
)
def test_names_that_are_none(
    arguments: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cert", str(tmp_path / "new"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"pytofu: {why}")
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["cert", str(tmp_path / "file" / "folder")]) == 1
    assert capsys.readouterr().err.endswith("folder: Not a directory\n")


def _hide(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trustme say, when it is imported, that a package is not installed."""
    imported = builtins.__import__

    def without(name: str, *others: Any) -> Any:
        if name == "trustme":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return imported(name, *others)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.parametrize("command", [["cert", "new"], ["bench", "--tls"]])
def test_without_trustme_they_say_what_to_install(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _hide("trustme", monkeypatch)
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err == "pytofu: this needs trustme: pip install 'pytofu[cli]'\n"
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_what_else_is_missing_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _hide("cryptography", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="cryptography"):
        main(["cert", str(tmp_path)])


def test_as_a_process(tmp_path: Path) -> None:
    done = run("cert", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[-2:] == [
        f"pytofu {command} tls://127.0.0.1:7099 --ca {tmp_path}/ca.pem"
        f" --cert {tmp_path}/{who}.pem --key {tmp_path}/{who}.key"
        for command, who in (("echo", "server"), ("ping", "client"))
    ]
