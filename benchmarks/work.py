"""What is measured: the works, and what a contender is told about the one at hand."""

import json
import random
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

import attrs

_SAFE_IN_FLIGHT: Final = 64 * 1024


class Subject(StrEnum):
    """What kind of work it is; a contender has code for each that it takes part in."""

    ECHO = "echo"
    """Requests, each answered with the same bytes; `outstanding` of them under way at a time."""
    ONE_WAY = "oneway"
    """Messages that nobody answers, then one that asks how many arrived as they were sent."""
    TLS = "tls"
    """Echo over TLS; that of pytofu without TLS is the measure."""
    FAN_IN = "fanin"
    """Echo on many channels of one client process, one request under way on each."""
    CALL = "call"
    """Calls by `outstanding` tasks, each of which waits for its own answer before it calls again;
    at the server each is carried out in a task of its own, so that none holds up another."""
    STREAM = "stream"
    """Items of one stream, then one that asks how many arrived as they were sent."""
    FAN_OUT = "fanout"
    """Messages published to `channels` subscribers, each on a connection of its own; `outstanding`
    of them under way at a time, counted when the last subscriber has it."""
    RATE = "rate"
    """Requests sent on a schedule, whatever has been answered, at a share of what saturates."""
    CONNECTIONS = "connect"
    """Connect, say hello and hear it, take leave; again and again."""
    IDLE = "idle"
    """What a channel costs that only stays open."""
    START_UP = "startup"
    """What a program pays before it can do anything; there is no server."""


@attrs.frozen
class Work:
    """One row of the suite."""

    subject: Subject = attrs.field(converter=Subject)
    body: int = 64
    """Bytes in the body of each message."""
    outstanding: int = 1
    """Requests under way at a time, on each channel; of a schedule, before it begins."""
    channels: int = 1
    """Connections of the client."""
    share: int = 0
    """Percent of the saturating rate at which a schedule sends."""

    @property
    def lengthening(self) -> float:
        """How much longer than others it runs: long enough to see whether a thousand channels are
        served alike, or for a thousandth of the requests to be several."""
        many = self.subject is Subject.FAN_IN and self.channels >= 1000
        return 2.0 if many or self.subject is Subject.RATE else 1.0

    @property
    def name(self) -> str:
        """How the command line calls it."""
        match self.subject:
            case Subject.ECHO | Subject.TLS:
                return f"{self.subject}-{self.body}x{self.outstanding}"
            case Subject.ONE_WAY:
                return f"oneway-{self.body}"
            case Subject.FAN_IN:
                return f"fanin-{self.channels}"
            case Subject.CALL:
                return f"call-{self.body}x{self.outstanding}"
            case Subject.FAN_OUT:
                return f"fanout-{self.channels}"
            case Subject.RATE:
                return f"rate-{self.share}"
            case Subject.IDLE:
                return f"idle-{self.channels}"
            case Subject.CONNECTIONS | Subject.STREAM | Subject.START_UP:
                return self.subject.value

    @property
    def title(self) -> str:
        """How tables and pictures call it."""
        match self.subject:
            case Subject.ECHO:
                return f"echo, {self.body:,} bytes, {self.outstanding} outstanding"
            case Subject.TLS:
                return f"echo over TLS, {self.body:,} bytes, {self.outstanding} outstanding"
            case Subject.ONE_WAY:
                return f"one way, {self.body:,} bytes"
            case Subject.FAN_IN:
                plural = "s" if self.channels > 1 else ""
                return (
                    f"fan-in, {self.channels:,} channel{plural}, {self.body} bytes, 1 outstanding"
                )
            case Subject.CALL:
                return f"calls, {self.body:,} bytes, {self.outstanding} under way"
            case Subject.STREAM:
                return f"a stream, items of {self.body:,} bytes"
            case Subject.FAN_OUT:
                return f"published, {self.body} bytes, to {self.channels:,} subscribers each"
            case Subject.RATE:
                return f"open loop, {self.body:,} bytes, {self.share} % of its own saturating rate"
            case Subject.CONNECTIONS:
                return "connect, hello, bye"
            case Subject.IDLE:
                return f"memory of {self.channels:,} idle channels"
            case Subject.START_UP:
                return "start-up"


@attrs.frozen
class Task:
    """A work and how long to do it: all that a contender's processes are told."""

    work: Work
    seconds: float = 1.0
    """How long to measure."""
    warm_up: float = 0.2
    """Seconds of the same work before that."""
    server_pid: int = 0
    """The server's process: the client looks at its memory and its processor time."""
    profile: str = ""
    """A folder where both processes write their profiles; without one, nothing is profiled."""
    certificates: str = ""
    """The folder of the certificates, for who speaks TLS."""

    @cached_property
    def body(self) -> bytes:
        """The bytes that every message of this work carries; client and server know them."""
        return random.Random(self.work.body).randbytes(self.work.body)

    @property
    def fills_buffers(self) -> bool:
        """Whether more is under way than the smallest socket buffers hold.

        A client must then go on reading while it writes, or both sides could wait for each other.
        """
        return self.work.outstanding * (self.work.body + 16) > _SAFE_IN_FLIGHT

    @property
    def saturation(self) -> Self:
        """Before a schedule: as much as goes through, to learn what its rate is a share of."""
        return attrs.evolve(self, seconds=self.seconds / 4)

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "work": Work(**fields["work"])})


LARGEST_BODY: Final = 65535

WORKS: Final[Sequence[Work]] = (
    *(
        Work(Subject.ECHO, body, outstanding)
        for body in (0, 64, 1024)
        for outstanding in (1, 64, 512)
    ),
    *(Work(Subject.ECHO, LARGEST_BODY, outstanding) for outstanding in (1, 16)),
    Work(Subject.TLS, 64, 64),
    Work(Subject.TLS, LARGEST_BODY, 16),
    Work(Subject.ONE_WAY, 64),
    Work(Subject.ONE_WAY, LARGEST_BODY),
    *(Work(Subject.FAN_IN, channels=channels) for channels in (1, 10, 100, 1000)),
    *(Work(Subject.CALL, 64, outstanding) for outstanding in (1, 64)),
    Work(Subject.STREAM, 1024),
    Work(Subject.FAN_OUT, 64, 16, channels=100),
    *(Work(Subject.RATE, outstanding=64, share=share) for share in (20, 50, 80)),
    Work(Subject.CONNECTIONS, body=0),
    *(Work(Subject.IDLE, channels=channels) for channels in (1000, 5000)),
    Work(Subject.START_UP),
)
"""Every work of the full suite."""
