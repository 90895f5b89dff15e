"""The only code that touches sockets: one file a transport, found by the address's class."""
