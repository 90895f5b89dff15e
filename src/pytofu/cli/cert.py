"""`pytofu cert`: certificates for trying things."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import click

from pytofu.cli.options import example, json_option
from pytofu.cli.output import Output, harmless
from pytofu.cli.running import CommandError
from pytofu.values.address_text import AddressError, address_text, client_address

_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
_NO_HOST: Final = frozenset("*/@")
"""trustme would take it for many names, for a network, for somebody's mail."""
_CA: Final = "ca.pem"
_EVERYBODY: Final = 0o644
_OWNER: Final = 0o600


@attrs.frozen
class File:
    """What one of the files is to hold, and who may read it."""

    content: bytes
    mode: int


def make_files(hosts: Sequence[str], client: str) -> Mapping[str, File]:
    """A CA, and for a server and for a client a certificate and a key, by the names of the files.

    The CA's own key is in none of them: nobody can make more certificates that are trusted.
    Raises `click.UsageError` without trustme, and for what can be no name in a certificate.
    """
    try:
        import trustme
    except ModuleNotFoundError as error:
        if error.name != "trustme":
            raise
        raise click.UsageError("this needs trustme: pip install 'pytofu[cli]'") from None
    authority = trustme.CA()
    files = {_CA: File(authority.cert_pem.bytes(), _EVERYBODY)}
    for who, names in (("server", hosts), ("client", (client,))):
        try:
            leaf = authority.issue_cert(*names)
        except ValueError as error:
            raise click.UsageError(f"no name for a certificate: {error}") from None
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        files[f"{who}.pem"] = File(chain, _EVERYBODY)
        files[f"{who}.key"] = File(leaf.private_key_pem.bytes(), _OWNER)
    return files


def write_files(directory: Path, files: Mapping[str, File], *, overwrite: bool) -> None:
    """Write all of them, or none if one is there already. Raises `CommandError` and OSError."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    there = [name for name in files if os.path.lexists(directory / name)]
    if there and not overwrite:
        raise CommandError(f"{directory / there[0]} exists; --overwrite replaces it")
    for name in there:
        # Not written to: it may be a link, and may be readable for others.
        (directory / name).unlink()
    for name, file in files.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(directory / name, flags, file.mode), "wb") as out:
            out.write(file.content)


def to_try(directory: Path, host: str) -> tuple[str, str]:
    """What to type into one terminal, and into another."""
    where = shlex.quote(address_text(client_address(f"tls://{_in_address(host)}:7099")))
    ca, server, client = (shlex.quote(str(directory / name)) for name in (_CA, "server", "client"))
    return (
        f"pytofu echo {where} --ca {ca} --cert {server}.pem --key {server}.key",
        f"pytofu ping {where} --ca {ca} --cert {client}.pem --key {client}.key",
    )


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _to_hosts(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> Sequence[str]:
    for text in texts:
        try:
            if not text or _NO_HOST.intersection(text):
                raise AddressError(f"not the name of a host: {text!r:.80}")
            client_address(f"tls://{_in_address(text)}")
        except AddressError as error:
            raise click.BadParameter(str(error), context, parameter) from None
    return texts or _HOSTS


@click.command("cert", epilog=example("pytofu cert ./certificates --host 127.0.0.1"))
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    callback=_to_hosts,
    help="A name or address of the server; repeatable. This machine's own if not given.",
)
@click.option(
    "--client",
    metavar="NAME",
    default="client",
    show_default=True,
    help="The name in the client's certificate.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there already.")
@json_option
def command(
    directory: Path, hosts: Sequence[str], client: str, overwrite: bool, as_json: bool
) -> None:
    """Make certificates for trying TLS, in DIR.

    A CA, whose key is thrown away, a certificate with its key for a server, and one for a client.
    They are for trying things, not for keeping others out in earnest.
    """
    files = make_files(hosts, client)
    write_files(directory, files, overwrite=overwrite)
    server, other = to_try(directory, hosts[0])
    uses = {
        _CA: "whom both sides trust",
        "server.pem": f"the server's certificate, for {', '.join(hosts)}",
        "server.key": "its private key",
        "client.pem": f"the client's certificate, for {client}",
        "client.key": "its private key",
    }
    written = [f"{harmless(str(directory / name))}: {harmless(uses[name])}" for name in files]
    Output(as_json=as_json).record(
        {
            "files": {name: str(directory / name) for name in files},
            "hosts": list(hosts),
            "client": client,
            "try": [server, other],
        },
        "\n".join([*written, "Try them, in one terminal and in another:", server, other]),
        verbatim=True,
    )
