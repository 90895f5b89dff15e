"""What an engine can be told when it is opened (PROTOCOL 2, 5 to 7)."""

import inspect
import math
import re
from typing import Any, Final, cast, get_args

import attrs
import pytest
from trio.testing import wait_all_tasks_blocked

from pytofu import Holder, OpCode, Options
from pytofu.links.settings import TCPSettings
from pytofu.protocol.conversation import TimeLimits
from pytofu.values.peer_info import PeerInfo
from tests.engine.scripted import ScriptedLink, open_server
from tests.support import frame, open_app

AT_LEAST_ZERO: Final = (
    *("high_water", "connect_timeout", "hello_timeout", "frame_timeout", "send_timeout"),
    *("bye_timeout", "close_timeout", "keepalive", "keepalive_interval", "user_timeout"),
)
AT_LEAST_ONE: Final = (
    *("max_received_bytes", "max_hello_bytes", "max_queued_bytes", "max_total_queued_bytes"),
    *("max_channels", "max_channels_per_host", "keepalive_count"),
    *("send_buffer", "receive_buffer"),
)
MAY_BE_NONE: Final = (
    *("max_channels_per_host", "accept_filter", "send_buffer", "receive_buffer"),
    *("tls_server", "tls_client"),
)


def options_with(name: str, value: object) -> Options:
    return attrs.evolve(Options(), **cast("Any", {name: value}))


def test_every_option_has_a_default() -> None:
    kib, mib = 1024, 1024 * 1024
    assert Options() == Options(
        initial_pool_msgs=8192,
        max_pool_msgs=16384,
        max_received_bytes=64 * mib,
        channel_share=1 / 8,
        max_hello_bytes=16 * kib,
        high_water=mib,
        max_queued_bytes=16 * mib,
        max_total_queued_bytes=64 * mib,
        max_channels=10_000,
        max_channels_per_host=None,
        accept_filter=None,
        reuse_port=False,
        tls_server=None,
        tls_client=None,
        in_clear=False,
        connect_timeout=10.0,
        hello_timeout=10.0,
        frame_timeout=60.0,
        send_timeout=60.0,
        close_timeout=5.0,
        bye_timeout=30.0,
        keepalive=30.0,
        keepalive_interval=10.0,
        keepalive_count=3,
        user_timeout=60.0,
        busy_poll=100e-6,
        send_buffer=None,
        receive_buffer=None,
    )


@pytest.mark.parametrize("number", [0, None])
def test_no_size_of_the_pool_means_the_default(number: int | None) -> None:
    assert Options(initial_pool_msgs=number, max_pool_msgs=number) == Options()


