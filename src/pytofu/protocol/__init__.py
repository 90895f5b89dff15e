"""The protocol without input or output: bytes and messages, no clock, no socket."""
