"""Decodes Kirsh's wire format from docs/PROTOCOL.md alone: no kirsh, only the standard library.

A second reading of the protocol, so that the golden vectors are checked against the document and
not against the code that wrote them. Whatever breaks a rule raises ValueError with its number.
"""

import hashlib
import hmac
import math
import struct

HEADER_BYTES = 64
SLICE_BYTES_MAX = 1 << 20
CONTROL_BODY_MAX = 4096
REASON_BYTES_MAX = 1024
HANDSHAKE_BYTES_MAX = 512
JOB_ID_MAX = 128
CALL_BYTES_MAX = 1 << 48
WORLD_SIZE_MAX = 65536

COLLECTIVES = {
    1: "barrier",
    2: "broadcast",
    3: "allreduce",
    4: "reduce",
    5: "allgather",
    6: "reduce_scatter",
    7: "gather",
    8: "scatter",
    9: "alltoall",
    10: "scan",
    11: "exscan",
    12: "allgatherv",
    13: "reduce_scatterv",
    14: "gatherv",
    15: "scatterv",
    16: "alltoallv",
}
ALGORITHMS = {
    1: "ring",
    2: "recursive_doubling",
    3: "tree",
    4: "binomial",
    5: "chain",
    6: "dissemination",
    7: "halving_doubling",
    8: "double_tree",
    9: "scatter_allgather",
    10: "reduce_scatter_gather",
    11: "bruck",
    12: "recursive_halving",
    13: "pairwise",
    14: "linear",
}
DTYPES = {
    0: ("byte", 1),
    1: ("bool", 1),
    2: ("int8", 1),
    3: ("uint8", 1),
    4: ("int16", 2),
    5: ("uint16", 2),
    6: ("int32", 4),
    7: ("uint32", 4),
    8: ("int64", 8),
    9: ("uint64", 8),
    10: ("float16", 2),
    11: ("bfloat16", 2),
    12: ("float32", 4),
    13: ("float64", 8),
    14: ("complex64", 8),
    15: ("complex128", 16),
    16: ("float8_e4m3fn", 1),
    17: ("float8_e5m2", 1),
}
OPS = dict(
    enumerate("sum prod min max avg premul_sum band bor bxor land lor lxor".split())
)
WIRES = {0: "none", 1: "bf16", 2: "f16", 3: "int8"}
BLOCK = 256
ERRORS = {
    2: "invalid argument",
    3: "unsupported",
    4: "timeout",
    5: "peer lost",
    6: "mismatch",
    7: "refused",
    8: "corrupt",
    9: "protocol violation",
    10: "aborted",
    11: "interrupted",
    12: "rendezvous",
    13: "authentication",
    14: "system",
    15: "forked",
    16: "closed",
    17: "configuration",
    18: "internal",
}
LANES = {1: "control", 2: "collective", 3: "direct", 4: "bulk"}
FRAME_KINDS = {1: "collective", 2: "control"}
DIRECT_KINDS = {3: "eager", 4: "announce", 5: "clear", 6: "data", 7: "withdraw", 8: "credit"}
EAGER_BYTES_MAX = 16384


