"""Who may become a channel."""

import logging

import attrs
import pytest

from pytofu import Address, Options, TCPServerAddress, TLSServerAddress, UDSServerAddress
from pytofu.engine.admission import Admission
from pytofu.engine.limits import Limits
from pytofu.links.base import Link, LinkError, Wait
from pytofu.values.peer_info import PeerInfo


@attrs.frozen
class FromHost(Link):
    """A link of which only the peer is known."""

    host: str

    def peer(self) -> PeerInfo:
        return PeerInfo(self.host, 4711)

    def fileno(self) -> int:
        raise AssertionError

    def open(self) -> Wait | LinkError | None:
        raise AssertionError

    def receive(self, size: int) -> bytes | Wait | LinkError:
        raise AssertionError

    def send(self, data: bytes | memoryview) -> int | Wait | LinkError:
        raise AssertionError

    def end(self) -> Wait | LinkError | None:
        raise AssertionError

    def close(self, *, reset: bool) -> None:
        raise AssertionError


class Unasked(FromHost):
    def peer(self) -> PeerInfo:
        raise AssertionError("nobody needs to know")


def admission_of(options: Options) -> tuple[Admission, Limits]:
    limits = Limits()
    return Admission(options, limits), limits


async def test_without_limits_everybody_is_admitted_and_nobody_asked_who_it_is() -> None:
    admission, limits = admission_of(Options())
    assert admission.admit(Unasked("10.0.0.1")) == ""
    admission.closed("")
    assert limits.counts == {}


async def test_so_many_channels_from_a_host_and_no_more() -> None:
    admission, limits = admission_of(Options(max_channels_per_host=2))
    assert [admission.admit(FromHost("a")) for _ in range(3)] == ["a", "a", None]
    assert [admission.admit(FromHost("b")) for _ in range(3)] == ["b", "b", None]
    assert limits.counts == {"max_channels_per_host": 2}
    admission.closed("a")
    assert admission.admit(FromHost("a")) == "a"
    assert admission.admit(FromHost("a")) is None
    for host in "aabb":
        admission.closed(host)
    assert admission.admit(FromHost("a")) == "a"
    assert len(admission._by_host) == 1


async def test_who_has_no_host_is_not_counted() -> None:
    admission, _ = admission_of(Options(max_channels_per_host=1))
    assert [admission.admit(FromHost("")) for _ in range(3)] == [""] * 3
    admission.closed("")


async def test_who_is_not_wanted_is_not_admitted_nor_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[PeerInfo] = []

    def is_wanted(peer: PeerInfo) -> bool:
        asked.append(peer)
        return peer.host != "bad"

    admission, limits = admission_of(Options(accept_filter=is_wanted, max_channels_per_host=1))
    assert [admission.admit(FromHost(host)) for host in ("bad", "good")] == [None, "good"]
    assert asked == [PeerInfo("bad", 4711), PeerInfo("good", 4711)]
    assert admission.admit(FromHost("good")) is None
    assert len(asked) == 2  # over the limit it is not asked
    assert (limits.counts, len(admission._by_host)) == ({"max_channels_per_host": 1}, 1)
    assert "accept_filter" not in caplog.text


async def test_a_filter_alone_counts_nobody() -> None:
    admission, _ = admission_of(Options(accept_filter=lambda peer: True))
    assert admission.admit(FromHost("a")) == ""


async def test_a_filter_that_raises_refuses_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def is_wanted(peer: PeerInfo) -> bool:
        raise RuntimeError("cannot tell")

    admission, _ = admission_of(Options(accept_filter=is_wanted))
    assert admission.admit(FromHost("a")) is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "accept_filter failed" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "cannot tell"


def test_full_is_full() -> None:
    admission, _ = admission_of(Options(max_channels=3))
    assert [admission.is_full(channels) for channels in (0, 2, 3, 4)] == [False, False, True, True]


def test_who_waits_for_a_channel_to_close_is_called_once() -> None:
    admission, _ = admission_of(Options())
    calls: list[str] = []

    def again() -> None:
        calls.append("again")
        admission.call_when_not_full(lambda: calls.append("then"))

    admission.call_when_not_full(lambda: calls.append("one"))
    admission.call_when_not_full(again)
    admission.closed("")
    assert calls == ["one", "again"]
    admission.closed("")
    admission.closed("")
    assert calls == ["one", "again", "then"]


async def test_who_asks_again_and_again_to_be_called_is_called_once() -> None:
    """As a listener does for each connection that comes where there is no descriptor."""
    calls: list[str] = []

    class Listener:
        def open_doors(self) -> None:
            calls.append("open")

    admission, _ = admission_of(Options())
    listener = Listener()
    for _ in range(3):
        admission.call_when_not_full(listener.open_doors)
    admission.closed("")
    assert calls == ["open"]


# ---------------------------------------------------------------------- in clear


@pytest.mark.parametrize(
    ("addresses", "warned"),
    [
        ([TCPServerAddress("127.0.0.2", 5), TCPServerAddress("::1", 5)], False),
        ([UDSServerAddress("/s"), TLSServerAddress("0.0.0.0", 5)], False),
        ([TCPServerAddress("0.0.0.0", 5), TCPServerAddress("::", 5)], True),
        ([TCPServerAddress("fe80::1%1", 5)], True),
    ],
)
async def test_one_warning_where_anybody_can_connect_in_clear(
    addresses: list[Address], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    admission, _ = admission_of(Options())
    for address in addresses:
        admission.listening_at(address)
    assert len(caplog.records) == warned
    assert ("in_clear=True" in caplog.text) is warned


async def test_in_clear_as_it_should_be(caplog: pytest.LogCaptureFixture) -> None:
    admission, _ = admission_of(Options(in_clear=True))
    admission.listening_at(TCPServerAddress("0.0.0.0", 5))
    assert not caplog.records
