"""ADDRESS on the command line: what people write, or a reason why it will not do."""

from collections.abc import Sequence

import click

from pytofu.values.address_text import (
    AddressError,
    ClientAddress,
    ServerAddress,
    client_address,
    server_address,
)


def to_client_address(
    context: click.Context, parameter: click.Parameter, text: str
) -> ClientAddress:
    """Callback of an argument: where to connect to."""
    try:
        return client_address(text)
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def to_server_addresses(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> Sequence[ServerAddress]:
    """Callback of an argument: where to listen."""
    try:
        return [server_address(text) for text in texts]
    except AddressError as error:
        raise click.BadParameter(str(error), context, parameter) from None
