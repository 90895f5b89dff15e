"""Who is at the other end of a connection."""

import attrs


@attrs.frozen
class PeerInfo:
    """Who is at the other end, as the system and TLS say it: nothing a peer could make up.

    What the transport does not know, or no longer, is left out.
    """

    host: str = ""
    """Over TCP and TLS its IP address, with the zone of a link-local one; IPv4 as such, never
    mapped."""
    port: int = 0
    """As `host`: its port."""
    pid: int | None = None
    """Over a Unix socket, where the system tells: its process when it connected or listened. Linux
    does; that macOS and FreeBSD do, as this expects, nobody has tried."""
    uid: int | None = None
    """As `pid`: its user."""
    gid: int | None = None
    """As `pid`: its group."""
    scheme: str = ""
    """The transport: `tcp`, `tls`, `uds` or `mem`; empty while there is no connection yet."""
    tls_version: str = ""
    """Over TLS: `TLSv1.3`, `TLSv1.2`."""
    tls_cipher: str = ""
    """Over TLS: the name of the cipher suite."""
    subject: str = ""
    """Of its certificate, if that was asked for and verified: `commonName=...`, the parts joined by
    commas. Text of the certificate's maker: to be trusted as far as the CA is."""
    names: tuple[str, ...] = ()
    """As `subject`: host names, IP addresses, URIs and mail addresses that it is for, each with its
    kind: `DNS:example.org`, `IP Address:127.0.0.1`, `URI:spiffe://...`, `email:...`."""

    @property
    def address(self) -> str:
        """The peer's address as text, `tcp://127.0.0.1:50123`; empty where it has none."""
        if not self.host:
            return ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"
