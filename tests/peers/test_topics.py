"""Publishing: patterns, queues, policies, credit (peers/topics.py)."""

import math
import re
from collections import deque

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from pytofu import AmpeException, NotSent, OpCode, RemoteError, Topics, connect
from pytofu.peers import topics as module
from pytofu.peers.topics import (
    Item,
    LatestOfEach,
    OldestDropped,
    matches,
    pattern_tokens,
    topic_tokens,
)
from pytofu.peers.wire import MAX_BODY
from tests.peers.faults import Full
from tests.peers.pairs import connected, scripted_client, serving

TOKENS = st.lists(st.sampled_from(["a", "b", "a*", ">b"]), min_size=1, max_size=5)


# ---------------------------------------------------------------------- patterns


@given(st.lists(st.sampled_from(["a", "b", "a*", ">b", "*"]), max_size=4), st.booleans(), TOKENS)
def test_patterns_mean_what_their_regular_expressions_do(
    pattern: list[str], rest: bool, topic: list[str]
) -> None:
    tokens = [*pattern, ">"] if rest or not pattern else pattern
    expression = r"\.".join(
        {"*": r"[^.]+", ">": r".+"}.get(token, re.escape(token)) for token in tokens
    )
    expected = re.fullmatch(expression, ".".join(topic)) is not None
    found = matches(pattern_tokens(".".join(tokens)), topic_tokens(".".join(topic)))
    assert found == expected


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a\n", ">.a", "a.>.b"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="not a pattern"):
        pattern_tokens(text)


@pytest.mark.parametrize("text", ["", "a.", "a..b", "a\tb", "*", "a.*.b", ">", "a.>"])
def test_what_is_no_topic(text: str) -> None:
    with pytest.raises(ValueError, match="not a topic"):
        topic_tokens(text)


# ---------------------------------------------------------------------- queues

STEPS = st.lists(st.one_of(st.none(), st.sampled_from("abcde")), max_size=60)


@given(STEPS, st.integers(1, 4), st.sampled_from(["drop-oldest", "latest", "disconnect"]))
@example(["a", "b"], 1, "latest")
def test_queues_lose_only_what_they_count(
    steps: list[str | None], keep: int, policy: module.Policy
) -> None:
    queue = (
        LatestOfEach(keep)
        if policy == "latest"
        else OldestDropped(keep, refuses=policy == "disconnect")
    )
    model: deque[Item] = deque()
    for number, step in enumerate(steps):
        if step is None:
            if len(queue):
                assert queue.next() is model.popleft()
            continue
        item = Item(step, b"", b"%d" % number)
        dropped = queue.add(item)
        old = next((one for one in model if one.topic == step), None)
        if policy == "latest" and old is not None:
            assert dropped == 1
            model[model.index(old)] = item
        elif len(model) < keep:
            assert dropped == 0
            model.append(item)
        elif policy == "disconnect":
            assert dropped is None
        else:
            assert dropped == 1
            model.popleft()
            model.append(item)
        assert len(queue) == len(model) <= keep


# ---------------------------------------------------------------------- publishing


async def test_subscribers_get_what_their_patterns_stand_for() -> None:
    topics = Topics()
    async with (
        connected(topics=topics) as both,
        both.client.subscribe("news.*") as some,
        both.client.subscribe(">") as everything,
    ):
        assert topics.publish("news.sport", b"1", {"a": "b"}) == 2
        assert topics.publish("weather", b"2") == 1
        message = await anext(some)
        assert (message.topic, message.body, message.missed) == ("news.sport", b"1", 0)
        assert message.headers == {"a": "b"}
        assert [(await anext(everything)).topic for _ in range(2)] == ["news.sport", "weather"]
    assert topics.publish("weather", b"3") == 0


async def test_messages_of_any_length() -> None:
    topics = Topics()
    async with connected(topics=topics) as both, both.client.subscribe("a") as messages:
        for length in (0, 65_535, 65_536, 300_000):
            topics.publish("a", bytes(length))
            assert (await anext(messages)).body == bytes(length)
    with pytest.raises(ValueError, match="67108865"):
        topics.publish("a", bytes(MAX_BODY + 1))


