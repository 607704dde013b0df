"""What the decoder pool asks of a child, and what a child answers: values and their wire format.

A message is two lengths (4 bytes each, big-endian), a JSON header, and raw bytes. No pickle: what
the child sends was made while it read hostile files, so the parent checks all of it.

    parent -> child   {"spec": {kind, height, width, channels}, "images": [[sha256, path], ...]}
    child -> parent   {"ready": true}                              once, when it may be asked
                      {"shape": [h, w, c]} + h * w * c bytes       one of these three per image,
                      {"code": ..., "detail": ...}                 in the order asked
                      {"unread": "Input/output error"}
    With "retire": true in an answer, the child ends after it; the rest must be asked of another.
    With "cost": [seconds, bytes] in an answer, a child that was told to measure says what it took.

Beside this, on a pipe of its own, comes one byte for each image as soon as the child wants nothing
more of the disk it lies on. The parent looks there only when an answer takes long: a child that
gave no such byte waits for the disk, and the image is not to blame.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tagging.domain import FailureCode
from tagging.images.model_input import ModelInput
from tagging.printable import printable

_LENGTHS: Final = struct.Struct(">II")
_HEADER_MAX_BYTES: Final = 1 << 20
TOLD_MAX_CHARS: Final = 1000


class ProtocolError(Exception):
    """The other side sent what is no message; nothing after it can be trusted."""


@dataclass(frozen=True, kw_only=True)
class DecodeRequest:
    """A stored image: its expected sha256 (hex) and where its bytes lie."""

    sha256: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one image took. `cpu_seconds`: of processor time, reading and hashing included.

    `peak_bytes`: the most resident memory meanwhile, over that of the idle child.
    """

    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What became of one request: `pixels`, or `code` and `detail`, or `unread`.

    `pixels`: (height, width, channels) uint8 as `to_model_input` gives them. `unread`: what its
    disk said in place of its bytes, so that nothing is known of the image. `cost`: where the pool
    was told to measure and the child lived to tell it.
    """

    sha256: str
    pixels: npt.NDArray[np.uint8] | None = None
    code: FailureCode | None = None
    detail: str | None = None
    unread: str | None = None
    cost: Cost | None = None

    @property
    def readable(self) -> bool:
        return self.pixels is not None


@dataclass(frozen=True, kw_only=True)
class WireSpec:
    """`ModelInput` as it travels; the child reads it without the card's pydantic model."""

    kind: str
    height: int
    width: int
    channels: int


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message as bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


def pack_request(spec: ModelInput, requests: list[DecodeRequest]) -> bytes:
    """The message that asks a child for `requests`, in this order."""
    return pack(
        {
            "spec": {
                "kind": spec.kind,
                "height": spec.height,
                "width": spec.width,
                "channels": spec.channels,
            },
            "images": [[request.sha256, str(request.path)] for request in requests],
        }
    )


def unpack_from(
    buffer: bytearray, *, payload_max_bytes: int
) -> tuple[dict[str, Any], bytearray] | None:
    """Take one message off the front of `buffer`; None while it is not all there.

    The raw bytes are copied once, into what is returned: 224 x 224 x 3 of them are 150 kB.

    Raises:
        ProtocolError: the lengths are out of bounds, or the header is not a JSON object.
    """
    if len(buffer) < _LENGTHS.size:
        return None
    text_bytes, payload_bytes = _LENGTHS.unpack_from(buffer)
    if text_bytes > _HEADER_MAX_BYTES or payload_bytes > payload_max_bytes:
        raise ProtocolError(f"a message of {text_bytes} + {payload_bytes} bytes was announced")
    start, end = _LENGTHS.size + text_bytes, _LENGTHS.size + text_bytes + payload_bytes
    if len(buffer) < end:
        return None
    text, payload = buffer[_LENGTHS.size : start], buffer[start:end]
    del buffer[:end]
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header is not JSON") from error
    if not isinstance(header, dict):
        raise ProtocolError("a header is not a JSON object")
    return header, payload


def read_answer(
    header: dict[str, Any], payload: bytearray, request: DecodeRequest, spec: ModelInput
) -> Decoded:
    """The answer to `request` from a message, whose raw bytes the pixels go on using.

    Raises:
        ProtocolError: it is no answer.
    """
    if "code" in header:
        try:
            code = FailureCode(header["code"])
        except ValueError as error:
            raise ProtocolError(f"unknown failure code {short(header['code'])}") from error
        detail = _told(header.get("detail"))
        return Decoded(sha256=request.sha256, code=code, detail=detail, cost=_cost(header))
    if "unread" in header:
        return Decoded(sha256=request.sha256, unread=_told(header["unread"]), cost=_cost(header))
    shape = (spec.height, spec.width, spec.channels)
    if header.get("shape") != list(shape) or len(payload) != np.prod(shape):
        said = short(header.get("shape"))
        raise ProtocolError(f"pixels of shape {said}, {len(payload)} bytes")
    pixels = np.frombuffer(payload, dtype=np.uint8).reshape(shape)  # writable, as a bytearray is
    return Decoded(sha256=request.sha256, pixels=pixels, cost=_cost(header))


def _told(words: object) -> str:
    """What a child says to a person, as a database can store it: a picture may have taken it over.

    Raises:
        ProtocolError: that is no text.
    """
    if not isinstance(words, str):
        raise ProtocolError("words that are no text")
    return printable(words[:TOLD_MAX_CHARS])


def _cost(header: dict[str, Any]) -> Cost | None:
    match header.get("cost"):
        case None:
            return None
        case [float(seconds), int(peak)] if math.isfinite(seconds):
            return Cost(cpu_seconds=seconds, peak_bytes=peak)
        case other:
            raise ProtocolError(f"a cost of {short(other)}")
