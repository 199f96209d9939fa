"""Writes the seeds of the fuzz targets from the golden wire vectors.

Run after the vectors have changed (`make bless` does): the seeds are what honest peers say, and
the fuzzer starts from there.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "../kirsh-core/tests/golden/wire.json").read_text(encoding="utf-8"))

REPAIR = 1
"""Bit 0 of the first byte: the target puts the checksums right."""
OTHER = 2
"""Bit 1: the collective stream, or the dialer."""


def of(kind):
    return {v["name"]: bytes.fromhex(v["hex"]) for v in VECTORS if v["kind"] == kind}


def write(target, name, data):
    path = HERE / "seeds" / target / name.replace(" ", "_").replace("'", "").replace(",", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


for name, data in of("header").items():
    write("header", name, data)

messages = of("message")
for name, data in messages.items():
    write("frames", name, bytes([REPAIR, 6]) + data)
write("frames", "all messages", bytes([0, 0]) + b"".join(messages.values()))
slices = of("header")["the first frame of a barrier"] + of("frame")["a slice with its checksum"]
write("frames", "collective", bytes([REPAIR | OTHER, 30]) + slices)

steps = of("handshake")
write("handshake", "to the acceptor", bytes([0, 3]) + steps["hello"] + steps["proof"])
write("handshake", "to the dialer", bytes([OTHER, 5]) + steps["challenge"] + steps["welcome"])
write("handshake", "hello", bytes([REPAIR, 0]) + steps["hello"])
# A dialer that also speaks a later version, with the longest job id and fields of that version
# behind it. The target puts the checksum right.
later = bytearray(steps["hello"][:94]) + (128).to_bytes(2, "little") + b"j" * 128 + b"later" * 8
later[7] = 2
later[4:6] = (len(later) - 6).to_bytes(2, "little")
write("handshake", "hello of a later version", bytes([REPAIR, 0]) + later + bytes(4))
write("handshake", "challenge", bytes([REPAIR | OTHER, 9]) + steps["challenge"])
write("handshake", "refusal", bytes([REPAIR | OTHER, 1]) + steps["refusal"])
