"""What `put` and `serve-files` agree on: how a file travels.

One Request after the other, all with the message_id of the first and all but the last with the
`more` flag: the first carries FILE, SIZE and SHA256, those in the middle the content, the last
SHA256 again. The server answers the first with OFFSET, in a Response with the `more` flag: what
stands before it has come already. In the end it answers with SHA256, when the file is stored, or at
any time with ERROR. A client that leaves SHA256 out at first cannot take up an upload, and gets no
OFFSET.
"""

import os
from typing import Final
from urllib.parse import quote, unquote_to_bytes

FILE: Final = "file"
"""Text header: the name to store the file under, see `name_to_header`."""
SIZE: Final = "size"
"""Text header: how many bytes it will have."""
SHA256: Final = "sha256"
"""Text header: the hash of the content, in hexadecimal."""
OFFSET: Final = "offset"
"""Text header: how many bytes of the content the server has from an upload that was cut."""
ERROR: Final = "error"
"""Text header: why the file was not stored."""


def name_to_header(name: str) -> str:
    """A name as a text header carries it: percent-encoded, so that every byte of it arrives.

    A text header loses blanks at its ends, and cannot have line ends or bytes that are no UTF-8;
    names of files may.
    """
    return quote(os.fsencode(name))


def name_from_header(value: str) -> str:
    """The name that was encoded. Raises ValueError for what `name_to_header` never makes."""
    if not value.isascii():
        raise ValueError("the name is not percent-encoded")
    return os.fsdecode(unquote_to_bytes(value))
