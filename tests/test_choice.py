"""Which of the two is used, and that the compiled one says the same of itself."""

import copy
import inspect
import pickle
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import build_core
import pytofu
from pytofu import _choice
from pytofu._choice import STAMP, digest_of, is_usable, sources_of, twin

ROOT = Path(__file__).parent.parent


class Built:
    """A package with an extension that was built from its sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "_core.pyx"
        self.source.write_text("one")
        self.extension = folder / "_core.so"
        self.stamp = folder / f"_core.so{STAMP}"
        self.stamp.write_text(digest_of(sources_of(folder)))
        self.spec: ModuleSpec | None = ModuleSpec("pytofu._core", None, origin=str(self.extension))

    def usable(self, **environ: str) -> bool:
        return is_usable(self.folder, environ)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    built = Built(tmp_path)
    monkeypatch.setattr(_choice, "find_spec", lambda name: built.spec)
    monkeypatch.setattr(_choice, "module_from_spec", lambda spec: None)
    return built


def test_what_was_built_from_these_sources_is_used(built: Built) -> None:
    assert built.usable()
    assert built.usable(PYTOFU_PURE="0")
    assert built.usable(PYTOFU_PURE="")


def test_the_environment_chooses_the_pure_one(built: Built) -> None:
    assert not built.usable(PYTOFU_PURE="1")


def test_an_installed_package_has_no_sources_to_compare_with(built: Built) -> None:
    built.source.unlink()
    built.stamp.unlink()
    assert built.usable()


@pytest.mark.parametrize("spec", [None, ModuleSpec("pytofu._core", None)])
def test_without_an_extension_it_is_the_pure_one(built: Built, spec: ModuleSpec | None) -> None:
    built.spec = spec
    assert not built.usable()


def test_what_was_built_from_other_sources_is_not_used(built: Built) -> None:
    built.source.write_text("two")
    assert not built.usable()
    built.source.write_text("one")
    assert built.usable()
    (built.folder / "_core_more.pxi").write_text("three")
    assert not built.usable()


def test_what_says_not_from_what_it_was_built_is_not_used(built: Built) -> None:
    built.stamp.unlink()
    assert not built.usable()


def test_what_cannot_be_loaded_is_not_used(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(spec: ModuleSpec) -> None:
        raise ImportError("another C library")

    monkeypatch.setattr(_choice, "module_from_spec", fail)
    assert not built.usable()


def test_what_is_built_and_what_is_compared_is_the_same() -> None:
    assert build_core.digest() == digest_of(sources_of(ROOT / "src" / "pytofu"))
    assert build_core.STAMP.name == build_core.IN_PLACE.name + STAMP


def test_pytofu_says_which_it_is() -> None:
    assert type(pytofu.compiled) is bool
    assert inspect.isfunction(pytofu.BinaryHeader.__init__) is not pytofu.compiled


# ---------------------------------------------------------------------- twins


class Thing:
    """What it is."""

    __slots__ = ("size",)

    def __init__(self, size: int = 0) -> None:
        self.size = size

    @property
    def double(self) -> int:
        """Twice the size."""
        return 2 * self.size

    def grown(self, by: int) -> "Thing":
        """A larger one."""
        return type(self)(self.size + by)

    @classmethod
    def largest(cls, things: Iterable["Thing"]) -> "Thing":
        """The largest of these."""
        return max(things, key=lambda thing: thing.size)


def function(number: int) -> int:
    """What it does."""
    return number


def core() -> SimpleNamespace:
    """Stands for the extension."""

    class Thing:
        def __init__(self, size=0):  # type: ignore[no-untyped-def]
            self.size = size

        def grown(self, by):  # type: ignore[no-untyped-def]
            return type(self)(self.size + by)

        @classmethod
        def largest(cls, things):  # type: ignore[no-untyped-def]
            return max(things, key=lambda thing: thing.size)

    def function(number):  # type: ignore[no-untyped-def]
        return number

    return SimpleNamespace(Thing=Thing, function=function)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    extension = core()
    monkeypatch.setitem(sys.modules, "pytofu._core", extension)
    return extension


def described(thing: Any) -> tuple[object, ...]:
    names = (thing.__module__, thing.__name__, thing.__qualname__, thing.__doc__)
    return *names, inspect.signature(thing)


def test_a_class_says_of_itself_what_the_pure_one_says(extension: SimpleNamespace) -> None:
    here = twin(Thing)
    assert here is extension.Thing is not Thing
    assert described(here) == described(Thing)
    assert described(here.grown) == described(Thing.grown)
    assert described(here.largest) == described(Thing.largest)
    assert here.__slots__ == Thing.__slots__
    assert repr(here) == repr(Thing)
    assert here(1).grown(2).size == 3


def test_a_function_says_of_itself_what_the_pure_one_says(extension: SimpleNamespace) -> None:
    here = twin(function)
    assert here is extension.function is not function
    assert described(here) == described(function)


def test_headers_go_from_one_to_the_other_by_pickle() -> None:
    header = pytofu.BinaryHeader(1, 2, 3, 4, 5, 6)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(header, protocol)
        assert b"_core" not in data
        assert pickle.loads(data) == header == copy.deepcopy(header)
