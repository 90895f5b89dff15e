"""What programs give to peers, looked at before anything is opened or sent."""

import inspect
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pytofu.patterns.arguments import as_bytes, must_be, must_be_callable, whole_number, wrong_type
from pytofu.values.address import (
    TCPClientAddress,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
)
from pytofu.values.address_text import (
    ClientAddress,
    ServerAddress,
    address_text,
    client_address,
    server_address,
)


def client_target(what: str, address: str | ClientAddress) -> ClientAddress:
    """Where to connect. Raises `TypeError` for what is no address, ValueError for such a text."""
    if isinstance(address, str):
        return client_address(address)
    must_be(what, "an address, as text or as an object", ClientAddress.__value__, address)
    return address


def server_target(what: str, address: str | ServerAddress) -> ServerAddress:
    """Where to listen. Raises as `client_target`."""
    if isinstance(address, str):
        return server_address(address)
    must_be(what, "an address to listen at", ServerAddress.__value__, address)
    return address


def must_fit_tls(
    what: str,
    targets: Sequence[ClientAddress | ServerAddress],
    tls: ssl.SSLContext | None,
    *,
    own_engine: bool,
) -> None:
    """Raise ValueError for a context that no address would use, and an address that has none.

    Who gives a context means to be encrypted, and would never see that `tcp://` is not. Addresses
    within the machine, as a test takes them, may have one. An engine of the program's may have a
    context of its own.
    """
    secured = [it for it in targets if isinstance(it, TLSClientAddress | TLSServerAddress)]
    in_clear = [it for it in targets if isinstance(it, TCPClientAddress | TCPServerAddress)]
    if tls is not None and in_clear and not secured:
        where = address_text(in_clear[0])
        raise ValueError(f"{what} has tls=, and {where} is in clear: tls://HOST:PORT is encrypted")
    if tls is None and own_engine and secured:
        raise ValueError(f"{what} needs tls=, an ssl.SSLContext, for {address_text(secured[0])}")


def must_take(what: str, function: Callable[..., Any] | None, *parameters: str) -> None:
    """Raise `TypeError` unless it can be called with so many arguments, or is None."""
    if function is None:
        return
    given: object = function
    if inspect.iscoroutine(given):
        given.close()  # else Python warns as well that it was never awaited
        raise TypeError(f"{what} takes the function itself, not the coroutine that calling it gave")
    must_be_callable(what, function)
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of some that are written in C
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{what} takes a function of {' and '.join(parameters)}, not {name}{signature}"
        ) from None


def must_be_optional(what: str, wanted: str, kind: type, given: object, advice: str = "") -> None:
    """Raise `TypeError` for what is neither None nor of the type."""
    if given is not None:
        must_be(what, wanted, kind, given, advice)


def must_be_error(what: str, kind: Any) -> None:
    """Raise `TypeError` for what is no class of exceptions."""
    must_be(what, "classes of exceptions", type, kind)
    if not issubclass(kind, Exception):
        raise wrong_type(what, "classes of exceptions", kind)


def count(what: str, number: int) -> int:
    """At least 1. Raises `TypeError` for what is no whole number, ValueError for one below."""
    if whole_number(what, number) < 1:
        raise ValueError(f"{what} takes at least 1, not {number!r}")
    return number


def payload(what: str, data: bytes) -> bytes:
    """Bytes as such. Raises `TypeError` for what is nothing of the kind."""
    return data if type(data) is bytes else bytes(as_bytes(what, data))
