"""Systems that lack what Linux has: what Windows lacks is hidden, in processes of their own.

That is no test on Windows. It shows that nothing is asked for there that does not exist, and that
TCP needs no more than what Trio itself has everywhere.
"""

import os
import subprocess
import sys
from typing import Final

HIDE: Final = """
import os, select, signal, socket, sys

import attrs, click, rich.console, rich.progress, trio  # they have their own ways, with these

original_pair, unix = socket.socketpair, socket.AF_UNIX
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for module, names in {
    os: "eventfd fchmod fork fwalk geteuid getuid login_tty mkfifo register_at_fork O_CLOEXEC "
        "O_DIRECTORY O_NOFOLLOW O_NONBLOCK EFD_CLOEXEC EFD_NONBLOCK",
    signal: "SIGALRM SIGHUP SIGPIPE SIGUSR1 SIGWINCH pthread_sigmask",
    socket: "AF_UNIX CMSG_LEN MSG_NOSIGNAL SCM_RIGHTS SO_PEERCRED SO_REUSEPORT TCP_QUICKACK "
            "TCP_USER_TIMEOUT",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
pollers = [name for name in ("epoll", "kqueue", "poll") if hasattr(select, name)]
kept = {name: getattr(select, name) for name in pollers}
for name in kept:
    delattr(select, name)
"""

IMPORT: Final = """
import importlib, pkgutil
import pytofu

for module in pkgutil.walk_packages(pytofu.__path__, "pytofu."):
    if module.name != "pytofu.__main__":
        importlib.import_module(module.name)
        print(module.name)
"""

TALK: Final = """
from pytofu import (
    Holder, TCPServerAddress, UDSServerAddress, borrowed_message, connect, open_ampe, serve,
)

for name, poller in kept.items():  # for Trio, which would have another here
    setattr(select, name, poller)


# Trio's own pair, which would be made over TCP there.
socket.socketpair = lambda: original_pair(unix)


async def handler(peer, request):
    return request.body[::-1]


async def main():
    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(serve, handler, TCPServerAddress("127.0.0.1", 0))
        async with connect(addresses[0]) as peer:
            print((await peer.call(b"over TCP" * 10_000)).body == b"PCT revo" * 10_000)
        nursery.cancel_scope.cancel()
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            UDSServerAddress("socket").format(holder.unwrap())
            chnls.post(holder)
        answer = Holder(await chnls.wait_receive())
        print(answer.unwrap().status.name)
        ampe.put(answer)


trio.run(main)
"""


def run(program: str) -> list[str]:
    """The lines that it prints where all that is hidden."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE + program],
        env={**os.environ, "PYTOFU_REACTOR": "tasks", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=9,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_module_can_be_imported_where_nothing_is_unix() -> None:
    assert {"pytofu.links.uds", "pytofu.engine.reactor", "pytofu.cli.app"} <= set(run(IMPORT))


def test_tcp_works_where_nothing_is_unix() -> None:
    assert run(TALK) == ["True", "INVALID_ADDRESS"]
