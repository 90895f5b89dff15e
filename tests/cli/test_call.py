"""`pytofu call`."""

import pytest
import trio
import trio.testing

from pytofu import Incoming, Peer, RemoteError
from pytofu.cli.call import call
from pytofu.cli.output import Output
from tests.cli.peers import Printed, fails, serving
from tests.cli.terminal import Paper


async def test_a_call_for_people_and_for_machines() -> None:
    seen: list[Incoming] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        seen.append(request)
        return b'{"odd": "\\u001b[2J"}' if request.method == "value" else b"\x1b[2J"

    file, printed = Paper(), Printed()
    async with serving(handler) as target:
        await call(target, "value", b"[1]", 5, Output(file=file))
        await call(target, "bytes", b"{}", 5, Output(file=file))
        await call(target, "value", b"[1]", 5, printed.output)
    assert [(one.method, one.body) for one in seen[:2]] == [("value", b"[1]"), ("bytes", b"{}")]
    assert seen[0].headers == {"content-type": "application/json"}
    *value, dump = file.getvalue().splitlines()
    assert value == ["{", '  "odd": "\\u001b[2J"', "}"]
    assert dump.startswith("0000  1b 5b 32 4a")
    (record,) = printed.records
    assert record["value"] == {"odd": "\x1b[2J"}
    assert record["method"] == "value"


async def test_what_a_handler_refuses_is_the_reason() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        raise RemoteError("NOT_FOUND", "no\x1b[2J such thing")

    async with serving(handler) as target:
        with fails(r"^tcp://127.0.0.1:\d+: NOT_FOUND: no\\x1b\[2J such thing$"):
            await call(target, "x", b"", 5, Printed().output)


@pytest.mark.parametrize("code", ["", "DEADLINE_EXCEEDED"])
async def test_no_answer_in_time(code: str) -> None:
    """Whoever of the two sees it first."""

    async def handler(peer: Peer, request: Incoming) -> bytes:
        if code:
            raise RemoteError(code)
        await trio.sleep_forever()
        raise AssertionError

    async with serving(handler) as target:
        with fails(r"^no answer from tcp://.* within 0\.05 s$"):
            await call(target, "x", b"", 0.05, Printed().output)
