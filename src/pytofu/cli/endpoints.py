"""Where commands connect to and where they listen: the one place that declares it.

A command that connects is decorated with `connecting` and gets a `Target`; one that listens with
`listening`, and gets `Places`. An option that all of them are to have is added here alone, and
carried out where a `Target` is used: in `conversation` for plain messages, in `peering` for calls.
"""

import functools
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import attrs
import click
import trio

from pytofu import Ampe, Options, open_ampe
from pytofu.cli.certificates import Credentials, certificate_options
from pytofu.cli.options import Seconds
from pytofu.values.address_text import (
    AddressError,
    ClientAddress,
    ServerAddress,
    address_text,
    client_address,
    server_address,
)

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


@attrs.frozen
class Target:
    """Where to connect to, and how: what the options of a connecting command say."""

    address: ClientAddress
    wait: float = 0.0
    """Seconds to try again while the server is not up yet."""
    tls: ssl.SSLContext | None = None
    """For an address over TLS."""

    @property
    def where(self) -> str:
        """The address for people."""
        return address_text(self.address)

    async def insist[T](
        self, attempt: Callable[[float], Awaitable[T]], *refusals: type[Exception]
    ) -> T:
        """Try, again and again while there is time; each attempt is told how many seconds are left.

        Raises what the last attempt raises, and at once what is none of the `refusals`.
        """
        deadline = trio.current_time() + self.wait
        pause = _FIRST_PAUSE
        while True:
            try:
                return await attempt(deadline - trio.current_time())
            except refusals:
                left = deadline - trio.current_time()
                if left <= 0:
                    raise
            await trio.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """The argument ADDRESS and the options of commands that connect; gives them a `target`."""

    @click.argument("address", callback=_to_client_address)
    @click.option(
        "--wait",
        type=Seconds(0, 86400),
        metavar="SECONDS",
        default=0.0,
        help="How long to try again while the server is not up yet.",
    )
    @certificate_options(to_listen=False)
    @functools.wraps(command)
    def with_target(
        address: ClientAddress,
        wait: float,
        cert: str | None,
        key: str | None,
        ca: str | None,
        insecure: bool,
        **others: object,
    ) -> None:
        tls = Credentials(cert, key, ca, insecure).context_to_connect(address)
        command(target=Target(address, wait, tls), **others)

    return with_target


@attrs.frozen
class Places:
    """Where to listen, and how: what the options of a listening command say."""

    addresses: Sequence[ServerAddress]
    tls: ssl.SSLContext | None = None
    """For addresses over TLS."""
    in_clear: bool = False
    """Whether to listen without TLS where other machines can connect is meant so."""

    def open_engine(self) -> AbstractAsyncContextManager[Ampe]:
        """An engine that listens so, for the length of an `async with` block."""
        return open_ampe(Options(tls_server=self.tls, in_clear=self.in_clear))


def listening(command: Callable[..., None]) -> Callable[..., None]:
    """The argument ADDRESS... and the options of commands that listen; gives them `places`."""

    @click.argument(
        "addresses", metavar="ADDRESS...", nargs=-1, required=True, callback=_to_server_addresses
    )
    @certificate_options(to_listen=True)
    @functools.wraps(command)
    def with_places(
        addresses: Sequence[ServerAddress],
        cert: str | None,
        key: str | None,
        ca: str | None,
        insecure: bool,
        **others: object,
    ) -> None:
        tls = Credentials(cert, key, ca, insecure).context_to_listen(addresses)
        command(places=Places(addresses, tls, insecure), **others)

    return with_places


def _to_client_address(
    context: click.Context, parameter: click.Parameter, text: str
) -> ClientAddress:
    try:
        return client_address(text)
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _to_server_addresses(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> Sequence[ServerAddress]:
    try:
        return [server_address(text) for text in texts]
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None