def test_options_are_immutable_values_with_names() -> None:
    options = Options(close_timeout=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        options.close_timeout = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(1024)  # type: ignore[call-arg]
    assert attrs.evolve(options, close_timeout=5.0, bye_timeout=30.0) == Options()
    assert len({options, Options(close_timeout=1)}) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in AT_LEAST_ZERO),
        *((name, 1) for name in AT_LEAST_ONE),
        *((name, None) for name in MAY_BE_NONE),
        *(("channel_share", share) for share in (1e-9, 0.5, 1.0)),
        *(("busy_poll", seconds) for seconds in (0, 1e-9, 0.01)),
    ],
)
def test_what_is_just_within_range(name: str, value: object) -> None:
    assert getattr(options_with(name, value), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, -1) for name in ("initial_pool_msgs", "max_pool_msgs", *AT_LEAST_ZERO)),
        *((name, value) for name in AT_LEAST_ONE for value in (0, -1)),
        *(("channel_share", share) for share in (0, -0.5, 1.01)),
        *(("busy_poll", seconds) for seconds in (-1e-9, 0.011, math.inf, math.nan)),
    ],
)
def test_what_is_out_of_range_says_which_option(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        options_with(name, value)


def test_no_option_is_without_these_tests() -> None:
    seen = {*AT_LEAST_ZERO, *AT_LEAST_ONE, *MAY_BE_NONE, "channel_share", "busy_poll"}
    seen |= {"initial_pool_msgs", "max_pool_msgs", "reuse_port", "in_clear"}
    assert seen == {field.name for field in attrs.fields(Options)}


@pytest.mark.parametrize("close_timeout", [0.0, 0.5, 5.0])
def test_who_wants_a_quick_end_need_not_wait_for_a_bye_either(close_timeout: float) -> None:
    assert Options(close_timeout=close_timeout).bye_timeout == 6 * close_timeout
    assert Options(close_timeout=close_timeout, bye_timeout=2.0).bye_timeout == 2.0


def test_a_conversation_is_told_the_time_limits_under_the_same_names() -> None:
    names = [field.name for field in attrs.fields(TimeLimits)]
    options = Options(**cast("Any", {name: float(n) for n, name in enumerate(names, 1)}))
    assert attrs.asdict(options.time_limits) == {name: float(n) for n, name in enumerate(names, 1)}
    assert options.time_limits is options.time_limits


def test_links_are_told_their_settings_under_the_same_names() -> None:
    names = [field.name for field in attrs.fields(TCPSettings)]
    options = Options(**cast("Any", {name: n for n, name in enumerate(names, 1)}))
    assert attrs.asdict(options.tcp_settings) == {name: n for n, name in enumerate(names, 1)}
    assert options.tcp_settings is options.tcp_settings


def test_a_filter_is_called_with_the_peer() -> None:
    options = Options(accept_filter=lambda peer: peer.host == "::1")
    assert options.accept_filter is not None
    assert options.accept_filter(PeerInfo("::1", 5))
    assert not options.accept_filter(PeerInfo("::2", 5))


def test_every_option_says_what_it_is() -> None:
    source = inspect.getsource(Options)
    for field in attrs.fields(Options):
        documented = rf'\n    {field.name}: .+(\n    [ )].*)*\n    """[A-Z]'
        assert re.search(documented, source), field.name


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Options)])
@pytest.mark.parametrize("given", ["5", b"5", [5], object(), 2.5, True, 5])
def test_what_is_of_another_type_is_refused_by_its_name(name: str, given: object) -> None:
    match name:
        case "accept_filter" | "tls_server" | "tls_client":
            right: set[type] = set()
        case "reuse_port" | "in_clear":
            right = {bool}
        case "channel_share" | "busy_poll":
            right = {float, int}
        case _ if "timeout" in name or name in {"keepalive", "keepalive_interval"}:
            right = {float, int}
        case _:
            right = {int}
    if type(given) in right:
        if name in {"channel_share", "busy_poll"}:  # it is out of range, and that is another error
            with pytest.raises(ValueError, match=name):
                options_with(name, given)
        else:
            assert getattr(options_with(name, given), name) == given
    else:
        with pytest.raises(
            TypeError, match=rf"^Options\.{name} takes .*, not {type(given).__name__}, "
        ):
            options_with(name, given)


NUMBERS: Final = [
    option.name
    for option in attrs.fields(Options)
    if int in (get_args(option.type) or (option.type,))
]


@pytest.mark.parametrize("name", NUMBERS)
async def test_no_number_is_too_large_for_the_core_unless_it_is_refused(name: str) -> None:
    for number in (2**63, 10**30):
        with pytest.raises(ValueError, match=rf"Options.{name} takes at most 2\*\*63 - 1"):
            options_with(name, number)
    if name not in {"keepalive_count", "send_buffer", "receive_buffer"}:  # the system's
        link = ScriptedLink()
        async with open_app(options_with(name, 2**63 - 1)) as app:
            end = await open_server(app, link)
            await link.bring(frame(OpCode.REQUEST, 7))
            request = await app.receive()
            request.opcode = OpCode.RESPONSE
            app.chnls.post(Holder(request))
            await wait_all_tasks_blocked()
            assert link.sent == frame(OpCode.RESPONSE, 7, channel=end.number)