async def test_a_slow_subscriber_costs_the_others_nothing_and_is_told_what_it_missed() -> None:
    topics = Topics(keep=10)
    async with (
        serving(topics=topics) as where,
        connect(where) as slow_peer,
        connect(where) as quick_peer,
        slow_peer.subscribe("a", window=10_000) as slow,
        quick_peer.subscribe("a") as quick,
    ):
        for number in range(100):
            assert topics.publish("a", b"%02d" % number + bytes(1000)) == 2
            message = await anext(quick)
            assert (message.body[:2], message.missed) == (b"%02d" % number, 0)
        got = [await anext(slow)]
        while got[-1].body[:2] != b"99":
            got.append(await anext(slow))
        assert sum(message.missed for message in got) + len(got) == 100
        # What was under way, and what waited: the newest. Nothing older than that.
        assert len(got) <= 10_000 // 1000 + 10
        assert [message.body[:2] for message in got[-10:]] == [b"%d" % n for n in range(90, 100)]


async def test_the_latest_of_each_topic() -> None:
    topics = Topics(policy="latest")
    async with (
        connected(topics=topics) as both,
        both.client.subscribe(">", window=1) as messages,
    ):
        for number in range(10):
            for topic in ("x", "y"):
                topics.publish(topic, b"%d" % number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        got = [await anext(messages) for _ in range(3)]
    assert [(one.topic, one.body, one.missed) for one in got] == [
        ("x", b"0", 0),
        ("y", b"9", 17),
        ("x", b"9", 0),
    ]


async def test_a_slow_subscriber_is_disconnected() -> None:
    topics = Topics(keep=2, policy="disconnect")
    async with (
        connected(topics=topics) as both,
        both.client.subscribe("a", window=1) as messages,
    ):
        counts = [topics.publish("a", b"%d" % number) for number in range(5)]
        assert counts == [1, 1, 1, 1, 0]
        assert (await anext(messages)).body == b"0"
        with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED: the subscriber is too slow"):
            await anext(messages)


async def test_send_waits_for_the_slow_ones() -> None:
    topics = Topics(keep=1)
    async with (
        connected(topics=topics) as both,
        both.client.subscribe("a", window=1) as messages,
        trio.open_nursery() as nursery,
    ):

        async def send() -> None:
            for number in range(20):
                assert await topics.send("a", b"%d" % number) == 1

        nursery.start_soon(send)
        for number in range(20):
            await trio.testing.wait_all_tasks_blocked()
            message = await anext(messages)
            assert (message.body, message.missed) == (b"%d" % number, 0)


async def test_who_may_not_send_yet_for_another_slow_one_leaves_the_room_to_the_next() -> None:
    topics = Topics(keep=1)
    async with (
        connected(topics=topics) as both,
        both.client.subscribe("a.*", window=1) as all_of_a,
        both.client.subscribe("a.x", window=1) as only_x,
        trio.open_nursery() as nursery,
    ):
        for number in (0, 1):  # one is sent, one waits
            topics.publish("a.x", b"%d" % number)
        nursery.start_soon(topics.send, "a.x", b"2")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(topics.send, "a.y", b"3")
        await trio.testing.wait_all_tasks_blocked()
        bodies: list[bytes] = []
        for _ in range(3):  # nobody reads on the other
            bodies.append((await anext(all_of_a)).body)
            await trio.testing.wait_all_tasks_blocked()
        assert bodies == [b"0", b"1", b"3"]
        assert [(await anext(only_x)).body for _ in range(3)] == [b"0", b"1", b"2"]


async def test_send_goes_on_when_the_slow_one_leaves_and_may_be_cancelled() -> None:
    topics = Topics(keep=1)
    async with (
        connected(topics=topics) as both,
        trio.open_nursery() as nursery,
        both.client.subscribe("a", window=1),
    ):
        topics.publish("a", b"0")
        topics.publish("a", b"1")
        with trio.move_on_after(0.01) as scope:
            await topics.send("a", b"2")
        assert scope.cancelled_caught
        nursery.start_soon(topics.send, "a", b"3")
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("topic", "headers", "error"),
    [
        ("a.*", {}, ValueError),
        ("a", {"tofu-x": "1"}, ValueError),
        ("a", {"x": "1\n2"}, AmpeException),
        ("a", {"x": "1" * 60_000}, ValueError),
    ],
)
async def test_what_cannot_be_published(
    topic: str, headers: dict[str, str], error: type[Exception]
) -> None:
    topics = Topics()
    with pytest.raises(error):
        topics.publish(topic, b"", headers)
    with pytest.raises(error):
        await topics.send(topic, b"", headers)


