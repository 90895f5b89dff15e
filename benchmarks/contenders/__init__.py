"""Who is compared: each contender written as its own documentation recommends."""

from collections.abc import Callable, Mapping, Set
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol, cast

from benchmarks.runs import Figures
from benchmarks.work import Subject, Task

REFERENCE: Final = "pytofu"
"""The contender that the others are compared with."""

type Ready = Callable[[str], None]
"""Tells the client's process that the server can be reached, and where."""

MESSAGES: Final[Set[Subject]] = frozenset({Subject.ECHO, Subject.ONE_WAY})
"""What every contender takes part in that is not there for something particular."""

CALLS: Final[Set[Subject]] = frozenset({Subject.CALL, Subject.STREAM, Subject.FAN_OUT})
"""What is more than messages: those take part that offer it, or on which programs build it."""

ONLY_TLS: Final[Set[Subject]] = frozenset({Subject.TLS})
"""What contenders over TLS take part in: what differs from the echoes is TLS alone."""

ALL_OTHERS: Final[Set[Subject]] = frozenset(
    {Subject.FAN_IN, Subject.RATE, Subject.CONNECTIONS, Subject.IDLE}
)
"""What has a server besides, and not every contender takes part in."""


class Contender(Protocol):
    """Two programs that talk to each other over loopback, in two processes."""

    @property
    def subjects(self) -> Set[Subject]:
        """What it takes part in."""
        ...

    def missing(self) -> str | None:
        """Why it cannot run here, if it cannot (apart from packages that are not installed)."""
        ...

    def serve(self, task: Task, ready: Ready) -> None:
        """The server: call `ready` with the address, then serve until killed."""
        ...

    def run(self, task: Task, address: str) -> Figures:
        """The client: do the work, return what was measured.

        Raises `WrongAnswer` when the server does not answer as it should.
        """
        ...


_MODULES: Final[Mapping[str, tuple[str, str | None]]] = {
    REFERENCE: ("tofu:TCP", None),
    "pytofu-uds": ("tofu:UDS", None),
    "pytofu-tls": ("tofu:TLS", None),
    "pytofu-peers": ("peers:CONTENDER", None),
    "raw": ("raw_sockets:CONTENDER", None),
    "trio": ("trio_stream:CONTENDER", None),
    "trio-tls": ("trio_stream:TLS", None),
    "trio-mailbox": ("trio_mailbox:CONTENDER", None),
    "asyncio": ("asyncio_streams:ASYNCIO", None),
    "asyncio-tls": ("asyncio_streams:TLS", None),
    "uvloop": ("asyncio_streams:UVLOOP", "uvloop"),
    "pyzmq": ("zmq_blocking:CONTENDER", "zmq"),
    "pyzmq-asyncio": ("zmq_asyncio:CONTENDER", "zmq"),
    "pynng": ("nng_trio:CONTENDER", "pynng"),
    "websockets": ("websockets_asyncio:CONTENDER", "websockets"),
    "websockets-tls": ("websockets_asyncio:TLS", "websockets"),
    "trio-websocket": ("websockets_trio:CONTENDER", "trio_websocket"),
    "grpc": ("grpc_asyncio:CONTENDER", "grpc"),
    "grpc-tls": ("grpc_asyncio:TLS", "grpc"),
    "nats": ("nats_asyncio:CONTENDER", "nats"),
}
"""Where the contender is, and the package that it needs."""

NAMES: Final = tuple(_MODULES)
"""Every contender, in the order of the tables."""


def why_not(name: str) -> str | None:
    """Why a contender cannot run here; None when it can."""
    package = _MODULES[name][1]
    if package is not None and find_spec(package) is None:
        return f"the package {package} is not installed"
    return load(name).missing()


def load(name: str) -> Contender:
    """The contender of that name. Raises ImportError when it needs what is not installed."""
    module, _, attribute = _MODULES[name][0].partition(":")
    contender = getattr(import_module(f"{__name__}.{module}"), attribute)
    return cast("Contender", contender)
