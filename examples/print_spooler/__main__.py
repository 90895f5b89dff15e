"""A print spooler and its client: a whole application of two programs.

    python examples/print_spooler

runs both. The conversation, over a Unix socket, with one message_id for all of a job:

1. The client says hello, the server answers.
2. Request: a job ticket, in text headers. Response: the job is accepted, or refused and why.
3. Requests with `more`: the document in a page description language, in parts; the last part
   without `more`.
4. Signals: how many sheets have been printed. At the end a Response.
5. After its last job the client says bye, the server agrees.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import trio


def command(program: str, path: str) -> list[str]:
    return [sys.executable, "-u", "-m", f"print_spooler.{program}", path]


async def main() -> None:
    run = partial(trio.run_process, cwd=Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/spooler"
        async with trio.open_nursery() as nursery:
            server: trio.Process = await nursery.start(run, command("server", path))
            await run(command("client", path))
            server.terminate()  # asks it to end, which it does in good order


if __name__ == "__main__":
    trio.run(main)
