"""The certificates of a run, and the contexts that all who speak TLS use alike.

The client verifies the server's certificate and its name, and the version is 1.3.
"""

import ssl
from functools import cache
from pathlib import Path
from typing import Final, Self

import attrs

from benchmarks.work import Task

HOST: Final = "127.0.0.1"
"""Whom the certificate is for."""

_AUTHORITY: Final = "ca.pem"
_CHAIN: Final = "server.pem"
_KEY: Final = "server-key.pem"


@attrs.frozen
class Certificates:
    """PEM files, as bytes: for those who want no `ssl.SSLContext`."""

    authority: bytes
    chain: bytes
    key: bytes

    @classmethod
    def of(cls, task: Task) -> Self:
        """Those that the run has made."""
        folder = Path(task.certificates)
        return cls(*((folder / name).read_bytes() for name in (_AUTHORITY, _CHAIN, _KEY)))


@cache
def _made() -> Certificates:
    # Here, for the processes that are measured need not know how to make any.
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in server.cert_chain_pems)
    return Certificates(authority.cert_pem.bytes(), chain, server.private_key_pem.bytes())


def write(folder: Path) -> None:
    """Write the certificates to a folder that exists: the same ones in the whole run."""
    made = _made()
    for name, data in ((_AUTHORITY, made.authority), (_CHAIN, made.chain), (_KEY, made.key)):
        (folder / name).write_bytes(data)


def server_context(task: Task) -> ssl.SSLContext:
    """For the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(Path(task.certificates, _CHAIN), Path(task.certificates, _KEY))
    return context


def client_context(task: Task) -> ssl.SSLContext:
    """For the client: it trusts the run's authority and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(Path(task.certificates, _AUTHORITY))
    return context
