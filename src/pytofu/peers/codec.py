"""Codecs: how typed values travel in a body, by content-type."""

import importlib
import json
from collections.abc import Callable
from typing import Any

import attrs
from attrs.validators import instance_of, is_callable

from pytofu.peers.plain import from_plain, to_plain


@attrs.frozen
class Codec:
    """A way to write values as bytes and to read them as a type.

    `encode` raises TypeError or ValueError for what it cannot write, `decode` ValueError for bytes
    that are no value of the type, with a text that the peer may read.
    """

    content_type: str = attrs.field(validator=instance_of(str))
    encode: Callable[[Any], bytes] = attrs.field(repr=False, validator=is_callable())
    decode: Callable[[bytes, Any], Any] = attrs.field(repr=False, validator=is_callable())

    @staticmethod
    def json() -> "Codec":
        """JSON from the standard library: "application/json".

        For None, bool, int, float, str, bytes (as base64), dates and times, UUID, Decimal, enums,
        lists, tuples, sets, dicts with text keys, unions, Literal, dataclasses and attrs classes.
        """
        return _JSON

    @staticmethod
    def msgspec_json() -> "Codec":
        """JSON by msgspec: quicker, and for its Structs too.

        Raises ImportError where the extra `pytofu[msgspec]` is not installed.
        """
        return _by_msgspec("application/json", "json")

    @staticmethod
    def msgpack() -> "Codec":
        """MessagePack by msgspec: "application/msgpack".

        Raises ImportError where the extra `pytofu[msgspec]` is not installed.
        """
        return _by_msgspec("application/msgpack", "msgpack")


def _encode_json(value: Any) -> bytes:
    plain = to_plain(value)
    return json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _decode_json(data: bytes, kind: Any) -> Any:
    try:
        return from_plain(_parsed(data), kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None


_JSON = Codec("application/json", _encode_json, _decode_json)


def _by_msgspec(content_type: str, module: str) -> Codec:
    try:
        msgspec = importlib.import_module("msgspec")
    except ImportError as error:
        raise ImportError("this codec needs msgspec: pip install 'pytofu[msgspec]'") from error
    format_ = getattr(msgspec, module)

    def decode(data: bytes, kind: Any) -> Any:
        try:
            return format_.decode(data, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None

    return Codec(content_type, format_.encode, decode)
