"""Listening over TCP: all interfaces, shared ports, names with several addresses."""

import errno
import logging
import os
import socket

import pytest
import trio

from pytofu.links import tcp
from pytofu.links.base import LinkError, Listening
from pytofu.links.by_scheme import begin_listen, connect, listen
from pytofu.links.tcp import TCPListening
from pytofu.values.address import TCPClientAddress, TCPServerAddress
from pytofu.values.status import AmpeError
from tests.links.ends import (
    LOCALHOST,
    Resolves,
    accept,
    accepted,
    client_of,
    connected,
    failed,
    linux_only,
    listening,
    needs_ipv6,
    no_more_files,
    opened,
    port_of,
)
from tests.support import PATIENCE

TAKEN = f"EADDRINUSE, {os.strerror(errno.EADDRINUSE)}"


async def listening_at(address: TCPServerAddress, *, reuse_port: bool = False) -> list[Listening]:
    found = await listen(address, reuse_port=reuse_port)
    assert isinstance(found, list), found
    return found


def test_port_zero_lets_the_system_choose() -> None:
    with listening(LOCALHOST) as one, listening(LOCALHOST) as other:
        assert 0 < port_of(one) != port_of(other) > 0
        assert one.address == TCPServerAddress("127.0.0.1", port_of(one))


@pytest.mark.parametrize("host", ["", pytest.param("::", marks=needs_ipv6)])
def test_all_interfaces_of_both_families(host: str) -> None:
    with listening(TCPServerAddress(host, 0)) as listener:
        hosts = ["127.0.0.1"]
        if ":" in str(listener.address):
            assert listener.address == TCPServerAddress("::", port_of(listener))
            hosts.append("::1")
        for one in hosts:
            with (
                connected(TCPClientAddress(one, port_of(listener))),
                accepted(listener) as server,
            ):
                assert server.peer().host == one  # not ::ffff:127.0.0.1


