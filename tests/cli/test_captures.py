"""pcap and pcapng files."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.cli.captures import Endpoint, Stream, is_capture, read_capture
from tests.cli.packets import (
    ACK,
    CLIENT,
    SERVER,
    SYN,
    block,
    ethernet,
    ip,
    pcap,
    pcapng,
    tcp,
)


def only_stream(data: bytes) -> Stream:
    capture = read_capture(data)
    assert capture.problem is None
    (stream,) = capture.streams
    return stream


def test_both_directions_of_a_connection() -> None:
    capture = read_capture(
        pcap(
            [
                tcp(b"", 100, SYN),
                tcp(b"", 500, SYN | ACK, source=SERVER, target=CLIENT),
                tcp(b"hello", 101),
                tcp(b"answer", 501, source=SERVER, target=CLIENT),
                tcp(b" again", 106),
            ]
        )
    )
    there, back = capture.streams
    assert (there.data, there.from_start, there.connecting) == (b"hello again", True, True)
    assert (back.data, back.from_start, back.connecting) == (b"answer", True, False)
    assert (str(there.source), str(there.target)) == ("10.0.0.1:40000", "10.0.0.2:7099")
    assert [there.packet_at(offset) for offset in (0, 4, 5, 10, 11)] == [3, 3, 5, 5, 5]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_pcap_in_any_byte_order(order: str, magic: int) -> None:
    data = pcap([tcp(b"x")], order=order, magic=magic)
    assert is_capture(data)
    assert only_stream(data).data == b"x"


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_in_any_byte_order(order: str) -> None:
    data = pcapng([tcp(b"x"), tcp(b"y", 1)], order=order)
    assert is_capture(data)
    assert only_stream(data).data == b"xy"


def test_pcapng_simple_and_unknown_blocks() -> None:
    packet = tcp(b"x")
    data = pcapng([]) + block(5, b"statistics") + block(3, struct.pack("<I", len(packet)) + packet)
    assert only_stream(data).data == b"x"


@pytest.mark.parametrize(
    ("link_type", "packet"),
    [
        (1, ethernet(tcp(b"x"))),
        (1, ethernet(tcp(b"x"), tags=b"\x81\x00\x00\x05")),
        (1, ethernet(tcp(b"x"), tags=b"\x88\xa8\x00\x05\x81\x00\x00\x06")),
        (0, struct.pack("<I", 2) + tcp(b"x")),
        (108, struct.pack(">I", 2) + tcp(b"x")),
        (113, bytes(16) + tcp(b"x")),
        (276, bytes(20) + tcp(b"x")),
        (228, tcp(b"x")),
    ],
)
def test_link_types(link_type: int, packet: bytes) -> None:
    assert only_stream(pcap([packet], link_type=link_type)).data == b"x"


def test_an_unknown_link_type_is_a_problem() -> None:
    capture = read_capture(pcap([tcp(b"x")], link_type=147))
    assert capture.streams == []
    assert capture.problem == "captures of link type 147 cannot be read"


def test_ipv6_with_extension_headers() -> None:
    segment = tcp(b"x", source=("::1", 1), target=("::2", 2))[40:]
    extension = bytes([6, 1]) + bytes(14)
    stream = only_stream(pcap([ip(extension + segment, "::1", "::2", protocol=60)]))
    assert stream.data == b"x"
    assert str(stream.source) == "[::1]:1"


def test_lengths_that_the_network_card_fills_in() -> None:
    v4, v6 = bytearray(tcp(b"x")), bytearray(tcp(b"y", source=("::1", 1), target=("::2", 2)))
    v4[2:4] = v6[4:6] = bytes(2)
    capture = read_capture(pcap([bytes(v4), bytes(v6)]))
    assert [stream.data for stream in capture.streams] == [b"x", b"y"]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        ethernet(b"arp", kind=b"\x08\x06"),
        ethernet(ip(b"udp", "1.1.1.1", "2.2.2.2", protocol=17)),
        ethernet(ip(b"udp", "::1", "::2", protocol=17)),
        ethernet(ip(tcp(b"x")[20:], "1.1.1.1", "2.2.2.2", fragment=0x2000)),
        ethernet(b"\x50" + bytes(40)),
        ethernet(tcp(b"x")[:-9]),
        ethernet(tcp(b"x")[:10]),
    ],
)
def test_what_is_no_whole_tcp_segment_is_left_out(packet: bytes) -> None:
    capture = read_capture(pcap([packet], link_type=1))
    assert capture.streams == []
    assert capture.problem is None


@given(
    st.binary(min_size=1, max_size=200),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_segments_come_together_whatever_their_order(
    content: bytes, start: int, data: st.DataObject
) -> None:
    """Split anywhere, overlapping, repeated, out of order, across the wrap of the numbers."""
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=5).map(sorted))
    edges = [0, *cuts, len(content)]
    parts = [(edges[i], edges[i + 1]) for i in range(len(edges) - 1)]
    parts += data.draw(
        st.lists(st.tuples(st.integers(0, len(content)), st.integers(0, len(content))), max_size=3)
    )
    parts = data.draw(st.permutations(parts))
    packets = [tcp(b"", start, SYN)]
    packets += [tcp(content[a:b], (start + 1 + a) % 2**32) for a, b in parts]
    assert only_stream(pcap(packets)).data == content


def test_a_capture_that_begins_in_the_middle() -> None:
    keep_alive = tcp(b"?", 99)
    stream = only_stream(pcap([tcp(b"ab", 100), keep_alive, tcp(b"cd", 102)]))
    assert (stream.data, stream.from_start) == (b"abcd", False)


def test_bytes_that_are_missing() -> None:
    stream = only_stream(pcap([tcp(b"ab", 100), tcp(b"ef", 104)]))
    assert (stream.data, stream.missing) == (b"ab", 2)


def test_ports_that_are_used_again_are_another_connection() -> None:
    packets = [tcp(b"", 10, SYN), tcp(b"", 10, SYN), tcp(b"one", 11)]
    packets += [tcp(b"", 99, SYN), tcp(b"two", 100)]
    assert [stream.data for stream in read_capture(pcap(packets)).streams] == [b"one", b"two"]


def test_only_one_port() -> None:
    data = pcap([tcp(b"x"), tcp(b"y", target=("10.0.0.2", 80))])
    assert [stream.data for stream in read_capture(data, 80).streams] == [b"y"]


def test_the_work_grows_with_the_packets_and_not_with_the_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many connections there are, a packet is compared with a few of them at most."""
    compared = 0
    equal = Endpoint.__eq__

    def count(one: Endpoint, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    monkeypatch.setattr(Endpoint, "__eq__", count)
    clients = [("10.0.0.1", 10_000 + number) for number in range(1000)]
    packets = [tcp(b"", 0, SYN, source=client) for client in clients]
    packets += [tcp(b"x", 1 + at, source=client) for at in range(3) for client in clients]
    capture = read_capture(pcap(packets))
    assert [stream.data for stream in capture.streams] == [b"xxx"] * len(clients)
    assert compared < 10 * len(packets)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (pcap([])[:20], "ends at byte 20, within its header"),
        (pcap([tcp(b"x"), b""])[:-1], "within a packet's header"),
        (pcap([tcp(b"x"), b"12"])[:-1], "within a packet"),
        (pcapng([tcp(b"x")]) + bytes(8), "within a block"),
        (pcapng([tcp(b"x")]) + struct.pack("<III", 6, 13, 0), "impossible length, 13"),
        (pcapng([tcp(b"x")]) + struct.pack("<III", 6, 16, 0), "impossible length, 16"),
        (pcapng([tcp(b"x")]) + block(6, b"1234"), "is broken"),
        (pcapng([tcp(b"x")]) + block(6, struct.pack("<IIIII", 1, 0, 0, 0, 0)), "is broken"),
    ],
)
def test_a_broken_file_is_read_as_far_as_it_goes(data: bytes, why: str) -> None:
    capture = read_capture(data)
    assert why in (capture.problem or "")
    assert len(data) < 24 or [stream.data for stream in capture.streams] == [b"x"]


@given(st.sampled_from([pcap([tcp(b"x")]), pcapng([tcp(b"x")])]), st.data())
def test_no_bytes_make_it_fail(capture: bytes, data: st.DataObject) -> None:
    head = data.draw(st.integers(4, len(capture)))
    read_capture(capture[:head] + data.draw(st.binary(max_size=80)))
