"""The directory of a zip, checked and put in order before `zipfile` parses it.

`zipfile` gives a whole archive up for one entry whose name is not the UTF-8 that it says, whose
extra field is cut short, or that asks for a version yet to come; and which of these it knows
depends on the version of Python. Here such an entry is noted, and its bytes are made harmless, so
that it is reported by itself and its neighbours are read.

Field names and offsets are those of PKWARE's APPNOTE, 4.3.12 (file headers), 4.3.16 (end), 4.5.3
(zip64) and 4.6.9 (Unicode path).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

ENTRY_SIGNATURE: Final = b"PK\x01\x02"
UTF8_NAME: Final = 0x800

_HEADER: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
END_BYTES: Final = _END.size + 0xFFFF
"""Of the end of a file, within which the end of the directory stands."""
_END_SIGNATURE: Final = b"PK\x05\x06"
_VERSION_AT: Final = 6
_FLAGS_AT: Final = 8
_MAX_VERSION: Final = 63
_READ_VERSION: Final = 20
_UNKNOWN_FIELD: Final = 0xFFFF
_ZIP64_FIELD: Final = 0x0001
_UNICODE_PATH_FIELD: Final = 0x7075
_NO_UTF8: Final = "its name is not the UTF-8 that it says to be; rename the file and pack it again"


@dataclass(kw_only=True, slots=True)
class Directory:
    """What was found in a directory, by the position of the entry.

    `entries`: how many there are. `names`: those that a Unicode path field states. `problems`: why
    an entry cannot be read, and what to do.
    """

    entries: int = 0
    names: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


def put_in_order(data: bytes) -> tuple[bytes, Directory]:
    """The directory with what `zipfile` cannot parse made harmless; of the same length.

    Ends at the first bytes that are no entry: those `zipfile` is left to refuse.
    """
    found = Directory()
    mended: bytearray | None = None
    at = 0
    while data.startswith(ENTRY_SIGNATURE, at) and at + _HEADER.size <= len(data):
        header = _HEADER.unpack_from(data, at)
        version, flags, name_bytes, extra_bytes, comment_bytes = (
            header[2], header[3], header[10], header[11], header[12],
        )  # fmt: skip
        begin = at + _HEADER.size
        name = data[begin : begin + name_bytes]
        changes: list[tuple[int, bytes]] = []
        if flags & UTF8_NAME and not name.isascii() and not _is_utf8(name):
            found.problems[found.entries] = _NO_UTF8
            changes.append((at + _FLAGS_AT, struct.pack("<H", flags & ~UTF8_NAME)))
        if version & 0xFF > _MAX_VERSION:
            changes.append((at + _VERSION_AT, bytes([_READ_VERSION])))
        if extra_bytes:
            begin += name_bytes
            extra = data[begin : begin + extra_bytes]
            large = _large_sizes(header[8], header[9], header[16])
            stated, harmless = _extra(extra, name, large)
            if stated is not None:
                found.names[found.entries] = stated
            if harmless != extra:
                changes.append((begin, harmless))
        for place, value in changes:
            mended = bytearray(data) if mended is None else mended
            mended[place : place + len(value)] = value
        found.entries += 1
        at += _HEADER.size + name_bytes + extra_bytes + comment_bytes
    return data if mended is None else bytes(mended), found


def stated_entries(tail: bytes) -> int | None:
    """How many entries the end of the directory states, modulo 65,536; None if it doesn't.

    Args:
        tail: The last `END_BYTES` of the file, or all of it. Read as `zipfile` reads it: a file
            without a comment first, then the last signature.
    """
    at = len(tail) - _END.size
    if at < 0:
        return None
    if not (tail.startswith(_END_SIGNATURE, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_END_SIGNATURE)
        if at < 0 or at + _END.size > len(tail):
            return None
    count: int = _END.unpack_from(tail, at)[4]
    return None if count == 0xFFFF else count  # the true count stands in the zip64 record


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _large_sizes(packed: int, unpacked: int, offset: int) -> int:
    """How many bytes the zip64 field must have for what does not fit into the header."""
    return 8 * sum(value == 0xFFFF_FFFF for value in (packed, unpacked, offset))


def _extra(extra: bytes, name: bytes, large: int) -> tuple[str | None, bytes]:
    """The name that an extra field states, and the field with what is broken or odd made unknown.

    A Unicode path counts if its checksum is that of the plain name: else a program that does not
    know it renamed the entry since.
    """
    stated: str | None = None
    of_name: int | None = None  # once: there may be thousands of fields, and the name is long
    kept = bytearray(extra)
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        value = extra[at + 4 : at + 4 + size]
        cut = len(value) < size
        if kind == _UNICODE_PATH_FIELD and not cut and size >= 5:
            version, checksum = struct.unpack_from("<BL", value)
            of_name = zlib.crc32(name) if of_name is None else of_name
            if version == 1 and checksum == of_name and _is_utf8(value[5:]):
                stated = value[5:].decode()
        if cut or kind == _UNICODE_PATH_FIELD or (kind == _ZIP64_FIELD and size < large):
            struct.pack_into("<HH", kept, at, _UNKNOWN_FIELD, len(value))
        at += 4 + size
    return stated, bytes(kept)
