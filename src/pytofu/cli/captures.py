"""pcap and pcapng files: the bytes that each side of each TCP connection sent, in order.

As much as is needed to look at tofu in a capture: Ethernet (with VLAN tags), Linux "any",
loopback and raw IP; IPv4 without fragments, IPv6.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from ipaddress import ip_address
from operator import itemgetter
from typing import Final

import attrs

_PCAP_MAGICS: Final = {
    bytes.fromhex("a1b2c3d4"): ">",
    bytes.fromhex("a1b23c4d"): ">",
    bytes.fromhex("d4c3b2a1"): "<",
    bytes.fromhex("4d3cb2a1"): "<",
}
_PCAPNG_MAGIC: Final = bytes.fromhex("0a0d0d0a")
_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6

_TCP: Final = 6
_SYN, _ACK = 0x02, 0x10
_IPV6_EXTENSIONS: Final = frozenset({0, 43, 60})
_LINK_HEADER_LEN: Final = {0: 4, 108: 4, 12: 0, 14: 0, 101: 0, 228: 0, 229: 0, 113: 16, 276: 20}
"""Bytes before the IP packet, by link type; Ethernet, 1, is read for itself."""


class CaptureError(Exception):
    """The file is not a capture that this can read; the text says why, and where."""


@attrs.frozen
class Endpoint:
    """One side of a connection."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


type _Way = tuple[Endpoint, Endpoint]
"""A direction: who sent, and to whom."""


@attrs.frozen
class _Segment:
    """What one packet says about one direction of a connection."""

    packet: int
    source: Endpoint
    target: Endpoint
    sequence: int
    flags: int
    data: bytes


@attrs.define
class Stream:
    """What one side of a connection sent."""

    source: Endpoint
    target: Endpoint
    from_start: bool
    """Whether the capture has the beginning of the connection."""
    connecting: bool
    """Whether this side is the one that connected; only known `from_start`."""
    data: bytes = b""
    missing: int = 0
    """Bytes that are not in the capture, behind `data`; what comes behind them is left out."""
    base: int = 0
    """The sequence number of the first byte."""
    _parts: list[tuple[int, int, bytes]] = attrs.field(factory=list[tuple[int, int, bytes]])
    _starts: list[int] = attrs.field(factory=list[int])
    _packets: list[int] = attrs.field(factory=list[int])

    def packet_at(self, offset: int) -> int:
        """The number, from 1, of the packet with the byte at this offset of `data`."""
        return self._packets[max(0, bisect_right(self._starts, offset) - 1)]

    def add(self, packet: int, sequence: int, data: bytes) -> None:
        """Take note of what a packet carries; the order does not matter."""
        # Sequence numbers wrap around: the distance to the base is what counts, as a signed one.
        distance = (sequence - self.base + 2**31) % 2**32 - 2**31
        self._parts.append((distance, packet, data))

    def join(self) -> None:
        """Put the segments in order, each byte once."""
        data = bytearray()
        self._parts.sort(key=itemgetter(0, 1))
        for distance, packet, part in self._parts:
            if distance > len(data):
                self.missing = distance - len(data)
                break
            new = part[len(data) - distance :]
            if new:
                self._starts.append(len(data))
                self._packets.append(packet)
                data += new
        self.data = bytes(data)


def is_capture(data: bytes) -> bool:
    """Whether the bytes begin as a pcap or pcapng file does."""
    return data[:4] in _PCAP_MAGICS or data[:4] == _PCAPNG_MAGIC


@attrs.frozen
class Capture:
    """What is in a capture."""

    streams: list[Stream]
    """In the order of their first packets; without those that carry nothing."""
    problem: str | None
    """Why, and at which byte, the file could be read no further."""


def read_capture(data: bytes, port: int | None = None) -> Capture:
    """The streams of a capture; with a port, only those of connections from or to it."""
    streams: list[Stream] = []
    newest: dict[_Way, Stream] = {}
    problem: str | None = None
    try:
        for segment in _segments(data):
            if port in {None, segment.source.port, segment.target.port}:
                _sort_in(streams, newest, segment)
    except CaptureError as error:
        problem = str(error)
    for stream in streams:
        stream.join()
    return Capture([stream for stream in streams if stream.data or stream.missing], problem)


def _segments(data: bytes) -> Iterator[_Segment]:
    packets = _pcapng_packets(data) if data[:4] == _PCAPNG_MAGIC else _pcap_packets(data)
    for number, (link_type, packet) in enumerate(packets, 1):
        segment = _segment(number, link_type, packet)
        if segment is not None:
            yield segment


