"""Who is let in (`serve(admit=...)`), and who a peer is (`Peer.identity`)."""

import os
import ssl
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import (
    Backoff,
    ConnectError,
    Incoming,
    NotSent,
    OpCode,
    Peer,
    PeerInfo,
    RemoteError,
    Topics,
    connect,
    open_ampe,
)
from pytofu.values.address_text import address_text, client_address
from tests.peers.pairs import AWARE, TCP, Script, connected, counted, echo, serving
from tests.support import RawListener, RawPeer, frame
from tests.tls_sockets import HOST, authority

HELLO = frame(OpCode.HELLO_REQUEST, 7, text=b"~connect_to:uds|x\r\n" + AWARE)


async def only_with_token(peer: Peer) -> None:
    if peer.info.get("token") != "right":
        raise RemoteError("UNAUTHENTICATED", "no token that is known", b"body")


async def test_who_is_not_let_in_hears_why_and_leaves_nothing() -> None:
    seen: list[str] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(peer.info["token"])
        return request.body

    async with open_ampe() as ampe:
        async with serving(handler, admit=only_with_token, ampe=ampe) as where:
            for reconnect in (None, Backoff()):
                with pytest.raises(RemoteError, match="no token that is known") as caught:
                    async with connect(where, hello={"token": "wrong"}, reconnect=reconnect):
                        raise AssertionError
                assert caught.value.code == "UNAUTHENTICATED"
            async with connect(where, hello={"token": "right"}) as peer:
                assert (await peer.call(b"x")).body == b"x"
        assert seen == ["right"]
        assert ampe.statistics().channels == 0


async def test_a_refusal_out_of_a_nursery_is_one_too() -> None:
    async def admit(peer: Peer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(only_with_token, peer)

    async with serving(admit=admit) as where:
        with pytest.raises(RemoteError, match="no token that is known"):
            async with connect(where):
                raise AssertionError


async def test_what_fails_in_admit_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def admit(peer: Peer) -> None:
        raise ValueError("a secret")

    async with serving(admit=admit) as where:
        with pytest.raises(RemoteError) as caught:
            async with connect(where):
                raise AssertionError
    assert (caught.value.code, caught.value.text) == ("INTERNAL", "")
    assert caplog.records[0].getMessage() == "admit failed: the peer is sent away"


async def test_until_it_is_let_in_nothing_that_a_peer_asks_is_looked_at() -> None:
    handled: list[bytes] = []
    go_on = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        handled.append(request.body)
        return b""

    async def admit(peer: Peer) -> None:
        await go_on.wait()

    topics = Topics()
    async with serving(handler, admit=admit, topics=topics) as where:
        with await RawPeer.connect(client_address(where)) as raw:
            script = Script(raw)
            await raw.send(HELLO + frame(OpCode.REQUEST, 9, body=b"early"))
            await script.send(OpCode.REQUEST, 11, b"tofu-subscribe:>\r\ntofu-credit:9\r\n")
            await wait_all_tasks_blocked()
            assert (handled, topics.publish("a", b"")) == ([], 0)
            go_on.set()
            await script.expect(OpCode.HELLO_RESPONSE)
            answers = [await script.expect(OpCode.RESPONSE) for _ in range(2)]
            assert {answer.message_id: answer.body for answer in answers} == {9: b"", 11: b""}
            assert topics.publish("a", b"") == 1
    assert handled == [b"early"]


async def test_who_leaves_is_not_asked_about_any_longer() -> None:
    begun, ended = trio.Event(), trio.Event()

    async def admit(peer: Peer) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with counted() as ampe, serving(admit=admit, ampe=ampe) as where:
        with await RawPeer.connect(client_address(where)) as raw:
            await raw.send(HELLO + 3 * frame(OpCode.REQUEST, 9, body=b"early"))
            await begun.wait()
        with trio.fail_after(5):
            await ended.wait()


@pytest.mark.parametrize("in_time", [True, False])
async def test_who_is_not_let_in_yet_when_the_server_ends_is_sent_away(
    autojump_clock: trio.testing.MockClock, in_time: bool
) -> None:
    async def admit(peer: Peer) -> None:
        with trio.CancelScope(shield=True):  # a program that will not be hurried
            await trio.sleep(1 if in_time else 20)

    async def come(where: str) -> None:
        with pytest.raises((ConnectError, NotSent)):
            async with connect(where):
                raise AssertionError

    async with trio.open_nursery() as nursery, serving(admit=admit, grace=5) as where:
        nursery.start_soon(come, where)
        await wait_all_tasks_blocked(0.01)
    assert trio.current_time() < 30


async def test_who_waits_to_be_let_in_when_the_server_ends_hears_so_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def admit(peer: Peer) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, serving(admit=admit) as where:

        async def come() -> None:
            with pytest.raises(ConnectError):
                async with connect(where):
                    raise AssertionError

        nursery.start_soon(come)
        await wait_all_tasks_blocked(0.01)
    assert trio.current_time() < 1


async def test_whom_another_server_does_not_let_in() -> None:
    """The convention on the wire, from the other side."""
    done = trio.Event()
    with RawListener(TCP) as listener:

        async def refuse() -> None:
            with await listener.accept() as raw:
                script = Script(raw)
                greeting = await script.expect(OpCode.HELLO_REQUEST)
                text = b"tofu-status:PERMISSION_DENIED\r\ntofu-message:not%20you\r\n"
                await script.send(OpCode.HELLO_RESPONSE, greeting.message_id, text)
                await done.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            with pytest.raises(RemoteError, match="not you") as caught:
                async with connect(address_text(listener.client_address)):
                    raise AssertionError
            assert caught.value.code == "PERMISSION_DENIED"
            done.set()


# ---------------------------------------------------------------------- who it is


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere nobody has tried")
async def test_who_is_there_is_what_the_system_says(tmp_path: Path) -> None:
    async with connected(echo, f"uds://{tmp_path / 's'}") as both:
        for peer in (both.client, both.server):
            assert (peer.identity.scheme, peer.identity.pid) == ("uds", os.getpid())
            assert peer.identity.uid == os.getuid()


@pytest.mark.parametrize("asked", [True, False])
async def test_who_it_was_is_known_behind_the_end_if_it_was_asked_for_before(asked: bool) -> None:
    async with connected() as both:
        known = both.server.identity if asked else PeerInfo()
        assert known.host == ("127.0.0.1" if asked else "")
        await both.client.bye()
        await both.server.closed.wait()
        assert both.server.identity == known


async def test_admission_by_who_it_is() -> None:
    async def admit(peer: Peer) -> None:
        if peer.identity.host == "127.0.0.1":
            raise RemoteError("PERMISSION_DENIED", peer.identity.address)

    async with serving(admit=admit) as where:
        with pytest.raises(RemoteError, match=r"tcp://127.0.0.1:\d+"):
            async with connect(where):
                raise AssertionError


async def test_a_certificate_is_of_the_peer_that_showed_it() -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(HOST).configure_cert(server)
    authority().configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(client)
    authority().issue_cert("worker.example.org").configure_cert(client)

    async def handler(peer: Peer, request: Incoming) -> bytes:
        return ",".join(peer.identity.names).encode()

    async with (
        serving(handler, "tls://127.0.0.1:0", tls=server) as where,
        connect(where, tls=client) as peer,
    ):
        assert (await peer.call()).body == b"DNS:worker.example.org"
        assert peer.identity.names == ("IP Address:127.0.0.1",)
