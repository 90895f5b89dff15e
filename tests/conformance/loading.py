"""The golden vectors: bytes and tables made by the original, as data files beside this one."""

import json
from pathlib import Path
from typing import Any, Final

from pytofu.values.header import OpCode
from pytofu.values.status import AmpeError, AmpeStatus

VECTORS: Final = Path(__file__).parent / "vectors"


def load(name: str) -> Any:
    """The contents of vectors/NAME.json."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> list[Any]:
    """The rows of vectors/NAME.json."""
    found: list[Any] = load(name)["rows"]
    assert found
    return found


def letters(name: str) -> str:
    """What names in any spelling have in common: HelloRequest and HELLO_REQUEST are one."""
    return name.replace("_", "").lower()


_OPCODES: Final = {letters(opcode.name): opcode for opcode in OpCode}
_ERRORS: Final = {letters(error.name): error for error in AmpeError}
_STATUSES: Final = {letters(name): status for name, status in AmpeStatus.__members__.items()}


def opcode_named(name: str) -> OpCode:
    """The opcode that the original calls so."""
    return _OPCODES[letters(name)]


def error_named(name: str) -> AmpeError:
    """The error that the original calls so."""
    return _ERRORS[letters(name)]


def status_named(name: str) -> AmpeStatus:
    """The status that the original calls so."""
    return _STATUSES[letters(name)]