def _table(polynomial):
    """The byte table of a reflected CRC."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _table(0x82F63B78)
_CRC64_NVME = _table(0x9A6C9329AC4BC9B5)


def _crc(table, mask, data):
    value = mask
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ mask


def crc32c(data):
    """P-6."""
    return _crc(_CRC32C, 0xFFFFFFFF, data)


def crc64_nvme(data):
    """P-15."""
    return _crc(_CRC64_NVME, 0xFFFFFFFFFFFFFFFF, data)


def _must(condition, rule):
    if not condition:
        raise ValueError(rule)


def _name(table, number, rule="P-5"):
    _must(number in table, rule)
    return table[number]


class _Fields:
    """Takes fields off the front of some bytes."""

    def __init__(self, data):
        self.left = data

    def take(self, form):
        size = struct.calcsize("<" + form)
        _must(len(self.left) >= size, "P-21")
        values = struct.unpack_from("<" + form, self.left)
        self.left = self.left[size:]
        return values if len(values) > 1 else values[0]

    def text(self, limit):
        length = self.take("H")
        _must(length <= limit, "P-21")
        try:
            return self.take(f"{length}s").decode()
        except UnicodeDecodeError:
            raise ValueError("P-21") from None

    def rank(self, world=WORLD_SIZE_MAX):
        rank = self.take("I")
        _must(rank < world, "P-22")
        return rank

    def end(self):
        _must(not self.left, "P-21")


def _call(collective, algorithm, dtype, op, root, count, wire, bounded=True):
    name, size = _name(DTYPES, dtype)
    _must(not bounded or count * size <= CALL_BYTES_MAX, "P-7")
    return {
        "collective": _name(COLLECTIVES, collective),
        "algorithm": _name(ALGORITHMS, algorithm),
        "dtype": name,
        "op": _name(OPS, op),
        "root": root,
        "count": count,
        "wire": _name(WIRES, wire),
    }


def _call_in_body(fields, bounded=True):
    """P-23, with the wire format of P-46 above the dtype."""
    collective, algorithm, dtype, op, root, count = fields.take("4BIQ")
    return _call(collective, algorithm, dtype & 0x3F, op, root, count, dtype >> 6, bounded)


def decode_header(data):
    """P-1 to P-8."""
    _must(len(data) == HEADER_BYTES, "P-1")
    (magic, version, kind, checksum, communicator, epoch, step, sequence, key, length, root, count) = (
        struct.unpack_from("<2sBBIQIIQQIIQ", data)
    )
    collective, algorithm, dtype, op, flags, wire_format, reserved = struct.unpack_from("<6BH", data, 56)
    _must(magic == b"KR", "P-2")
    _must(version == 1, "P-3")
    _must(crc32c(data[:4] + bytes(4) + data[8:]) == checksum, "P-4")
    kind = _name(FRAME_KINDS, kind)
    _must(flags & ~1 == 0 and reserved == 0, "P-5")
    _must(wire_format in WIRES and (wire_format == 0 or kind == "collective"), "P-46")
    _must(length <= (SLICE_BYTES_MAX if kind == "collective" else CONTROL_BODY_MAX), "P-7")
    call = None
    if kind == "collective":
        call = _call(collective, algorithm, dtype, op, root, count, wire_format)
    else:
        _must(flags & 1 and not any(data[44:60]), "P-8")
    return {
        "kind": kind,
        "communicator": communicator,
        "epoch": epoch,
        "step": step,
        "sequence": sequence,
        "key": key,
        "length": length,
        "call": call,
        "checksummed": bool(flags & 1),
    }


def decode_frame(data):
    """A whole frame: its header and its payload, the checksum looked at."""
    header = decode_header(data[:HEADER_BYTES])
    rest = data[HEADER_BYTES:]
    payload, trailer = rest[: header["length"]], rest[header["length"] :]
    _must(len(payload) == header["length"], "P-6")
    _must(trailer == (struct.pack("<I", crc32c(payload)) if header["checksummed"] else b""), "P-6")
    return header, payload


def decode_direct(data):
    """P-50 to P-52: a frame of a direct link, its payload and trailer with it."""
    _must(len(data) >= HEADER_BYTES, "P-1")
    (magic, version, kind, checksum, communicator, epoch, step, sequence, key, length, tag, count) = (
        struct.unpack_from("<2sBBIQIIQQIIQ", data)
    )
    collective, algorithm, dtype, op, flags, wire_format, reserved = struct.unpack_from("<6BH", data, 56)
    _must(magic == b"KR", "P-2")
    _must(version == 1, "P-3")
    _must(crc32c(data[:4] + bytes(4) + data[8:HEADER_BYTES]) == checksum, "P-4")
    kind = _name(DIRECT_KINDS, kind, "P-9")
    _must(flags & ~1 == 0 and wire_format == 0 and reserved == 0, "P-5")
    _must(key == collective == algorithm == op == 0, "P-51")
    name, size = _name(DTYPES, dtype)
    speaks = kind in ("eager", "announce")
    _must(length <= {"eager": EAGER_BYTES_MAX, "data": SLICE_BYTES_MAX}.get(kind, 0), "P-7")
    _must(speaks or (tag == 0 and dtype == 0), "P-52")
    _must(not speaks or count * size <= CALL_BYTES_MAX, "P-7")
    _must(kind == "data" or step == 0, "P-52")
    _must(kind not in ("data", "withdraw") or count == 0, "P-52")
    _must(kind != "eager" or length == count * size, "P-52")
    _must(kind != "data" or length > 0, "P-52")
    payload, trailer = data[HEADER_BYTES:][:length], data[HEADER_BYTES + length :]
    _must(len(payload) == length, "P-6")
    _must(trailer == (struct.pack("<I", crc32c(payload)) if flags & 1 else b""), "P-6")
    return {
        "kind": kind,
        "communicator": communicator,
        "epoch": epoch,
        "step": step,
        "sequence": sequence,
        "length": length,
        "tag": tag,
        "count": count,
        "dtype": name,
        "checksummed": bool(flags & 1),
    }


def plan_key(call, world, slice_bytes, channels, stripes, counts):
    """P-15, from names."""
    numbers = [
        {name: number for number, name in table.items()}[call[field]]
        for field, table in (
            ("collective", COLLECTIVES),
            ("algorithm", ALGORITHMS),
            ("dtype", {number: name for number, (name, _) in DTYPES.items()}),
            ("op", OPS),
            ("wire", WIRES),
        )
    ]
    encoding = struct.pack(
        "<BBBBBBHIIQIHH", 1, *numbers, 0, world, call["root"], call["count"], slice_bytes, channels, stripes
    )
    return crc64_nvme(encoding + struct.pack(f"<{len(counts)}Q", *counts))


def decode_elements(wire, data):
    """P-47: the bits of the float32 that an encoding stands for."""
    if wire == "bf16":
        return [bits << 16 for (bits,) in struct.iter_unpack("<H", data)]
    if wire == "f16":
        return [_bits(value) for (value,) in struct.iter_unpack("<e", data)]
    elements = []
    for at in range(0, len(data), 4 + BLOCK):
        block = data[at : at + 4 + BLOCK]
        (scale,) = struct.unpack_from("<f", block)
        codes = struct.unpack(f"<{len(block) - 4}b", block[4:])
        odd = {127: math.inf, -127: -math.inf, -128: math.nan} if scale < 0 else {}
        elements += [_bits(odd.get(code, code * abs(scale))) for code in codes]
    return elements


def _bits(value):
    return 0x7FC00000 if math.isnan(value) else struct.unpack("<I", struct.pack("<f", value))[0]


def decode_message(data):
    """P-20 to P-27: a whole control frame."""
    header, body = decode_frame(data)
    _must(header["kind"] == "control", "P-9")
    _must(not any(data[8:40]), "P-8")
    fields = _Fields(body)
    number = fields.take("B")
    if number == 1:
        message = {"type": "heartbeat"}
    elif number == 2:
        message = {"type": "stalled"}
        message["communicator"], message["epoch"] = fields.take("QI")
        message["origin"], message["to"] = fields.rank(), fields.rank()
        message["sequence"], message["key"] = fields.take("QQ")
        message["call"] = _call_in_body(fields)
        message["blame"] = fields.rank()
    elif number == 3:
        message = {"type": "refused"}
        message["communicator"], message["epoch"] = fields.take("QI")
        message["origin"] = fields.rank()
        message["sequence"] = fields.take("Q")
        message["call"] = _call_in_body(fields, bounded=False)
        message["error"] = _name(ERRORS, fields.take("B"))
        message["reason"] = fields.text(REASON_BYTES_MAX)
    elif number == 4:
        message = {"type": "abort"}
        message["communicator"], message["epoch"] = fields.take("QI")
        message["origin"] = fields.rank()
        present, sequence = fields.take("BQ")
        about = fields.rank()
        _must(present & ~3 == 0, "P-25")
        _must(present & 1 or sequence == 0, "P-25")
        _must(present & 2 or about == 0, "P-25")
        message["sequence"] = sequence if present & 1 else None
        message["about"] = about if present & 2 else None
        message["error"] = _name(ERRORS, fields.take("B"))
        message["reason"] = fields.text(REASON_BYTES_MAX)
    elif number == 5:
        message = {"type": "goodbye", "origin": fields.rank()}
        message["finished"] = [list(fields.take("QIQ")) for _ in range(fields.take("H"))]
    else:
        raise ValueError("P-20")
    fields.end()
    return message


def decode_handshake(data):
    """P-30 to P-36: a whole handshake message. Gives its fields; a MAC under "mac"."""
    _must(10 <= len(data) <= HANDSHAKE_BYTES_MAX, "P-30")
    magic, number, zero, length = struct.unpack_from("<2sBBH", data)
    _must(magic == b"KH" and zero == 0 and len(data) == length + 10, "P-30")
    _must(struct.pack("<I", crc32c(data[:-4])) == data[-4:], "P-6")
    fields = _Fields(data[6:-4])
    if number == 1:
        message = {"type": "hello", "versions": list(fields.take("BB"))}
        message["lane"] = _name(LANES, fields.take("B"))
        message["checksums"] = _flags(fields.take("B"))
        world = message["world"] = _world(fields.take("I"))
        message["rank"], message["peer_rank"] = fields.rank(world), fields.rank(world)
        message["process"], message["peer_process"] = fields.take("QQ")
        message["communicator"], message["epoch"] = fields.take("QI")
        message["channel"], message["stripe"] = fields.take("HH")
        message["byte_position"] = fields.take("Q")
        message["nonce"] = fields.take("32s").hex()
        message["job"] = fields.text(JOB_ID_MAX)
    elif number == 2:
        message = {"type": "challenge", "version": fields.take("B")}
        _must(message["version"] == 1, "P-38")
        message["checksums"] = _flags(fields.take("B"))
        _must(fields.take("H") == 0, "P-33")
        world = message["world"] = _world(fields.take("I"))
        message["rank"] = fields.rank(world)
        message["process"], message["byte_position"] = fields.take("QQ")
        message["nonce"] = fields.take("32s").hex()
        message["job"] = fields.text(JOB_ID_MAX)
    elif number in (3, 4):
        message = {"type": "proof" if number == 3 else "welcome", "mac": fields.take("32s").hex()}
    elif number == 5:
        message = {"type": "refusal", "error": _name(ERRORS, fields.take("B"))}
        message["reason"] = fields.text(HANDSHAKE_BYTES_MAX - 13)
    else:
        raise ValueError("P-30")
    fields.end()
    return message


def _flags(flags):
    _must(flags & ~1 == 0, "P-5")
    return bool(flags & 1)


def _world(world):
    _must(0 < world <= WORLD_SIZE_MAX, "P-22")
    return world


def proof(token, label, *messages):
    """P-37: what the dialer or the acceptor has to show."""
    mac = hmac.new(token, digestmod=hashlib.sha256)
    for part in (label.encode(), *messages):
        mac.update(struct.pack("<Q", len(part)) + part)
    return mac.hexdigest()