def test_settings() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Topics(keep=0)
    with pytest.raises(ValueError, match="one of"):
        Topics(policy="never")  # type: ignore[arg-type]


def test_many_topics_are_not_remembered_for_ever() -> None:
    topics = Topics()
    for number in range(5000):
        topics.publish(f"t.{number}", b"")
    assert len(topics._interested) <= 1024


# ---------------------------------------------------------------------- subscribing


async def test_what_cannot_be_subscribed_to() -> None:
    async with connected() as both:
        with pytest.raises(RemoteError, match="UNIMPLEMENTED: nothing is published"):
            async with both.client.subscribe("a"):
                raise AssertionError
        with pytest.raises(ValueError, match="not a pattern"):
            async with both.client.subscribe(""):
                raise AssertionError


async def test_requests_of_subscriptions_that_are_wrong() -> None:
    topics = Topics()
    async with serving(topics=topics) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-subscribe:a b\r\n")
        assert b"INVALID_ARGUMENT" in (await script.expect(OpCode.RESPONSE)).text
        await script.send(OpCode.REQUEST, 3, b"tofu-subscribe:a\r\n")
        assert (await script.expect(OpCode.RESPONSE)).text == b""
        await script.send(OpCode.REQUEST, 3, b"tofu-subscribe:b\r\n")
        assert b"RESOURCE_EXHAUSTED" in (await script.expect(OpCode.RESPONSE)).text
        topics.publish("a", b"x")
        await script.send(OpCode.SIGNAL, 3, b"tofu-credit:1\r\n")
        assert (await script.expect(OpCode.RESPONSE)).body == b"x"
        await script.send(OpCode.SIGNAL, 3, b"tofu-cancel:1\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert topics.publish("a", b"x") == 0


async def test_a_draining_server_takes_no_subscriptions() -> None:
    async with connected(topics=Topics()) as both:
        both.server._link.answering.refusing = True
        with pytest.raises(NotSent):
            async with both.client.subscribe("a"):
                raise AssertionError
        assert not both.client.connected


async def test_publishing_on_a_channel_that_has_just_ended() -> None:
    topics = Topics()
    async with connected(topics=topics) as both, both.client.subscribe("a") as messages:
        outlet = both.server._link.outlet
        number, outlet.number = outlet.number, 65_534
        assert topics.publish("a", b"1") == 1
        outlet.number = number
        assert topics.publish("a", b"2") == 1
        assert (await anext(messages)).body == b"1"
        assert (await anext(messages)).body == b"2"
        messages.leave()
        await both.client.call()
        assert topics.publish("a", b"3") == 0


async def test_publishing_while_too_much_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be posted waits until the subscriber gives credit."""
    topics = Topics()
    async with connected(topics=topics) as both, both.client.subscribe("a") as messages:
        outlet = both.server._link.outlet
        with monkeypatch.context() as patched:
            topics.publish("a", bytes(20_000))
            patched.setattr(outlet, "_chnls", Full(outlet._chnls))
            assert topics.publish("a", b"2") == 1
        assert len((await anext(messages)).body) == 20_000
        assert (await anext(messages)).body == b"2"


async def test_publishing_to_one_who_has_gone() -> None:
    topics = Topics()
    async with serving(topics=topics) as where:
        async with scripted_client(where) as script:
            await script.send(OpCode.REQUEST, 1, b"tofu-subscribe:a\r\ntofu-credit:1000000\r\n")
            await script.expect(OpCode.RESPONSE)
            script.raw.close()
            for _ in range(100):
                topics.publish("a", bytes(60_000))
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert topics.publish("a", b"") == 0


async def test_the_age_of_what_a_slow_subscriber_gets_is_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One message a millisecond, to one who takes one in ten milliseconds."""
    topics = Topics(keep=5)
    oldest = -math.inf

    async with connected(topics=topics) as both, trio.open_nursery() as nursery:

        async def publish() -> None:
            while True:
                topics.publish("a", repr(trio.current_time()).encode())
                await trio.sleep(0.001)

        async with both.client.subscribe("a", window=200) as messages:
            nursery.start_soon(publish)
            for _ in range(200):
                await trio.sleep(0.01)
                message = await anext(messages)
                oldest = max(oldest, trio.current_time() - float(message.body))
        nursery.cancel_scope.cancel()
    # A window of 200 bytes holds 5 messages at the most, and the queue 5.
    assert oldest <= 0.01 * (5 + 1) + 0.001 * 6
