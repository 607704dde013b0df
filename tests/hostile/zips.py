"""Zips written by hand, every field of which may lie."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Final

FILE: Final = stat.S_IFREG | 0o644
END: Final = struct.Struct("<4s4H2LH")


@dataclass(kw_only=True)
class Fields:
    """What a directory and a local header say of an entry where they do not say the same."""

    flags: int | None = None
    method: int | None = None
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    signature: bytes = b"PK\3\4"


@dataclass
class Packed:
    """One entry."""

    name: bytes
    data: bytes = b"pixels"
    method: int = 8
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    flags: int = 0x800
    mode: int = FILE
    attributes: int = 0
    """The lower half of the external attributes: those of DOS."""
    version: int = 20
    at: int | None = None
    """Where the directory says that the entry lies."""
    local_name: bytes | None = None
    local: Fields | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    raw: bytes | None = None
    """The packed bytes, if they are not what `data` packs to."""
    cut: int = 0
    """Bytes missing at the end of the packed data."""


def extra_field(kind: int, value: bytes, *, size: int | None = None) -> bytes:
    return struct.pack("<HH", kind, len(value) if size is None else size) + value


def unicode_path(plain: bytes, name: bytes, *, version: int = 1, crc: int | None = None) -> bytes:
    """The extra field 0x7075 (APPNOTE 4.6.9)."""
    checksum = zlib.crc32(plain) if crc is None else crc
    return extra_field(0x7075, struct.pack("<BL", version, checksum) + name)


def zip64(*values: int) -> bytes:
    """The extra field 0x0001 with those of size, packed size and offset that are in use."""
    return extra_field(1, struct.pack(f"<{len(values)}Q", *values))


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


def pack(
    *entries: Packed,
    count: int | None = None,
    directory_bytes: int | None = None,
    directory_at: int | None = None,
    comment: bytes = b"",
    prefix: bytes = b"",
    between: bytes = b"",
) -> bytes:
    """The bytes of a zip. `between` lies between the entries and the directory."""
    body, directory = bytearray(prefix), bytearray()
    for one in entries:
        raw = one.raw
        if raw is None:
            raw = deflated(one.data) if one.method == 8 else one.data
        packed = len(raw) if one.packed is None else one.packed
        size = len(one.data) if one.size is None else one.size
        crc = zlib.crc32(one.data) if one.crc is None else one.crc
        offset = len(body) if one.at is None else one.at
        name = one.name if one.local_name is None else one.local_name
        said = one.local or Fields()
        body += struct.pack(
            "<4s5H3L2H",
            said.signature,
            20,
            one.flags if said.flags is None else said.flags,
            one.method if said.method is None else said.method,
            0,
            0x21,
            crc if said.crc is None else said.crc,
            packed if said.packed is None else said.packed,
            size if said.size is None else said.size,
            len(name),
            len(one.local_extra),
        )
        body += name + one.local_extra + raw[: len(raw) - one.cut]
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 0x314, one.version, one.flags, one.method, 0, 0x21, crc,
            packed, size, len(one.name), len(one.extra), 0, 0, 0,
            (one.mode << 16) | one.attributes, offset,
        ) + one.name + one.extra  # fmt: skip
    body += between
    number = len(entries) if count is None else count
    return bytes(body + directory) + END.pack(
        b"PK\5\6", 0, 0, number & 0xFFFF, number & 0xFFFF,
        len(directory) if directory_bytes is None else directory_bytes,
        len(body) if directory_at is None else directory_at,
        len(comment),
    ) + comment  # fmt: skip


def zip_of(files: dict[str, str | bytes]) -> bytes:
    """An honest zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