@needs_ipv6
def test_all_interfaces_where_one_socket_cannot_have_both_families(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    found = begin_listen(TCPServerAddress("", 0), reuse_port=False)
    assert isinstance(found, list)
    port = port_of(found[0])
    assert [one.address for one in found] == [
        TCPServerAddress("::", port),
        TCPServerAddress("0.0.0.0", port),
    ]
    for host, one in zip(("::1", "127.0.0.1"), found, strict=True):
        with connected(TCPClientAddress(host, port)):
            accept(one).close(reset=True)
    for one in found:
        one.close()


def test_an_address_of_another_machine() -> None:
    error = failed(begin_listen(TCPServerAddress("203.0.113.1", 0), reuse_port=False))
    text = os.strerror(errno.EADDRNOTAVAIL)
    detail = f"EADDRNOTAVAIL, {text}: 203.0.113.1 port 0"
    assert error == LinkError(AmpeError.LISTEN_FAILED, detail)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_can_be_shared_only_when_all_agree(reuse_port: bool) -> None:
    with listening(LOCALHOST, reuse_port=True) as first:
        again = begin_listen(first.address, reuse_port=reuse_port)
        if reuse_port:
            assert isinstance(again, list)
            again[0].close()
        else:
            assert failed(again).detail == f"{TAKEN}: 127.0.0.1 port {port_of(first)}"


def test_where_no_port_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_SHARED_PORT", None)
    error = failed(begin_listen(LOCALHOST, reuse_port=True))
    assert error.error is AmpeError.LISTEN_FAILED
    assert error.detail == "ENOPROTOOPT, here no port can be shared: 127.0.0.1 port 0"


# ---------------------------------------------------------------------- listening at a name


@needs_ipv6
async def test_a_name_is_listened_on_at_all_its_addresses_and_one_port(
    resolves: Resolves,
) -> None:
    resolves("::1", "127.0.0.1", "::1")  # some files of names have a line twice
    found = await listening_at(TCPServerAddress("somewhere", 0))
    port = port_of(found[0])
    assert [one.address for one in found] == [
        TCPServerAddress("::1", port),
        TCPServerAddress("127.0.0.1", port),
    ]
    for one in found:
        with connected(client_of(one.address)):
            accept(one).close(reset=True)
    for one in found:
        one.close()


async def test_an_address_that_this_machine_lacks_is_no_failure(
    resolves: Resolves, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pytofu")
    resolves("203.0.113.1", "127.0.0.1", "fd12:3456::1")
    (one,) = await listening_at(TCPServerAddress("somewhere", 0))
    assert one.address == TCPServerAddress("127.0.0.1", port_of(one))
    one.close()
    assert [record.levelno for record in caplog.records] == [logging.DEBUG] * 2
    assert os.strerror(errno.EADDRNOTAVAIL) in caplog.text


@linux_only  # elsewhere 127.0.0.2 is not this machine
async def test_an_address_whose_port_is_taken_is_no_failure_but_a_warning(
    resolves: Resolves, caplog: pytest.LogCaptureFixture
) -> None:
    resolves("127.0.0.1", "127.0.0.2")
    with listening(LOCALHOST) as taken:
        (one,) = await listening_at(TCPServerAddress("somewhere", port_of(taken)))
        assert one.address == TCPServerAddress("127.0.0.2", port_of(taken))
        one.close()
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert f"{TAKEN}: 127.0.0.1 port {port_of(taken)}" in caplog.text


async def test_only_when_all_addresses_fail_listening_does(resolves: Resolves) -> None:
    resolves("203.0.113.1", "203.0.113.2")
    error = failed(await listen(TCPServerAddress("somewhere", 80), reuse_port=False))
    text = f"EADDRNOTAVAIL, {os.strerror(errno.EADDRNOTAVAIL)}: 203.0.113"
    assert error == LinkError(AmpeError.LISTEN_FAILED, f"{text}.1 port 80; {text}.2 port 80")


class Ports:
    """A system that has its ports taken at 127.0.0.2, so many times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.tried: set[int] = set()
        self._bind = tcp._bind

    def bind(self, sockaddr: tuple[str, int], *args: object) -> TCPListening:
        if sockaddr[0] == "127.0.0.2" and self.times:
            self.times -= 1
            self.tried.add(sockaddr[1])
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return self._bind(sockaddr, *args)  # type: ignore[arg-type]


@linux_only  # elsewhere 127.0.0.2 is not this machine
async def test_a_port_of_the_systems_choice_that_is_not_free_everywhere_is_given_up(
    resolves: Resolves, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves("127.0.0.1", "127.0.0.2")
    ports = Ports(3)
    monkeypatch.setattr(tcp, "_bind", ports.bind)
    one, other = await listening_at(TCPServerAddress("somewhere", 0))
    assert port_of(one) == port_of(other)
    assert len(ports.tried) >= 1
    assert ports.times == 0
    one.close()
    other.close()


@linux_only  # elsewhere 127.0.0.2 is not this machine
async def test_that_does_not_go_on_for_ever(
    resolves: Resolves, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr(tcp, "_bind", Ports(1000).bind)
    (one,) = await listening_at(TCPServerAddress("somewhere", 0))
    assert one.address == TCPServerAddress("127.0.0.1", port_of(one))
    one.close()


async def test_cancelling_the_resolver_leaves_nothing() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await listen(TCPServerAddress("localhost", 0), reuse_port=False)
    assert scope.cancelled_caught


async def test_a_literal_needs_no_resolver_to_be_listened_on() -> None:
    (one,) = await listening_at(LOCALHOST)
    one.close()


async def test_without_descriptors_a_name_says_so(resolves: Resolves) -> None:
    resolves("127.0.0.1")
    with no_more_files():
        error = failed(await listen(TCPServerAddress("somewhere", 0), reuse_port=False))
    assert error.error is AmpeError.LISTEN_FAILED
    assert error.detail.startswith("EMFILE, ")


async def test_a_real_name_is_listened_on_and_connected_to() -> None:
    found = await listening_at(TCPServerAddress("localhost", 0))
    with trio.fail_after(PATIENCE):
        link = opened(await connect(TCPClientAddress("localhost", port_of(found[0]))))
    assert link.peer().port == port_of(found[0])
    link.close(reset=True)
    for one in found:
        one.close()
