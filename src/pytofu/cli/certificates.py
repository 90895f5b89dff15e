"""What TLS goes by: the options --cert, --key, --ca and --insecure, and the contexts made of them.

Everything is looked at before anything is opened: what is wrong with a file is wrong usage. What
is said of it names the file, and nothing that is in it.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import attrs
import click

from pytofu import TCPServerAddress, TLSClientAddress, TLSServerAddress
from pytofu.cli.streams import complain
from pytofu.values.address_text import ClientAddress, ServerAddress, address_text

_CERT: Final = "A file with this side's certificate, PEM."
_KEY: Final = "A file with its private key, PEM; else the key is in the first."
_CA_TO_CONNECT: Final = "Trust servers with a certificate of a CA in this file; else the system's."
_CA_TO_LISTEN: Final = "Let in only clients with a certificate of a CA in this file."
_INSECURE_TO_CONNECT: Final = "Do not ask who the server is: whoever is on the way may be."
_INSECURE_TO_LISTEN: Final = "Listen without TLS where other machines can connect."


@attrs.frozen
class Credentials:
    """What the options say; files are by their paths."""

    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    insecure: bool = False

    def context_to_connect(self, address: ClientAddress) -> ssl.SSLContext | None:
        """What to connect with; None where there is no TLS. Raises `click.UsageError`."""
        if not isinstance(address, TLSClientAddress):
            given = self._given()
            if given:
                where = address_text(address)
                raise click.UsageError(f"{given[0]} is for tls://HOST:PORT, not for {where}")
            return None
        if self.insecure and self.ca is not None:
            raise click.UsageError("--ca and --insecure exclude each other")
        context = self._trusting(ssl.Purpose.SERVER_AUTH)
        self._load(context)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            complain(
                "pytofu: --insecure: who the server is will not be verified; whoever is on the way"
                " can pretend to be it"
            )
        return context

    def context_to_listen(self, addresses: Sequence[ServerAddress]) -> ssl.SSLContext | None:
        """What to listen with; None where there is no TLS. Raises `click.UsageError`."""
        in_clear = [one for one in addresses if isinstance(one, TCPServerAddress)]
        if self.insecure and not in_clear:
            raise click.UsageError("--insecure is for listening without TLS, at tcp://HOST:PORT")
        over_tls = [one for one in addresses if isinstance(one, TLSServerAddress)]
        context = self._server_context(over_tls)
        for address in in_clear if self.insecure else ():
            complain(
                f"pytofu: --insecure: {address_text(address)} is without TLS; whoever is on the"
                " way can read and change everything"
            )
        return context

    def _server_context(self, addresses: Sequence[TLSServerAddress]) -> ssl.SSLContext | None:
        if not addresses:
            given = attrs.evolve(self, insecure=False)._given()
            if given:
                raise click.UsageError(f"{given[0]} is for listening at tls://HOST:PORT")
            return None
        if self.cert is None:
            raise click.UsageError(f"listening at {address_text(addresses[0])} takes --cert")
        context = self._trusting(ssl.Purpose.CLIENT_AUTH)
        self._load(context)
        if self.ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _given(self) -> list[str]:
        return [f"--{name}" for name, value in attrs.asdict(self).items() if value]

    def _trusting(self, whom: ssl.Purpose) -> ssl.SSLContext:
        """A context that goes by the CA, if one is given."""
        try:
            return ssl.create_default_context(whom, cafile=self.ca)
        except ssl.SSLError:
            raise click.UsageError(f"--ca: there is no certificate (PEM) in {self.ca}") from None
        except OSError as error:
            raise click.UsageError(f"--ca: {self.ca}: {error.strerror}") from None

    def _load(self, context: ssl.SSLContext) -> None:
        """Give the context this side's certificate and key, if it has any."""
        if self.cert is None:
            if self.key is not None:
                raise click.UsageError("--key without --cert")
            return
        try:
            # Each file is read once: it may be a pipe.
            context.load_cert_chain(self.cert, self.key, password=_refuse)
        except _EncryptedError:
            raise click.UsageError(
                f"the private key in {self.key or self.cert} is encrypted; decrypt it, into a file"
                " that nobody else can read"
            ) from None
        except ssl.SSLError as error:
            raise click.UsageError(_wrong(error, self.cert, self.key)) from None
        except OSError as error:
            raise click.UsageError(f"--cert or --key: {error.strerror}") from None


class _EncryptedError(Exception):
    """A key needs a password."""


def _refuse() -> NoReturn:
    # Else OpenSSL would ask the terminal.
    raise _EncryptedError


def _wrong(error: ssl.SSLError, cert: str, key: str | None) -> str:
    """Why OpenSSL does not take the two, in words."""
    reason: str = error.reason or ""
    if reason == "KEY_VALUES_MISMATCH":
        return f"the private key in {key or cert} is not that of the certificate in {cert}"
    if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
        return f"the certificate in {cert} is too weak: {reason}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except OSError:
        return f"--cert: there is no certificate (PEM) in {cert}"
    if key is None:
        return f"--cert: there is no private key (PEM) in {cert}; --key names the file with it"
    return f"--key: there is no private key (PEM) in {key}"


def certificate_options(*, to_listen: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The four options, for a command that gets them by their names."""
    file = click.Path(exists=True, dir_okay=False)
    options = (
        click.option("--cert", type=file, metavar="FILE", help=_CERT),
        click.option("--key", type=file, metavar="FILE", help=_KEY),
        click.option(
            "--ca", type=file, metavar="FILE", help=_CA_TO_LISTEN if to_listen else _CA_TO_CONNECT
        ),
        click.option(
            "--insecure",
            is_flag=True,
            help=_INSECURE_TO_LISTEN if to_listen else _INSECURE_TO_CONNECT,
        ),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
