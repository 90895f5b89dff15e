"""The program that the type checkers read also runs."""

from tests.typing.peers_program import main


async def test_it_runs() -> None:
    assert await main() == [b"AA", b"me", b"B", b"end", b"news.sportc"]
