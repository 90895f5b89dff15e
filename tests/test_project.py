"""What surrounds the source: the ./dev command, what is built from it, and who runs it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

import pytofu

ROOT: Final = Path(__file__).parent.parent
REPOSITORY: Final = "https://example.org/somebody/pytofu"

# ---------------------------------------------------------------------- what is built


def core_metadata(repository: str) -> ProjectMetadata[PluginManager]:
    """What would be built if this were the address of the repository."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"] = repository
    return ProjectMetadata(str(ROOT), PluginManager(), config)


def relative_links(text: str) -> list[str]:
    return re.findall(r"\]\((?!\w+:|#)([^)]*)\)", text)


def test_the_readme_on_pypi_links_to_the_repository() -> None:
    text = core_metadata(REPOSITORY).core.readme
    source = (ROOT / "README.md").read_text(encoding="utf-8")
    expected = {f"{REPOSITORY}/blob/main/{path}" for path in relative_links(source)}
    assert len(expected) > 5
    assert relative_links(text) == []
    assert expected <= set(re.findall(r"\]\(([^)]*)\)", text))


def test_the_readme_on_pypi_has_no_broken_links_while_there_is_no_public_repository() -> None:
    metadata = core_metadata("").core
    assert relative_links(metadata.readme) == []
    assert "Every error" in metadata.readme
    assert metadata.urls == {}


def test_pypi_says_where_source_and_issues_are() -> None:
    urls = core_metadata(REPOSITORY).core.urls
    assert urls["Source"] == REPOSITORY
    assert urls["Issues"] == f"{REPOSITORY}/issues"
    prefix = f"{REPOSITORY}/blob/main/"
    files = [url.removeprefix(prefix) for url in urls.values() if url.startswith(prefix)]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_version_is_that_of_the_package() -> None:
    assert pytofu.__version__ == version("pytofu") == core_metadata("").version


# ---------------------------------------------------------------------- ./dev


class Machine:
    """A clone of ./dev on a machine with these programs on its PATH, and nothing at home."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.home, self.bin = folder / "clone", folder / "home", folder / "bin"
        for made in (self.clone / "examples", self.home, self.bin):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "dev", self.clone)
        (self.clone / "pyproject.toml").touch()
        (self.clone / "build_core.py").touch()
        # What ./dev demo runs here.
        (self.clone / "examples" / "demo.py").write_text("import sys\nprint(sys.version_info[:2])")
        for tool in ("bash", "cat", "cksum", "dirname", "git", "mkdir", "ln", "sort", "tr"):
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.path = [self.bin]

    def program(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!{self.bin}/bash\n{text}\n")
        file.chmod(0o755)

    def too_old(self, file: Path) -> None:
        """What answers like a Python that will not do."""
        self.program(
            file, 'echo "it is Python 3.11, and 3.12 is the oldest that will do" >&2; exit 1'
        )

    def suitable(self, file: Path) -> None:
        """The Python that runs the tests, seen through its real path."""
        self.program(file, f'exec {os.path.realpath(sys.executable)} "$@"')

    def uv(self, folder: Path) -> None:
        """Notes what it is told, and makes environments without a network."""
        self.program(
            folder / "uv",
            f'echo "$*" >>{self.home}/uv.log\n'
            "case $1 in\n"
            "venv) mkdir -p .venv/bin; ln -sf "
            + os.path.realpath(sys.executable)
            + " .venv/bin/python;;\n"
            f'python) [ "$2" = install ] || echo {os.path.realpath(sys.executable)};;\n'
            "esac",
        )

    def dev(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / "bash", "dev", *arguments],
            cwd=self.clone,
            env={"HOME": str(self.home), "PATH": ":".join(map(str, self.path))},
            capture_output=True,
            text=True,
            timeout=9,
            check=False,
        )

    def told_uv(self) -> list[str]:
        return (self.home / "uv.log").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("bash") is None or shutil.which("git") is None:
        pytest.skip("./dev needs bash and git")
    return Machine(tmp_path)


THIS: Final = f"{tuple(sys.version_info[:2])}\n"


def test_dev_finds_what_lies_beside_a_folder_of_shims(machine: Machine, tmp_path: Path) -> None:
    pyenv = tmp_path / "elsewhere"
    machine.too_old(pyenv / "shims" / "python3")
    machine.too_old(machine.bin / "python3")
    machine.suitable(pyenv / "versions" / "3.x" / "bin" / "python3.12")
    machine.uv(machine.bin)
    machine.path.insert(0, pyenv / "shims")
    done = machine.dev("demo")
    assert (done.returncode, done.stdout) == (0, THIS), done.stderr


def test_dev_makes_the_environment_by_uv_where_it_is(machine: Machine) -> None:
    machine.suitable(machine.bin / "python3")
    machine.uv(machine.bin)
    done = machine.dev("demo")
    assert (done.returncode, done.stdout) == (0, THIS), done.stderr
    venv, pip = machine.told_uv()
    assert venv.startswith("venv ")
    assert venv.endswith(" .venv")
    assert pip == "pip install --quiet --python .venv/bin/python --editable . --group=core"


def test_dev_lets_uv_fetch_a_python_where_none_will_do(machine: Machine) -> None:
    machine.too_old(machine.bin / "python3")
    machine.uv(machine.bin)
    done = machine.dev("demo")
    assert (done.returncode, done.stdout) == (0, THIS), done.stderr
    assert machine.told_uv()[:2] == ["python install 3.14", "python find 3.14"]


def test_dev_says_what_to_install_where_nothing_will_do(machine: Machine) -> None:
    machine.too_old(machine.bin / "python3")
    done = machine.dev("demo")
    assert done.returncode == 1
    assert "no suitable Python found. Install CPython 3.14" in done.stderr
    assert f"{machine.bin}/python3: it is Python 3.11" in done.stderr


# ---------------------------------------------------------------------- who runs it


def test_both_continuous_integrations_check_the_same() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (versions,) = re.findall(r"^versions=(\S+)$", script, re.MULTILINE)
    more = re.findall(r"^ +versions\+=,(\S+)$", script, re.MULTILINE)
    (checks,) = re.findall(r'-e "\$versions,(\S+)"$', script, re.MULTILINE)
    (environments,) = re.findall(r"environment: \[(.*)\]", workflow)
    expected = {*versions.split(","), *more, *checks.split(",")}
    assert set(environments.split(", ")) == expected
    commands = set(re.findall(r"check (\./dev .*)$", script, re.MULTILINE))
    assert commands <= set(re.findall(r"run: (\./dev .*)$", workflow, re.MULTILINE))


def test_every_command_that_is_run_for_us_is_one_of_dev() -> None:
    known = set(
        re.findall(r"^  (\w+) +\S", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for file in (".ci/run", ".github/workflows/ci.yml", "CONTRIBUTING.md", "tox.ini"):
        text = (ROOT / file).read_text(encoding="utf-8")
        used = set(re.findall(r"(?:run: |check |[`(]|bash )(?:\./)?dev ([a-z]+)", text))
        assert used
        assert used <= known
