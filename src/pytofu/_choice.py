"""Whether the compiled core is used: chosen once, when pytofu is imported.

The pure modules are complete, and the reference. One that has a compiled twin ends with

    if compiled and not TYPE_CHECKING:
        Name = twin(Name)

so whoever imports `Name` from the module that documents it gets what was chosen, and type checkers
see the pure one. docs/decisions/compiled-core.md
"""

import inspect
import os
from collections.abc import Mapping
from functools import update_wrapper
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, Final

STAMP: Final = ".stamp"
"""Ends the name of the file beside an extension that has the digest of its sources."""


def sources_of(package: Path) -> list[Path]:
    """What the core is compiled from; in an installed package there is none of it."""
    return sorted(package.glob("_core*.p[xy][xi]"))


def digest_of(sources: list[Path]) -> str:
    """What changes with the sources, whatever their dates say."""
    import hashlib  # here: it takes milliseconds, and only a source tree needs it

    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def is_usable(package: Path, environ: Mapping[str, str]) -> bool:
    """Whether there is an extension, built from these very sources, that this Python can load."""
    if environ.get("PYTOFU_PURE", "0") not in {"", "0"}:
        return False
    spec = find_spec("pytofu._core")
    if spec is None or spec.origin is None:
        return False
    if sources := sources_of(package):
        stamp = Path(spec.origin + STAMP)
        if not stamp.exists() or stamp.read_text(encoding="ascii") != digest_of(sources):
            return False
    try:
        module_from_spec(spec)  # loads it and runs nothing in it
    except ImportError:
        return False
    return True


compiled: Final[bool] = is_usable(Path(__file__).parent, os.environ)
"""Whether the compiled core is in use. Environment: `PYTOFU_PURE=1` leaves it out."""


def _members(pure: type, here: type) -> dict[str, Any]:
    """What the pure class has, and what it inherits while the twin does not."""
    members: dict[str, Any] = {}
    for base in reversed(pure.__mro__):
        ours = base is pure or base.__module__.startswith("pytofu.")
        if ours and not issubclass(here, base):
            members |= vars(base)
    return members


def twin(pure: Any) -> Any:
    """The compiled twin of a class or function, made to say of itself what the pure one says.

    What a compiled class does not define, it takes over from the pure one, and from those that
    this one inherits from: all but `__init__`, which C calls without looking for it.
    What has a slot in C, as `__init__` and `__eq__`, keeps C's own description.
    """
    here: Any = getattr(import_module("pytofu._core"), pure.__qualname__.replace(".", "_"))
    if not isinstance(pure, type):
        return update_wrapper(here, pure)
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__slots__"):
        setattr(here, name, getattr(pure, name))
    here.__signature__ = inspect.signature(pure)
    here._pure = pure  # to go on with where something is out of the ordinary
    for name, member in _members(pure, here).items():
        if name not in vars(here):
            # Not a slot, or __weakref__, which only its own class has.
            if not (inspect.ismemberdescriptor(member) or inspect.isgetsetdescriptor(member)):
                setattr(here, name, member)
            continue
        here_member: Any = inspect.getattr_static(here, name, None)
        # __func__: what a classmethod or a staticmethod is made of.
        function = getattr(here_member, "__func__", here_member)
        if inspect.isroutine(function) and hasattr(function, "__dict__"):
            update_wrapper(function, getattr(member, "__func__", member))
            if function is not here_member:  # which has a description of its own, as it was
                setattr(here, name, type(here_member)(function))
    return here
