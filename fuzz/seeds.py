"""Writes the seeds of the fuzz targets from the golden wire vectors.

Run it after the vectors have changed; `python/tests/test_fuzz_seeds.py` finds out when it was not.
The seeds are what honest peers say, and the fuzzer starts from there.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent

REPAIR = 1
"""Bit 0 of the first byte: the target puts the checksums right."""
OTHER = 2
"""Bit 1: the collective stream, or the dialer."""


def seeds():
    """The content of each seed by its path below fuzz/seeds."""
    golden = HERE.parent / "kirsh-core" / "tests" / "golden" / "wire.json"
    vectors = json.loads(golden.read_text(encoding="utf-8"))
    found = {}

    def of(kind):
        return {v["name"]: bytes.fromhex(v["hex"]) for v in vectors if v["kind"] == kind}

    def add(target, name, data):
        name = name.replace(" ", "_").replace("'", "").replace(",", "")
        found[f"{target}/{name}"] = bytes(data)

    for name, data in of("header").items():
        add("header", name, data)
    for name, data in of("direct").items():
        add("header", name, data[:64])

    messages = of("message")
    for name, data in messages.items():
        add("frames", name, bytes([REPAIR, 6]) + data)
    add("frames", "all messages", bytes([0, 0]) + b"".join(messages.values()))
    slices = of("header")["the first frame of a barrier"] + of("frame")["a slice with its checksum"]
    add("frames", "collective", bytes([REPAIR | OTHER, 30]) + slices)

    steps = of("handshake")
    add("handshake", "to the acceptor", bytes([0, 3]) + steps["hello"] + steps["proof"])
    add("handshake", "to the dialer", bytes([OTHER, 5]) + steps["challenge"] + steps["welcome"])
    add("handshake", "hello", bytes([REPAIR, 0]) + steps["hello"])
    # A dialer that also speaks a later version, with the longest job id and fields of that version
    # behind it. The target puts the checksum right.
    later = bytearray(steps["hello"][:94]) + (128).to_bytes(2, "little") + b"j" * 128 + b"later" * 8
    later[7] = 2
    later[4:6] = (len(later) - 6).to_bytes(2, "little")
    add("handshake", "hello of a later version", bytes([REPAIR, 0]) + later + bytes(4))
    add("handshake", "challenge", bytes([REPAIR | OTHER, 9]) + steps["challenge"])
    add("handshake", "refusal", bytes([REPAIR | OTHER, 1]) + steps["refusal"])
    return found


if __name__ == "__main__":
    for path, data in seeds().items():
        path = HERE / "seeds" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
