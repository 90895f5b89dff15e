"""A service and its client as users write them, for mypy and pyright; a test runs it."""

from typing import Protocol, assert_type

import attrs
import trio

from pytofu import Incoming, Peer, Reply, Service, Topics, connect, serve


@attrs.define
class Line:
    """What travels."""

    text: str
    number: int = 1


class Shouting(Protocol):
    """The methods that both sides know."""

    async def shout(self, line: Line, *, twice: bool = False) -> Line: ...
    async def count(self) -> dict[str, int]: ...


service = Service(errors={LookupError: "NOT_FOUND"})


@service.method
async def shout(line: Line, *, twice: bool = False) -> Line:
    """A plain function, as before it was registered."""
    return Line(line.text.upper() * (2 if twice else 1), line.number + 1)


@service.method(name="count")
async def count_all(peer: Peer) -> dict[str, int]:
    """One that wants to know who asks."""
    return {peer.info["name"]: 1}


async def handler(peer: Peer, request: Incoming) -> bytes | Reply:
    """Streams by hand, everything else by the service."""
    if request.stream is None:
        return await service(peer, request)
    async for item in request.stream:
        assert_type(item, bytes)
        await request.stream.send(item.upper())
    return b"end"


async def main() -> list[bytes]:
    """Serve and ask."""
    topics = Topics(keep=10, policy="latest")
    said: list[bytes] = []
    async with trio.open_nursery() as nursery:

        async def run(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
            await serve(handler, "tcp://127.0.0.1:0", topics=topics, task_status=task_status)

        (address,) = await nursery.start(run)
        async with connect(address, hello={"name": "me"}) as peer:
            assert_type(peer, Peer)
            proxy = peer.proxy(Shouting)
            assert_type(proxy, Shouting)
            line = await proxy.shout(Line("a"), twice=True)
            assert_type(line, Line)
            counts = await proxy.count()
            assert_type(counts, dict[str, int])
            said.extend([line.text.encode(), *(name.encode() for name in counts)])
            async with peer.stream() as stream:
                await stream.send(b"b")
                await stream.send_eof()
                said.extend([item async for item in stream])
                said.append(await stream.finish())
            async with peer.subscribe("news.*") as messages:
                topics.publish("news.sport", b"c")
                async for message in messages:
                    assert_type(message, Incoming)
                    said.append(message.topic.encode() + message.body)
                    break
        nursery.cancel_scope.cancel()
    return said


if __name__ == "__main__":
    print(trio.run(main))
