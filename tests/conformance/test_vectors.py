"""Every file of vectors is fed to a test: one that is added must get one too."""

from tests.conformance.loading import VECTORS

FED = {
    "address_format": "test_addresses",
    "address_parse": "test_addresses",
    "appendable": "test_messages",
    "binary_header": "test_headers",
    "binary_header_decode": "test_headers",
    "check_and_prepare": "test_messages",
    "opcodes": "test_headers",
    "session_bye_signal_plain_opcode": "test_sessions",
    "session_echo5_bye_request": "test_sessions",
    "session_reject_bye_response": "test_sessions",
    "session_reject_bye_signal": "test_sessions",
    "statuses": "test_headers",
    "text_headers_parse": "test_text_headers",
    "text_headers_serialise": "test_text_headers",
}


def test_every_file_is_fed_to_a_test() -> None:
    assert {path.stem for path in VECTORS.iterdir()} == set(FED)
    for name, module in FED.items():
        source = (VECTORS.parent / f"{module}.py").read_text(encoding="utf-8")
        assert f'"{name}"' in source
