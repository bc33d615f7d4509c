"""What a behaviour is made of: a script for the client and one for the server, both data.

The server's script travels in the metadata `x-script`, so one server plays them all. Payloads are
made from a size and a seed, so both ends can tell them apart without sending them twice.
"""

import zlib

METHOD = "/grpctunnel.differential.Script/Play"
SCRIPT = "x-script"


def payload(size, seed=0):
    """Bytes that do not repeat soon, and that compress a little."""
    if not size:
        return b""
    unit = b"".join((n * 2654435761 + seed & 0xFFFFFFFF).to_bytes(4, "big") for n in range(257))
    return (unit * (size // len(unit) + 1))[:size]


def digest(data):
    """How a message is written down."""
    return f"{len(data)}:{zlib.crc32(data):08x}"
