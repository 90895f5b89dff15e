"""What `put` and `serve-files` agree on: how a file travels.

One Request after the other, all with the message_id of the first and all but the last with the
`more` flag: the first carries FILE and SIZE, those in the middle the content, the last SHA256.
The server answers once, with SHA256 when the file is stored, or at any time with ERROR.
"""

from typing import Final

FILE: Final = "file"
"""Text header: the name to store the file under."""
SIZE: Final = "size"
"""Text header: how many bytes it will have."""
SHA256: Final = "sha256"
"""Text header: the hash of the content, in hexadecimal."""
ERROR: Final = "error"
"""Text header: why the file was not stored."""
