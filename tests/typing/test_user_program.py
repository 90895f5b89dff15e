"""The program that the type checkers read also runs."""

from tests.typing.user_program import main


async def test_it_runs() -> None:
    assert await main() == b"HELLO"
