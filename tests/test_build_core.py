"""What is built, and what is said, with a compiler and without: here with a core of one line."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

import build_core

ROOT: Final = Path(__file__).parent.parent
NAME: Final = build_core.IN_PLACE.name
pytestmark = pytest.mark.skipif(
    os.environ.get("PYTOFU_PURE") == "1", reason="building takes long: where there is a core, once"
)
_HAS_LOCK: Final = not sysconfig.get_config_var("Py_GIL_DISABLED")
needs_a_compiler = pytest.mark.skipif(
    build_core.compiler() is None or not _HAS_LOCK, reason="no core can be built here"
)


class Project:
    """As much of the project as a build needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "src" / "pytofu"
        self.package.mkdir(parents=True)
        for name in ("build_core.py", "hatch_build.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        (self.package / "__init__.py").write_text('__version__ = "1.2.3"\n')
        self.source("SAYS = 1")

    def source(self, text: str) -> None:
        (self.package / "_core.pyx").write_text(f"# cython: language_level=3\n{text}\n")

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, there."""
        clean = {k: v for k, v in os.environ.items() if k not in {"CC", "CFLAGS", "PYTOFU_PURE"}}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=clean | environ,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def in_place(self, **environ: str) -> tuple[int, str]:
        done = self.run("build_core.py", **environ)
        return done.returncode, done.stdout + done.stderr

    def core_says(self) -> str:
        code = "import pytofu._core; print(pytofu._core.SAYS)"
        return self.run("-c", code, PYTHONPATH=str(self.package.parent)).stdout.strip()

    def built(self, target: str, **environ: str) -> tuple[Path, str]:
        done = self.run("-m", "hatchling", "build", "-t", target, **environ)
        assert done.returncode == 0, done.stderr
        (made,) = (self.folder / "dist").iterdir()
        return made, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


NO_COMPILER: Final = {"CC": "/no/such/compiler"}


@needs_a_compiler
@pytest.mark.timeout(60)
def test_in_place_it_is_built_when_its_sources_have_changed(project: Project) -> None:
    assert project.in_place() == (0, "")
    assert project.core_says() == "1"
    extension = project.package / NAME
    before = extension.stat().st_ino
    os.utime(project.package / "_core.pyx")
    assert project.in_place(**NO_COMPILER) == (0, "")
    assert extension.stat().st_ino == before
    project.source("SAYS = 2")
    assert project.in_place() == (0, "")
    assert project.core_says() == "2"


@pytest.mark.timeout(60)
def test_without_a_compiler_that_is_said_once(project: Project) -> None:
    code, said = project.in_place(**NO_COMPILER)
    assert code == 0
    assert said.startswith("dev: going on in pure Python, without the core: ")
    assert said.count("\n") == 1
    assert project.in_place(**NO_COMPILER) == (0, "")
    project.source("SAYS = 2")
    assert project.in_place(**NO_COMPILER)[1] == said
    assert not (project.package / NAME).exists()


@pytest.mark.timeout(60)
def test_a_core_that_is_demanded_and_cannot_be_had_is_a_failure(project: Project) -> None:
    code, said = project.in_place(PYTOFU_PURE="0", **NO_COMPILER)
    assert code == 1
    assert "the compiled core cannot be built" in said
    assert project.run("-m", "hatchling", "build", PYTOFU_PURE="0", **NO_COMPILER).returncode != 0


@pytest.mark.timeout(60)
@pytest.mark.skipif(not _HAS_LOCK, reason="nothing is tried where there is no global lock")
def test_what_is_no_cython_is_no_core(project: Project) -> None:
    project.source("cdef class")
    code, said = project.in_place()
    assert code == 0
    assert said.startswith("dev: going on in pure Python, without the core: Cython: ")


def test_where_no_core_is_wanted_nothing_is_done(project: Project) -> None:
    assert project.in_place(PYTOFU_PURE="1") == (0, "")
    assert not (project.folder / "build").exists()


def test_without_the_global_lock_there_is_no_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"Py_GIL_DISABLED": 1}
    monkeypatch.setattr(sysconfig, "get_config_var", values.get)
    with pytest.raises(build_core.NoCore, match="without the global lock"):
        build_core.compile_core(tmp_path)


@needs_a_compiler
@pytest.mark.timeout(60)
def test_a_wheel_with_the_core_is_for_this_platform(project: Project) -> None:
    wheel, _ = project.built("wheel")
    assert f"-cp{sys.version_info[0]}{sys.version_info[1]}-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    assert f"pytofu/{NAME}" in names
    assert not [name for name in names if name.endswith((".pyx", ".c", ".stamp"))]


@pytest.mark.parametrize("environ", [NO_COMPILER, {"PYTOFU_PURE": "1"}], ids=["cannot", "must not"])
@pytest.mark.timeout(60)
def test_a_wheel_without_it_is_for_all(project: Project, environ: dict[str, str]) -> None:
    # What lies there from before is not part of it.
    (project.package / NAME).write_bytes(b"")
    (project.package / "_core.c").write_text("")
    wheel, said = project.built("wheel", **environ)
    assert wheel.name == "pytofu-1.2.3-py3-none-any.whl"
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "_core" in name]
    assert said.count("pytofu: in pure Python, without the compiled core: ") == (
        environ is NO_COMPILER
    )


@needs_a_compiler
@pytest.mark.timeout(60)
def test_from_the_sdist_it_is_built_without_cython(project: Project, tmp_path: Path) -> None:
    sdist, _ = project.built("sdist")
    with tarfile.open(sdist) as archive:
        names = {Path(name).name for name in archive.getnames()}
        assert {"_core.c", "_core.pyx", "build_core.py", "hatch_build.py"} <= names
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    unpacked = object.__new__(Project)
    unpacked.folder, unpacked.package = folder, folder / "src" / "pytofu"
    # A Cython that fails when it is run; setuptools imports it, if it is there.
    (folder / "cython.py").write_text(
        "if __name__ == '__main__': raise SystemExit('asked')\nfrom Cython.Shadow import *\n"
    )
    wheel, _ = unpacked.built("wheel", PYTOFU_PURE="0")
    assert f"pytofu/{NAME}" in zipfile.ZipFile(wheel).namelist()
    unpacked.source("SAYS = 2")
    _, said = unpacked.in_place()
    assert "Cython: asked" in said, "the C is of other sources"