def _sort_in(streams: list[Stream], newest: dict[_Way, Stream], segment: _Segment) -> None:
    """Add the segment to the newest stream of its direction, or to a new one."""
    way = segment.source, segment.target
    syn = bool(segment.flags & _SYN)
    base = (segment.sequence + syn) % 2**32
    stream = newest.get(way)
    if stream is None or (syn and stream.base != base):  # the ports are being used again
        connecting = syn and not segment.flags & _ACK
        stream = newest[way] = Stream(*way, from_start=syn, connecting=connecting, base=base)
        streams.append(stream)
    if segment.data:
        stream.add(segment.packet, base, segment.data)


def _pcap_packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = _PCAP_MAGICS[data[:4]]
    if len(data) < 24:
        raise CaptureError(f"the pcap file ends at byte {len(data)}, within its header")
    link_type = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    at = 24
    while at < len(data):
        if len(data) - at < 16:
            raise CaptureError(f"the pcap file ends at byte {len(data)}, within a packet's header")
        length = struct.unpack_from(f"{order}I", data, at + 8)[0]
        at += 16
        if length > len(data) - at:
            raise CaptureError(f"the pcap file ends at byte {len(data)}, within a packet")
        yield link_type, data[at : at + length]
        at += length


def _pcapng_packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = "<"
    link_types: list[int] = []
    at = 0
    while at < len(data):
        if len(data) - at < 12:
            raise CaptureError(f"the pcapng file ends at byte {len(data)}, within a block")
        if data[at : at + 4] == _PCAPNG_MAGIC:
            order = ">" if data[at + 8 : at + 12] == bytes.fromhex("1a2b3c4d") else "<"
            link_types = []
        kind, length = struct.unpack_from(f"{order}II", data, at)
        if length < 12 or length % 4 or length > len(data) - at:
            raise CaptureError(f"the pcapng block at byte {at} has an impossible length, {length}")
        block = data[at + 8 : at + length - 4]
        at += length
        try:
            if kind == _INTERFACE:
                link_types.append(struct.unpack_from(f"{order}H", block)[0])
            elif kind == _ENHANCED:
                interface, _, _, captured = struct.unpack_from(f"{order}IIII", block)
                yield link_types[interface], block[20 : 20 + captured]
            elif kind == _SIMPLE:
                yield link_types[0], block[4 : 4 + struct.unpack_from(f"{order}I", block)[0]]
        except (struct.error, IndexError):
            raise CaptureError(f"the pcapng block before byte {at} is broken") from None


def _segment(number: int, link_type: int, packet: bytes) -> _Segment | None:
    """The TCP segment in a packet, if that is what it is."""
    try:
        ip = _ip_packet(link_type, packet)
        if not ip:
            return None
        found = _ipv4(ip) if ip[0] >> 4 == 4 else _ipv6(ip)
        if found is None:
            return None
        source, target, tcp = found
        source_port, target_port, sequence = struct.unpack_from(">HHI", tcp)
        data_at = (tcp[12] >> 4) * 4
        return _Segment(
            number,
            Endpoint(source, source_port),
            Endpoint(target, target_port),
            sequence,
            tcp[13],
            tcp[data_at:],
        )
    except (struct.error, IndexError, ValueError):
        return None  # cut off before its data begin


def _ip_packet(link_type: int, packet: bytes) -> bytes:
    if link_type == 1:
        at = 12
        while packet[at : at + 2] in {b"\x81\x00", b"\x88\xa8"}:  # VLAN tags
            at += 4
        return packet[at + 2 :] if packet[at : at + 2] in {b"\x08\x00", b"\x86\xdd"} else b""
    if link_type not in _LINK_HEADER_LEN:
        raise CaptureError(f"captures of link type {link_type} cannot be read")
    return packet[_LINK_HEADER_LEN[link_type] :]


def _ipv4(ip: bytes) -> tuple[str, str, bytes] | None:
    total, _, fragment = struct.unpack_from(">HHH", ip, 2)
    if ip[9] != _TCP or fragment & 0x3FFF:  # more fragments follow, or this is not the first
        return None
    # A length of 0 is what the network card was left to fill in.
    payload = ip[(ip[0] & 15) * 4 : total or len(ip)]
    return str(ip_address(ip[12:16])), str(ip_address(ip[16:20])), payload


def _ipv6(ip: bytes) -> tuple[str, str, bytes] | None:
    if ip[0] >> 4 != 6:
        return None
    length, following = struct.unpack_from(">HB", ip, 4)
    source, target = str(ip_address(ip[8:24])), str(ip_address(ip[24:40]))
    payload = ip[40 : 40 + length if length else len(ip)]
    while following in _IPV6_EXTENSIONS:
        following, units = payload[0], payload[1]
        payload = payload[8 + 8 * units :]
    return (source, target, payload) if following == _TCP else None
