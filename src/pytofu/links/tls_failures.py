"""Why TLS failed, in words that one can act on; nothing of it is the peer's own text."""

import ssl
from typing import Final

from pytofu.links.base import LinkError
from pytofu.values.status import AmpeError

NO_TLS: Final = LinkError(
    AmpeError.COMMUNICATION_FAILED, "TLS: the peer does not speak TLS: plain text at a TLS port"
)

_VERIFY: Final = {
    9: "is not yet valid: look at the clocks, too",
    10: "has expired",
    18: "is self-signed and not among the trusted ones",
    19: "comes from a CA that is not trusted here",
    20: "comes from a CA that is not trusted here",
    21: "comes from a CA that is not trusted here",
    23: "was revoked",
    62: "is for another host name",
    64: "is for another IP address",
}
"""What is wrong with the peer's certificate, by OpenSSL's number (X509_V_ERR_...)."""

_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client has no certificate, and has to have one",
    "UNSUPPORTED_PROTOCOL": "the peer's TLS version is too old, or too new, for this side",
    "WRONG_SSL_VERSION": "the peer's TLS version is too old, or too new, for this side",
    "VERSION_TOO_LOW": "the peer's TLS version is too old for this side",
    "NO_SHARED_CIPHER": "there is no cipher that both sides accept",
    "NO_PROTOCOLS_AVAILABLE": "the context allows no TLS version",
    # What the peer says (alerts); OpenSSL names them for the version that brought them.
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the CA of this side's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept this side's certificate",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer does not accept this side's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not accept this side's certificate",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that this side's certificate was revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that this side's certificate is out of date",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate of this side",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer does not accept this side's TLS version",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer finds nothing that it accepts: a cipher, or a "
    "certificate of this side",
}
"""What failed, by OpenSSL's name."""


def explain(error: ssl.SSLError) -> str:
    """One line: what is wrong, and OpenSSL's own words or name for it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        wrong = _VERIFY.get(error.verify_code, "is not accepted")
        return f"TLS: the peer's certificate {wrong} ({error.verify_message.rstrip('.')})"
    name = error.reason or "unknown error"
    known = _REASONS.get(name)
    return f"TLS: {known} ({name})" if known else f"TLS: {name}"
