"""Builds the compiled core, pytofu._core, where that is possible; pytofu is complete without it.

Hatchling takes the hook from here when a wheel or an sdist is made, and `./dev` runs this file for
the core in place. The environment's PYTOFU_PURE says what is wanted: `1` no core, `0` a core or a
failure, and without it a core if it can be had, else one line that says why not.

The sdist has the C that Cython made of the sources, so that who installs from it needs a compiler
and no Cython (docs/decisions/compiled-core.md).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parent
PACKAGE: Final = ROOT / "src" / "pytofu"
BUILD: Final = ROOT / "build" / "core"
SUFFIX: Final[str] = sysconfig.get_config_var("EXT_SUFFIX")
IN_PLACE: Final = PACKAGE / f"_core{SUFFIX}"
STAMP: Final = PACKAGE / f"_core{SUFFIX}.stamp"
"""Has the digest of what the extension in place was built from."""
SHIPPED_C: Final = PACKAGE / "_core.c"
"""Where the C lies in an sdist; in a clone there is none."""

SANITIZERS: Final = "-fsanitize=address,undefined"

CYTHON: Final = "cython>=3.1"
SETUPTOOLS: Final = "setuptools>=75"


class NoCore(Exception):
    """It cannot be built, and this is why, in one line."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


def digest() -> str:
    """That of the sources as they are.

    As in pytofu/_choice.py, which cannot be imported here, without pytofu's dependencies.
    """
    sources = sorted(PACKAGE.glob("_core*.p[xy][xi]"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def wish() -> str:
    """`pure`, `core` (it must be built) or `either`."""
    value = os.environ.get("PYTOFU_PURE", "")
    return {"": "either", "0": "core"}.get(value, "pure")


def is_of_these_sources(c: Path) -> bool:
    """Its first line says from what it was made."""
    if not c.exists():
        return False
    with c.open(encoding="utf-8") as file:
        return file.readline() == f"/* {digest()} */\n"


def c_source() -> Path:
    """The core in C: the one that is there, or made anew by Cython. Raises `NoCore`."""
    if is_of_these_sources(SHIPPED_C):
        return SHIPPED_C
    made = BUILD / "_core.c"
    if not is_of_these_sources(made):
        BUILD.mkdir(parents=True, exist_ok=True)
        part = BUILD / f"_core.{os.getpid()}.c"  # others may be at it as well
        run("Cython", "-m", "cython", "-3", "--output-file", str(part), str(PACKAGE / "_core.pyx"))
        text = part.read_text(encoding="utf-8")
        part.write_text(f"/* {digest()} */\n{text}", encoding="utf-8")
        part.replace(made)
    return made


def run(what: str, *arguments: str) -> None:
    """Run this Python with these arguments. Raises `NoCore`."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"CC": compiler() or "cc"} if "CC" not in os.environ else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stdout.strip().splitlines() or [f"it ended with {done.returncode}"]
        # What the compiler says is wrong, else the end of Python's traceback.
        line = next((line for line in lines if "error: " in line.lower()), lines[-1]).strip()
        raise NoCore(f"{what}: {line[:200]}", done.stdout)


def compiler() -> str | None:
    """The C compiler: what CC says, the one that built this Python, or another that is there."""
    if "CC" in os.environ:
        return os.environ["CC"]
    built_with = sysconfig.get_config_var("CC") or ""
    for command in (built_with, "cc", "gcc", "clang"):
        if command and shutil.which(command.split()[0]):
            return str(command)
    return None


def compile_core(folder: Path) -> Path:
    """Build the extension into this folder; the file. Raises `NoCore`."""
    if sys.implementation.name != "cpython":
        raise NoCore("it is for CPython")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NoCore("nobody has proven it right without the global lock")
    c = c_source()
    run("the C compiler", __file__, "compile", str(c), str(folder))
    return folder / "pytofu" / IN_PLACE.name


def compile_here(c: str, folder: str) -> None:
    """What runs as a process of its own: setuptools knows the compilers of all systems."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    # Python's own flags ask for debugging information, which makes it five times as large, and some
    # for -O3, which takes longer; with -O2 it was measured.
    extra = [] if sys.platform == "win32" or "CFLAGS" in os.environ else ["-g0", "-O2"]
    extension = Extension(
        "pytofu._core",
        [c],
        # Classes as Python makes them: with the module's name that they are given, and open.
        define_macros=[("CYTHON_USE_TYPE_SPECS", "1")],
        extra_compile_args=extra,
    )
    command = build_ext(Distribution({"name": "pytofu", "ext_modules": [extension]}))
    command.force = True  # it would trust the dates of files
    command.build_lib = folder
    command.build_temp = str(Path(folder) / "objects")
    command.ensure_finalized()
    command.run()


def build_in_place() -> None:
    """The core beside its sources, unless it is there already. Raises `NoCore`."""
    if IN_PLACE.exists() and STAMP.exists() and STAMP.read_text(encoding="ascii") == digest():
        return
    STAMP.unlink(missing_ok=True)
    made = compile_core(BUILD / SUFFIX.strip("."))
    # Not written over: it may be loaded by a program that runs.
    made.replace(IN_PLACE)
    STAMP.write_text(digest(), encoding="ascii")


class CoreHook(BuildHookInterface[Any]):
    """Hatchling takes the class from this file that pyproject.toml names."""

    def dependencies(self) -> list[str]:
        """What must be installed to build this: an sdist's C needs no Cython."""
        if self.target_name == "sdist":
            return [CYTHON]
        if wish() == "pure":
            return []
        return [SETUPTOOLS] if is_of_these_sources(SHIPPED_C) else [SETUPTOOLS, CYTHON]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add to what is being built: to an sdist the C, to a wheel the extension."""
        try:
            if self.target_name == "sdist":
                build_data["force_include"][str(c_source())] = "src/pytofu/_core.c"
            elif wish() == "pure":
                pass
            elif version == "editable":
                build_in_place()
            else:
                made = compile_core(BUILD / SUFFIX.strip("."))
                build_data["force_include"][str(made)] = f"pytofu/{made.name}"
                build_data["pure_python"] = False
                build_data["infer_tag"] = True
        except NoCore as error:
            if wish() == "core":
                raise RuntimeError(f"{error.output}\n{error}") from error
            self.app.display_warning(f"pytofu: in pure Python, without the compiled core: {error}")


def for_dev() -> None:
    """What `./dev` runs before its commands: silent when there is nothing to do or to say anew."""
    said = BUILD / f"not-built{SUFFIX}"
    state = f"{digest()} {compiler()}"
    if wish() == "either" and said.exists() and said.read_text(encoding="utf-8") == state:
        return
    try:
        build_in_place()
    except NoCore as error:
        if wish() == "core":
            sys.exit(f"{error.output}\ndev: the compiled core cannot be built: {error}")
        print(f"dev: going on in pure Python, without the core: {error}", file=sys.stderr)
        BUILD.mkdir(parents=True, exist_ok=True)
        said.write_text(state, encoding="utf-8")


def build_sanitized(folder: Path) -> None:
    """A copy of the package whose core looks at every access to memory. Raises `NoCore`."""
    os.environ["CFLAGS"] = f"-O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all {SANITIZERS}"
    os.environ["LDFLAGS"] = SANITIZERS
    shutil.rmtree(folder, ignore_errors=True)
    kinds = ("_core*", "__pycache__")
    shutil.copytree(PACKAGE, folder / "pytofu", ignore=shutil.ignore_patterns(*kinds))
    compile_core(folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["compile", c, folder]:
            compile_here(c, folder)
        case ["sanitize", folder]:
            build_sanitized(Path(folder))
        case _:
            if wish() != "pure":
                for_dev()
