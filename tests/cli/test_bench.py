"""`pytofu bench`."""

import sys
import tempfile
from pathlib import Path

import pytest

from pytofu import Holder, Message, OpCode
from pytofu.cli.bench import Load, bench, measure, socket_folder
from pytofu.cli.cert import make_files
from pytofu.cli.conversation import dial
from pytofu.cli.endpoints import Target
from pytofu.cli.output import Output
from pytofu.cli.running import CommandError
from tests.cli.peers import POLITE, Printed, fails, peer
from tests.cli.terminal import Paper, Terminal
from tests.support import App

pytestmark = pytest.mark.timeout(30)  # it starts processes

LOADS = (Load(64, 2), Load(60_000, 1))


async def test_figures_for_machines() -> None:
    printed = Printed()
    await bench(LOADS, 0.02, printed.output)
    assert [(r["transport"], r["size"], r["outstanding"]) for r in printed.records] == [
        *(("TCP", 64, 2), ("TCP", 60_000, 1)),
        *(("UDS", 64, 2), ("UDS", 60_000, 1)),
    ]
    for record in printed.records:
        assert record["round_trips"] > 0
        assert 0 < record["p50_us"] <= record["p99_us"] <= record["max_us"]


async def test_over_tls_too() -> None:
    printed = Printed()
    await bench(LOADS[:1], 0.02, printed.output, make_files(["127.0.0.1"], "client"))
    assert [record["transport"] for record in printed.records] == ["TCP", "UDS", "TLS"]
    assert all(record["round_trips"] > 0 for record in printed.records)


async def test_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for file in (Paper(), Terminal()):
        await bench(LOADS[:1], 0.01, Output(file=file))
        assert "trips/s" in file.getvalue()
        assert "UDS" in file.getvalue()


async def test_the_table_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    file = Paper()
    await bench((Load(60_000, 16),), 0.05, Output(file=file))
    assert all(len(line) <= 50 for line in file.getvalue().splitlines())
    assert "…" not in file.getvalue()
    assert file.getvalue().count(" 60 kB ") == 2


async def test_a_wrong_answer() -> None:
    def lie(app: App, holder: Holder[Message]) -> None:
        message = holder.unwrap()
        app.post(OpCode.RESPONSE, message.channel_number, message.message_id, body=b"wrong")

    async with peer({**POLITE, OpCode.REQUEST: lie}) as address:
        with fails("not an answer to what was asked"):
            async with dial(Target(address)) as server:
                await measure(server, "TCP", LOADS[0], 1)


async def test_no_echo_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with fails("the echo server does not start"):
        await bench(LOADS, 0.01, Printed().output)


async def test_a_long_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket has a path of about a hundred bytes at most."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    printed = Printed()
    await bench(LOADS[:1], 0.01, printed.output)
    assert [record["transport"] for record in printed.records] == ["TCP", "UDS"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["a|b", "a\nb", "\udcff", "missing"])
def test_a_folder_that_cannot_be_in_an_address(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name != "missing":
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    with socket_folder() as folder:
        assert Path(folder).is_dir()
    assert not Path(folder).exists()


def test_no_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 100)))
    monkeypatch.setattr("pytofu.cli.bench._OTHER_PLACES", ())
    with pytest.raises(CommandError, match="set TMPDIR"), socket_folder():
        pytest.fail("there was one")
