"""How the reference writes signatures and docstrings: as in the source, and with links.

autodoc spells out what it finds at run time: it drops the parameters of generic types that are type
variables, shows private aliases, and does not see through decorators. So signatures are read from
the source instead, where every name is the one that readers know.
"""

import ast
import enum
import inspect
import re
import textwrap
from typing import Any, Final, Protocol, TypeAliasType

import attrs
from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature
from sphinx.util.logging import getLogger

from pytofu import (
    Ampe,
    AmpeException,
    AmpeStatistics,
    ChannelGroup,
    ChannelGroupStatistics,
    OpenedStream,
    Peer,
    Stream,
    Subscription,
)

_LOG: Final = getLogger(__name__)

# Private parameters, and the generator under a context manager.
_NOT_FOR_USERS: Final = re.compile(r"[(\s]_\w+(?=[:=,)])|\b(?:Async)?Generator\[")

type Function = ast.FunctionDef | ast.AsyncFunctionDef

# Nobody but pytofu makes one.
_HANDED_OUT: Final = (
    *(Ampe, AmpeStatistics, ChannelGroup, ChannelGroupStatistics),
    *(Peer, Stream, OpenedStream, Subscription),
)

_MANAGERS: Final = {
    "asynccontextmanager": "AbstractAsyncContextManager",
    "block": "AbstractAsyncContextManager",
    "contextmanager": "AbstractContextManager",
}

# "PROTOCOL 2, 5, 6", "pattern guide, sections 4 and 8"
_PLACE: Final = re.compile(
    r"(PROTOCOL|[Pp]attern\s+guide,\s+sections?)\s+(\d+(?:(?:,|\s+and)\s+\d+)*)"
)


def signature_for_users(
    app: Sphinx, what: str, name: str, obj: Any, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """What callers see; with a warning, which ends the build, if it is what they do not."""
    shown = _signature(what, obj, signature)
    if shown is not None and _NOT_FOR_USERS.search(" ".join(shown)):
        _LOG.warning("the signature of %s shows what users do not see: %s", name, shown)
    return shown


def _signature(what: str, obj: Any, signature: str) -> tuple[str, str] | None:
    if isinstance(obj, type):
        return _signature_of_class(obj, signature)
    function = inspect.unwrap(obj) if what in {"function", "method"} else None
    if not inspect.isfunction(function):
        return None
    node = _source_of(function)
    decorators = {_name(found) for found in node.decorator_list}
    if what == "method" and "staticmethod" not in decorators:
        _drop_first(node)
    return f"({_unparse(node.args, function)})", _returns(node, function)


def _signature_of_class(cls: type, signature: str | None) -> tuple[str, str] | None:
    if (
        cls in _HANDED_OUT
        or issubclass(cls, enum.Enum)
        or Protocol in cls.__bases__
        or (issubclass(cls, AmpeException) and cls is not AmpeException)
    ):
        return "", ""
    maker = cls.__dict__.get("__init__")
    if attrs.has(cls):
        return _signature_of_fields(cls), ""
    if not inspect.isfunction(maker):
        return None if signature is None else (_written(inspect.signature(cls)), "")
    node = _source_of(maker)
    _drop_first(node)
    while node.args.args and node.args.args[-1].arg.startswith("_"):
        del node.args.args[-1], node.args.defaults[-1]
    return f"({_unparse(node.args, maker)})", ""


def _signature_of_fields(cls: type) -> str:
    """With the types of the fields where the constructor has none, because it converts."""
    types = {field.alias: field.type for field in attrs.fields(cls)}
    signature = inspect.signature(cls)
    parameters = [
        one if one.annotation is not one.empty else one.replace(annotation=types[one.name])
        for one in signature.parameters.values()
    ]
    return _written(signature.replace(parameters=parameters))


def _written(signature: inspect.Signature) -> str:
    """Without what only pytofu gives."""
    given = [one for one in signature.parameters.values() if not one.name.startswith("_")]
    text = stringify_signature(
        signature.replace(parameters=given), show_return_annotation=False, short_literals=True,
        unqualified_typehints=True,
    )  # fmt: skip
    return _public(text)


def _source_of(function: Any) -> Function:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    node.returns = _unquoted(node.returns)
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = _unquoted(argument.annotation)
    return node


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _drop_first(node: Function) -> None:
    """Without `self` or `cls`."""
    del (node.args.posonlyargs or node.args.args)[0]


def _name(node: ast.expr) -> str:
    """Of a decorator: its last part."""
    called = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(called).rpartition(".")[2]


def _returns(node: Function, function: Any) -> str:
    """What callers get: decorators open a context manager, or take a `Result` apart."""
    if node.returns is None:
        return ""
    decorators = {_name(found) for found in node.decorator_list}
    first = node.returns
    if isinstance(first, ast.Subscript):
        first = first.slice.elts[0] if isinstance(first.slice, ast.Tuple) else first.slice
    for decorator, manager in _MANAGERS.items():
        if decorator in decorators:
            return f"{manager}[{_unparse(first, function)}]"
    return _unparse(first if "public_api" in decorators else node.returns, function)


def _unparse(node: ast.AST, function: Any) -> str:
    """As in the source, but for its private aliases."""
    text = ast.unparse(node)
    for name, value in vars(inspect.getmodule(function)).items():
        if name.startswith("_") and isinstance(value, TypeAliasType):
            text = re.sub(rf"\b{name}\b", str(value.__value__), text)
    return _public(text)


def _public(signature: str) -> str:
    """Type variables without what says that they are private and covariant."""
    return re.sub(r"\b_(\w)_co\b", r"\1", signature)


def link_places(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Where a docstring says "PROTOCOL 4" or "pattern guide, section 8", lead there."""
    text = _PLACE.sub(_link, "\n".join(lines))
    text = re.sub(r"\bSource:(?=\s+:ref:)", "See", text)
    text = re.sub(r"\bSee\s+:ref:`pattern guide", "See :ref:`the pattern guide", text)
    lines[:] = text.split("\n")


def _link(found: re.Match[str]) -> str:
    document = "protocol" if found[1] == "PROTOCOL" else "pattern"
    words = " ".join(found[1].split())
    numbers = re.split(r"(\d+)", " ".join(found[2].split()))
    numbers[1] = f"{words} {numbers[1]}"
    for index in range(1, len(numbers), 2):
        number = numbers[index].rpartition(" ")[2]
        numbers[index] = f":ref:`{numbers[index]} <{document}-{number}>`"
    return "".join(numbers)
