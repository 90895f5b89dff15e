"""The command line as a whole, in this process: arguments, reasons, exit codes."""

import builtins
import contextlib
import io
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pytofu.cli
from pytofu.cli import decode, main
from pytofu.cli.output import Output
from pytofu.cli.running import InterruptedBySignalError
from tests.cli.programs import server

pytestmark = pytest.mark.timeout(30)  # some start processes

COMMANDS = (
    *("echo", "ping", "send"),
    *("call", "listen", "subscribe"),
    *("put", "serve-files", "cert", "decode", "bench"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example:\n    pytofu {command}" in text
    assert "--json" in text


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    text = capsys.readouterr().err
    for command in COMMANDS:
        assert f"\n  {command} " in text


def test_the_package_runs_with_the_arguments_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pytofu", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pytofu", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("pytofu ")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nothing"], 2, "pytofu: No such command 'nothing'."),
        (["ping"], 2, "pytofu: Missing argument 'ADDRESS'."),
        (["ping", "x"], 2, "pytofu: Invalid value for 'ADDRESS': not an address: 'x'; an"),
        (["echo", "tcp://a", "x"], 2, "pytofu: Invalid value for 'ADDRESS...': not an"),
        (["ping", "tcp://127.0.0.1:1"], 1, "pytofu: cannot connect to tcp://127.0.0.1:1: nobody"),
        (["echo", "uds:///no/such/s"], 1, "pytofu: cannot listen on uds:///no/such/s: "),
        (["send", "uds://x", "--body", "a", "--file", os.devnull], 2, "pytofu: --body and --file"),
        (["send", "uds://x", "--body", "a" * 65536], 1, "pytofu: the body has more than 65,535"),
        (["put", "/no/such", "uds://x"], 2, "pytofu: Invalid value for 'FILE': "),
        (["serve-files", "/no/such", "uds://x"], 2, "pytofu: Invalid value for 'DIR': "),
        (["decode", "xyz"], 1, "pytofu: neither a file nor bytes in hexadecimal: 'xyz'"),
        (["decode", "/"], 1, "pytofu: / is a directory"),
        (["put", __file__, "uds://x", "--name", ""], 2, "pytofu: --name is empty"),
        (["put", "a\nb", "uds://x"], 2, "pytofu: Invalid value for 'FILE': File 'a\\nb' does"),
        (["decode", "x" * 5000], 1, "pytofu: neither a file nor bytes in hexadecimal: 'xxx"),
        (["ping", "x", "--count", "9" * 5000], 2, "pytofu: Invalid value for '-c' / '--count': '9"),
        (["call", "uds://x", "a\nb"], 2, "pytofu: Invalid value for 'METHOD': not the name of a m"),
        (["call", "uds://x", "a", "{"], 2, "pytofu: Invalid value for '[JSON]': not JSON: "),
        (["call", "uds://x", "a", "NaN"], 2, "pytofu: Invalid value for '[JSON]': not JSON: "),
        (["call", "127.0.0.1:1", "a"], 1, "pytofu: cannot connect to tcp://127.0.0.1:1: nobody"),
        (["subscribe", "uds://x", "a..b"], 2, "pytofu: Invalid value for 'PATTERN': not a pat"),
        (["subscribe", "uds:///no/s", "a"], 1, "pytofu: cannot connect to uds:///no/s: there is"),
        (["listen", "uds:///no/such/s"], 1, "pytofu: cannot listen on uds:///no/such/s: "),
        (["bench", "--seconds", "0"], 2, "pytofu: Invalid value for '--seconds': "),
    ],
)
def test_a_failure_has_a_reason_in_one_line(
    arguments: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(reason)
    assert captured.err.count("\n") == 1


def test_commands_that_succeed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"body")
    with server("echo", f"uds://{tmp_path}/s") as echo:
        assert main(["ping", echo.address, "-c", "1"]) == 0
        assert main(["send", echo.address, "--file", str(tmp_path / "file")]) == 0
        assert main(["call", echo.address, "anything"]) == 0
    assert "1 answered" in (text := capsys.readouterr().out)
    assert text.endswith("\nbody\n{}\n")
    (tmp_path / "inbox").mkdir()
    with server("serve-files", f"{tmp_path}/inbox", f"uds://{tmp_path}/s") as files:
        assert main(["put", str(tmp_path / "file"), files.address]) == 0
        assert main(["put", str(tmp_path / "file"), files.address]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("file: 4 B in")
    assert captured.err.endswith("there is such a file already\n")
    assert main(["bench", "--seconds", "0.01"]) == 0
    assert "trips/s" in capsys.readouterr().out


def test_servers_end_well_by_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["echo"], ["listen"], ["serve-files", str(tmp_path)]):
        path = tmp_path / "s"
        timer = threading.Thread(target=_interrupt_when, args=(path.exists,))
        timer.start()
        assert main([*arguments, f"uds://{path}"]) == 0
        timer.join()
    assert capsys.readouterr().err == ""


def _interrupt_when(condition: Callable[[], bool]) -> None:
    while not condition():
        pass
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (InterruptedBySignalError(signal.SIGTERM), 143),
        (ExceptionGroup("", [ExceptionGroup("", [OSError("why")])]), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(decode, "decode", fail)
    assert main(["decode", "00"]) == code


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokenPipeError(), ""),
        (OSError(28, "No space left on device"), "standard output: No space left on device"),
    ],
)
def test_output_that_fails(
    more: list[str], error: OSError, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    with contextlib.redirect_stdout(Failing()):
        assert main(["decode", "00" * 16, *more]) == 1
    assert capsys.readouterr().err == (f"pytofu: {reason}\n" if reason else "")


def test_output_that_fails_at_last(capsys: pytest.CaptureFixture[str]) -> None:
    class Failing(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    with contextlib.redirect_stdout(Failing()):
        assert main(["decode", "00" * 16]) == 1
    assert capsys.readouterr().err.endswith("No space left on device\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_PYTOFU_COMPLETE", f"{shell}_source")
    assert main([]) == 0
    assert f"_PYTOFU_COMPLETE={shell}_complete" in capsys.readouterr().out
    monkeypatch.setenv("_PYTOFU_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "pytofu serve-f")
    monkeypatch.setenv("COMP_CWORD", "1" if shell != "fish" else "serve-f")
    assert main([]) == 0
    assert "serve-files" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _hide(missing, monkeypatch)
    assert main(["--help"]) == 2
    assert capsys.readouterr().err == (
        f"pytofu: the command line needs {missing}: pip install 'pytofu[cli]'\n"
    )


def test_what_else_is_missing_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide("json", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="json"):
        main(["--help"])


def test_ctrl_c_while_it_is_being_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _hide("click", monkeypatch, KeyboardInterrupt())
    assert main(["--help"]) == 130
    assert capsys.readouterr() == ("", "")


def _hide(name: str, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """Make a package look as if it were not installed, and our modules not yet imported."""
    for module in list(sys.modules):
        if module.startswith("pytofu.cli."):
            monkeypatch.delitem(sys.modules, module)
            monkeypatch.delattr(pytofu.cli, module.removeprefix("pytofu.cli."))
    real = builtins.__import__

    def missing(module: str, *args: Any) -> Any:
        if module.partition(".")[0] == name:
            raise error or ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(module, *args)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_output_goes_to_stdout_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    Output().record({}, "here")
    assert capsys.readouterr().out == "here\n"
