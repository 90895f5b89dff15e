"""The flows of the protocol as data: drawn by sequence.py, and carried out by a test.

A flow is a list of steps. Two applications take part, the client and the server, each with its
engine; in a flow with one side the other does not appear.
"""

from typing import Final, Literal

import attrs

from pytofu import AmpeStatus, OpCode, OriginFlag

type Side = Literal["client", "server"]


@attrs.frozen
class Carry:
    """Posted by one application and received, as it is, by the other."""

    side: Side
    opcode: OpCode
    note: str = ""
    more: bool = False


@attrs.frozen
class Cross:
    """Both applications post the same at the same moment, and each receives the other's."""

    opcode: OpCode


@attrs.frozen
class Post:
    """Posted by an application; what becomes of it the next steps tell."""

    side: Side
    opcode: OpCode
    note: str = ""


@attrs.frozen
class Sees:
    """Received by an application from the engine on its own side."""

    side: Side
    opcode: OpCode
    status: AmpeStatus
    origin: OriginFlag = OriginFlag.ENGINE
    reason: AmpeStatus | None = None
    note: str = ""


@attrs.frozen
class Update:
    """The application wakes its own receiver."""

    side: Side


@attrs.frozen
class Put:
    """The application puts the message that it has kept back to the pool."""

    side: Side


@attrs.frozen
class Wire:
    """Something that passes between the engines and is no message; only drawn."""

    side: Side
    text: str


@attrs.frozen
class Note:
    """A remark; only drawn."""

    text: str


type Step = Carry | Cross | Post | Sees | Update | Put | Wire | Note

type Start = Literal["nothing", "address taken", "listening", "open", "open, pool of one"]


@attrs.frozen
class Flow:
    """One picture. `start` is what has happened before the first step."""

    name: str
    title: str
    start: Start
    steps: tuple[Step, ...]
    sides: tuple[Side, ...] = ("client", "server")


_SUCCESS: Final = AmpeStatus.SUCCESS
_CLOSED: Final = AmpeStatus.CHANNEL_CLOSED


def _closed(side: Side, reason: AmpeStatus) -> Sees:
    return Sees(side, OpCode.SIGNAL, _CLOSED, reason=reason)


FLOWS: Final = (
    Flow(
        "listen",
        "Listening",
        "nothing",
        (
            Post("server", OpCode.WELCOME_REQUEST, "~listen_on: tcp|127.0.0.1|0"),
            Sees(
                "server",
                OpCode.WELCOME_RESPONSE,
                _SUCCESS,
                OriginFlag.APPLICATION,
                note="~listen_on: tcp|127.0.0.1|41367",
            ),
        ),
        ("server",),
    ),
    Flow(
        "listen-fails",
        "Listening fails: the address is taken",
        "address taken",
        (
            Post("server", OpCode.WELCOME_REQUEST, "~listen_on: tcp|127.0.0.1|7099"),
            Sees("server", OpCode.WELCOME_RESPONSE, AmpeStatus.LISTEN_FAILED),
            _closed("server", AmpeStatus.LISTEN_FAILED),
        ),
        ("server",),
    ),
    Flow(
        "connect",
        "Connecting",
        "listening",
        (
            Carry("client", OpCode.HELLO_REQUEST, "~connect_to: tcp|127.0.0.1|7099"),
            Note("each side has its own channel number for the connection; the message_id is one"),
            Carry("server", OpCode.HELLO_RESPONSE),
        ),
    ),
    Flow(
        "connect-fails",
        "Connecting fails: nobody listens",
        "nothing",
        (
            Post("client", OpCode.HELLO_REQUEST, "~connect_to: tcp|127.0.0.1|7099"),
            Sees("client", OpCode.HELLO_REQUEST, AmpeStatus.CONNECT_FAILED),
            _closed("client", AmpeStatus.CONNECT_FAILED),
        ),
        ("client",),
    ),
    Flow(
        "request",
        "A request, signals about its progress, the response",
        "open",
        (
            Carry("client", OpCode.REQUEST),
            Carry("server", OpCode.SIGNAL, "same message_id: 50 % done"),
            Carry("server", OpCode.RESPONSE, "same message_id"),
        ),
    ),
    Flow(
        "stream",
        "A response in several messages",
        "open",
        (
            Carry("client", OpCode.REQUEST),
            Carry("server", OpCode.RESPONSE, "same message_id, more", more=True),
            Carry("server", OpCode.RESPONSE, "same message_id, more", more=True),
            Carry("server", OpCode.RESPONSE, "same message_id, last"),
        ),
    ),
    Flow(
        "bye",
        "Closing by agreement",
        "open",
        (
            Carry("client", OpCode.BYE_REQUEST),
            Carry("server", OpCode.SIGNAL, "the server may still send"),
            Carry("server", OpCode.BYE_RESPONSE),
            Wire("client", "FIN, everything is sent"),
            _closed("client", _SUCCESS),
            _closed("server", _SUCCESS),
        ),
    ),
    Flow(
        "bye-crossed",
        "Both sides say good-bye at once",
        "open",
        (
            Cross(OpCode.BYE_REQUEST),
            Carry("client", OpCode.BYE_RESPONSE, "from whichever side answers first"),
            _closed("client", _SUCCESS),
            _closed("server", _SUCCESS),
        ),
    ),
    Flow(
        "abort",
        "Aborting a channel",
        "open",
        (
            Post("client", OpCode.BYE_SIGNAL),
            Sees("client", OpCode.BYE_SIGNAL, _CLOSED),
            _closed("client", _CLOSED),
            Wire("client", "reset"),
            _closed("server", AmpeStatus.COMMUNICATION_FAILED),
        ),
    ),
    Flow(
        "reject",
        "Turning a client away",
        "listening",
        (
            Carry("client", OpCode.HELLO_REQUEST),
            Carry("server", OpCode.BYE_RESPONSE, "instead of HelloResponse"),
            Wire("client", "FIN"),
            _closed("client", _SUCCESS),
            _closed("server", _SUCCESS),
        ),
    ),
    Flow(
        "pool-empty",
        "The receiver's pool runs dry",
        "open, pool of one",
        (
            Carry("client", OpCode.REQUEST, "kept by the server's application"),
            Post("client", OpCode.REQUEST),
            Sees("server", OpCode.SIGNAL, AmpeStatus.POOL_EMPTY),
            Note("the channel does not read; TCP holds the client back; nothing is lost"),
            Put("server"),
            Sees("server", OpCode.REQUEST, _SUCCESS, OriginFlag.APPLICATION, note="the second one"),
        ),
    ),
    Flow(
        "update-receiver",
        "Waking one's own receiver",
        "nothing",
        (
            Update("client"),
            Sees("client", OpCode.SIGNAL, AmpeStatus.RECEIVER_UPDATE),
        ),
        ("client",),
    ),
)
