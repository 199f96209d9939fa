"""What a compiled library asks of the C library, read from its ELF file: gABI, chapters 4 and 5, and the
"Symbol Versioning" of the Linux Standard Base."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_STRTAB, _DYNAMIC, _VERNEED = 3, 6, 0x6FFF_FFFE
_NEEDED = 1

#: What every Linux with glibc has, of the list in PEP 599: a wheel for manylinux may ask for no more.
ALLOWED = re.compile(
    r"(libc|libm|libdl|librt|libpthread|libgcc_s|libutil|libresolv|libnsl|ld-linux-[\w-]+)\.so\.\d+"
)


@dataclass(frozen=True)
class Section:
    """One of an ELF file's sections."""

    kind: int
    data: bytes
    #: The section that it refers to, here always its table of names.
    link: int
    #: How many entries a list has that does not say where it ends.
    info: int


def sections(elf: bytes) -> list[Section]:
    """The sections of a 64-bit little-endian file."""
    assert elf[:6] == b"\x7fELF\x02\x01", "no 64-bit little-endian ELF file"
    (start,) = struct.unpack_from("<Q", elf, 40)
    size, count = struct.unpack_from("<HH", elf, 58)
    found = []
    for at in range(start, start + size * count, size):
        _, kind, _, _, offset, length, link, info = struct.unpack_from("<IIQQQQII", elf, at)
        found.append(Section(kind, elf[offset : offset + length], link, info))
    return found


def _text(names: Section, at: int) -> str:
    assert names.kind == _STRTAB
    return names.data[at : names.data.index(b"\0", at)].decode()


def needed(elf: bytes) -> list[str]:
    """The libraries that it is linked with."""
    every = sections(elf)
    return [
        _text(every[section.link], value)
        for section in every
        if section.kind == _DYNAMIC
        for tag, value in struct.iter_unpack("<qQ", section.data)
        if tag == _NEEDED
    ]


def versions(elf: bytes) -> Iterator[str]:
    """The versions of symbols that it asks for, such as GLIBC_2.17."""
    every = sections(elf)
    for section in every:
        if section.kind != _VERNEED:
            continue
        at = 0
        for _ in range(section.info):
            _, count, _, first, following = struct.unpack_from("<HHIII", section.data, at)
            entry = at + first
            for _ in range(count):
                _, _, _, name, further = struct.unpack_from("<IHHII", section.data, entry)
                yield _text(every[section.link], name)
                entry += further
            at += following


def newest(elf: bytes) -> tuple[int, int]:
    """The oldest glibc that has all it asks for, as (major, minor)."""
    asked = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", version) for version in versions(elf)]
    return max((int(match[1]), int(match[2])) for match in asked if match)


def promised(wheel: str) -> tuple[int, int]:
    """The glibc that a wheel's name says is enough, as in manylinux_2_28_x86_64."""
    match = re.search(r"manylinux_(\d+)_(\d+)_\w+\.whl$", wheel)
    assert match, f"{wheel} promises no glibc"
    return int(match[1]), int(match[2])
