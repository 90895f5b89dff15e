"""What the two programs must agree on."""

from dataclasses import asdict, dataclass
from typing import Self

from pytofu import Message


@dataclass(frozen=True)
class JobTicket:
    """Whose job it is and what is to be done, carried by text headers."""

    user: str
    title: str
    copies: int

    def write_to(self, message: Message) -> None:
        for name, value in asdict(self).items():
            message.text_headers.append(name, str(value))

    @classmethod
    def read_from(cls, message: Message) -> Self:
        """Raises `ValueError` for anything that is no ticket."""
        headers = dict(message.text_headers)
        try:
            return cls(headers["user"], headers["title"], int(headers["copies"]))
        except KeyError as error:
            raise ValueError(f"the ticket does not say {error}") from None


REFUSED = "refused"
"""Text header of the Response to a ticket that is refused: the reason."""

SHEETS = "sheets"
"""Text header of Signals and of the last Response: how many have been printed."""

TOTAL = "total"
"""Text header of Signals: how many sheets it will be."""

END_OF_PAGE = b"showpage\n"
"""What ends a page in the documents."""
