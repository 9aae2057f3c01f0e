"""The deal machines: messages and ``now`` in, Steps out. Nothing here reaches a socket, a clock, a disk or a random number."""
