"""Very many messages between two processes: none is lost, doubled or out of order."""

import time
from pathlib import Path
from typing import Final

import pytest
import trio

from pytofu import Holder, OpCode, open_ampe
from tests.leaks import resident_bytes
from tests.soak.processes import address_of, running
from tests.support import App

MIB: Final = 1024 * 1024
OUTSTANDING: Final = 64
FILLER: Final = bytes(56)


def body_of(number: int) -> bytes:
    """What the message with this number carries: 64 bytes."""
    return number.to_bytes(8) + FILLER


async def ask_and_check(total: int, where: str, echoing_pid: int) -> list[tuple[int, int]]:
    """Have so many requests echoed; RSS here and there after the first tenth and at the end."""
    resident: list[tuple[int, int]] = []
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        app = App(ampe, chnls)
        header = app.post(OpCode.HELLO_REQUEST, headers=(("~connect_to", where),))
        number = header.channel_number
        assert (await app.event()).opcode is OpCode.HELLO_RESPONSE
        pool = ampe.statistics().pool_free
        asked = 0
        for answered in range(1, total + 1):
            while asked < min(answered - 1 + OUTSTANDING, total):
                asked += 1
                message = ampe.get()
                message.channel_number = number
                message.message_id = asked
                message.set_payload(body_of(asked))
                chnls.post(Holder(message))
            message = await chnls.wait_receive()
            assert message.opcode is OpCode.RESPONSE
            assert message.message_id == answered
            assert message.payload == body_of(answered)
            ampe.put(Holder(message))
            if answered in (total // 10, total):
                resident.append((resident_bytes(), resident_bytes(echoing_pid)))
        assert app.chnls.receive_nowait() is None
        assert ampe.statistics().pool_free == pool
    return resident


@pytest.mark.parametrize("where", ["tcp|127.0.0.1|0", "uds|{}"], ids=["tcp", "uds"])
@pytest.mark.parametrize(
    "total",
    [
        pytest.param(20_000, marks=pytest.mark.timeout(60)),
        pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_none_lost_doubled_or_reordered(total: int, where: str, tmp_path: Path) -> None:
    with running("echo", where.format(tmp_path / "s")) as process:
        address = address_of(process)
        started = time.perf_counter()
        first, last = trio.run(ask_and_check, total, address, process.pid)
        seconds = time.perf_counter() - started
    grown = [after - before for before, after in zip(first, last, strict=True)]
    print(
        f"{total} messages echoed over {where[:3]} in {seconds:.1f} s;"
        f" RSS here and there after the first tenth {first[0] / MIB:.1f} and {first[1] / MIB:.1f}"
        f" MiB, {grown[0] / MIB:+.2f} and {grown[1] / MIB:+.2f} at the end"
    )
    assert max(grown) < 2 * MIB
