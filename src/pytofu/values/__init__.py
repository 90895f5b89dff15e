"""What messages are made of: plain values, without Trio, sockets or clocks."""
