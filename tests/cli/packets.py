"""Capture files, put together byte by byte."""

import ipaddress
import struct
from collections.abc import Iterable
from typing import Final

SYN: Final = 0x02
ACK: Final = 0x10

CLIENT: Final = ("10.0.0.1", 40000)
SERVER: Final = ("10.0.0.2", 7099)


def tcp(
    data: bytes = b"",
    sequence: int = 0,
    flags: int = ACK,
    *,
    source: tuple[str, int] = CLIENT,
    target: tuple[str, int] = SERVER,
) -> bytes:
    """An IPv4 or IPv6 packet with a TCP segment."""
    segment = struct.pack(
        ">HHIIBBHHH", source[1], target[1], sequence, 0, 5 << 4, flags, 1000, 0, 0
    )
    return ip(segment + data, source[0], target[0])


def ip(payload: bytes, source: str, target: str, *, protocol: int = 6, fragment: int = 0) -> bytes:
    """An IPv4 or IPv6 packet."""
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    if ":" in source:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload
    length = 20 + len(payload)
    return (
        struct.pack(">BBHHHBBH", 0x45, 0, length, 0, fragment, 64, protocol, 0)
        + addresses
        + payload
    )


def ethernet(packet: bytes, *, kind: bytes = b"\x08\x00", tags: bytes = b"") -> bytes:
    """An Ethernet frame."""
    return bytes(12) + tags + kind + packet


def pcap(
    packets: Iterable[bytes], *, order: str = "<", link_type: int = 101, magic: int = 0xA1B2C3D4
) -> bytes:
    """A classic pcap file."""
    records = [struct.pack(f"{order}IIII", 0, 0, len(p), len(p)) + p for p in packets]
    return struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 65535, link_type) + b"".join(records)


def block(kind: int, content: bytes, order: str = "<") -> bytes:
    """A block of a pcapng file."""
    content += bytes(-len(content) % 4)
    length = struct.pack(f"{order}I", 12 + len(content))
    return struct.pack(f"{order}I", kind) + length + content + length


def pcapng(packets: Iterable[bytes], *, order: str = "<", link_type: int = 101) -> bytes:
    """A pcapng file with one interface."""
    section = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
    interface = struct.pack(f"{order}HHI", link_type, 0, 65535)
    blocks = [block(0x0A0D0D0A, section, order), block(1, interface, order)]
    for packet in packets:
        head = struct.pack(f"{order}IIIII", 0, 0, 0, len(packet), len(packet))
        blocks.append(block(6, head + packet, order))
    return b"".join(blocks)
