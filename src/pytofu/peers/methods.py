"""What a method of a service takes and gives, read from its annotations: the same on both sides."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection
from typing import Any, Final

import attrs

from pytofu.peers.codec import Codec
from pytofu.peers.plain import must_be_plain

_NAMED: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@attrs.frozen
class Method:
    """Arguments travel as one object, a field each, whatever way they were given."""

    name: str
    signature: inspect.Signature
    """Without the instance, and without the peer."""
    arguments: type
    """A dataclass with a field for each parameter."""
    result: Any


def method_of(function: Callable[..., Any], name: str, *skipped: str, bound: bool = True) -> Method:
    """Read it from a function; `skipped` are parameters that do not travel.

    One that is not `bound` has the instance as its first parameter, which does not either.

    Raises TypeError for what cannot travel: parameters or a result without annotation, and
    positional-only or starred parameters; and as `hints_of`.
    """
    hints = hints_of(function, name)
    signature = inspect.signature(function)
    if not bound and not signature.parameters:
        raise TypeError(f"{name}(): a method of a class takes self")
    given = list(signature.parameters.values())[0 if bound else 1 :]
    parameters = [one for one in given if one.name not in skipped]
    fields: list[tuple[str, Any, Any]] = []
    for parameter in parameters:
        if parameter.kind not in _NAMED or parameter.name not in hints:
            raise TypeError(f"{name}({parameter}): needs a name and an annotation to travel")
        fields.append((parameter.name, hints[parameter.name], _field(parameter.default)))
    if "return" not in hints:
        raise TypeError(f"{name}: what it returns has no annotation")
    return Method(
        name,
        signature.replace(parameters=parameters),
        dataclasses.make_dataclass(f"{name} arguments", fields, kw_only=True),
        hints["return"],
    )


def must_travel(method: Method, codecs: Collection[Codec]) -> None:
    """Raise TypeError for a type that cannot travel by these codecs.

    Of codecs other than the one for JSON nothing is known: where there is one, all is left to it.
    """
    if any(codec != Codec.json() for codec in codecs):
        return
    kinds = {field.name: field.type for field in dataclasses.fields(method.arguments)}
    for name, parameter in method.signature.parameters.items():
        _must_be_plain(f"{method.name}({parameter})", kinds[name])
    _must_be_plain(f"{method.name}: what it returns", method.result)


def _must_be_plain(what: str, kind: Any) -> None:
    try:
        must_be_plain(kind)
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None


def hints_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Its annotations, with what is in quotes. Raises TypeError for one that leads nowhere."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, SyntaxError) as error:
        text = f"{name}: an annotation cannot be resolved: {error}"
        raise TypeError(text) from error


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=lambda: default)
