"""The golden wire vectors, read by a decoder that shares no code with the library."""

import json
from pathlib import Path

import pytest
import wire_decoder as wire

GOLDEN = Path(__file__).parents[2] / "kirsh-core" / "tests" / "golden" / "wire.json"
VECTORS = json.loads(GOLDEN.read_text(encoding="utf-8"))


def of(kind):
    """The vectors of one kind, as test parameters."""
    found = [v for v in VECTORS if v["kind"] == kind]
    assert found, f"the golden file has no {kind}"
    return [pytest.param(bytes.fromhex(v["hex"]), v["fields"], id=v["name"]) for v in found]


def handshake(name):
    return next(bytes.fromhex(v["hex"]) for v in VECTORS if v["kind"] == "handshake" and v["name"] == name)


def test_the_checksums_are_the_catalogued_ones():
    assert wire.crc32c(b"123456789") == 0xE3069283
    assert wire.crc64_nvme(b"123456789") == 0xAE8B14860A799888


@pytest.mark.parametrize("data, fields", of("header"))
def test_headers_mean_what_their_fields_say(data, fields):
    assert wire.decode_header(data) == fields


@pytest.mark.parametrize("data, fields", of("frame"))
def test_frames_mean_what_their_fields_say(data, fields):
    header, payload = wire.decode_frame(data)
    assert header == fields
    assert payload == data[64:-4]


@pytest.mark.parametrize("data, fields", of("direct"))
def test_frames_of_direct_links_mean_what_their_fields_say(data, fields):
    assert wire.decode_direct(data) == fields


@pytest.mark.parametrize("data, fields", of("key"))
def test_plan_keys_follow_from_the_documented_encoding(data, fields):
    names = ("call", "world", "slice", "channels", "stripes", "counts")
    key = wire.plan_key(*(fields[name] for name in names))
    assert key.to_bytes(8, "little") == data


@pytest.mark.parametrize("data, fields", of("encoding"))
def test_encoded_elements_are_what_the_document_says(data, fields):
    assert wire.decode_elements(fields["wire"], data) == fields["bits"]


@pytest.mark.parametrize("data, fields", of("message"))
def test_control_messages_mean_what_their_fields_say(data, fields):
    assert wire.decode_message(data) == fields


@pytest.mark.parametrize("data, fields", of("handshake"))
def test_handshake_messages_mean_what_their_fields_say(data, fields):
    message = wire.decode_handshake(data)
    if "token" in fields:
        label = "kirsh link 1 " + {"proof": "dialer", "welcome": "acceptor"}[fields["type"]]
        mac = wire.proof(fields["token"].encode(), label, handshake("hello"), handshake("challenge"))
        fields = {"type": fields["type"], "mac": mac}
    assert message == fields


@pytest.mark.parametrize("kind", ["header", "frame", "direct", "message", "handshake"])
def test_a_changed_byte_is_never_taken(kind):
    decode = {
        "header": wire.decode_header,
        "frame": wire.decode_frame,
        "direct": wire.decode_direct,
        "message": wire.decode_message,
        "handshake": wire.decode_handshake,
    }[kind]
    for parameter in of(kind):
        data = bytearray(parameter.values[0])
        for at in range(len(data)):
            data[at] ^= 0x10
            with pytest.raises(ValueError, match="P-"):
                decode(bytes(data))
            data[at] ^= 0x10
