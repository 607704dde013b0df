"""The wire format between the pool and its children: what is sent comes back, nonsense does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagging.domain import FailureCode
from tagging.images.protocol import (
    Cost,
    DecodeRequest,
    ProtocolError,
    WireSpec,
    pack,
    pack_request,
    read_answer,
    unpack_from,
)

SPEC = WireSpec(kind="fashion-mnist", height=2, width=3, channels=1)
REQUEST = DecodeRequest(sha256="ab" * 32, path=Path("x"))


@given(st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.binary())), st.data())
def test_messages_survive_being_cut_anywhere(
    messages: list[tuple[dict[str, int], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(pack(header, payload) for header, payload in messages)
    buffer, received, position = bytearray(), [], 0
    while position < len(stream):
        step = data.draw(st.integers(1, len(stream)))
        buffer += stream[position : position + step]
        position += step
        while (message := unpack_from(buffer, payload_max_bytes=1 << 20)) is not None:
            received.append(message)
    assert received == messages
    assert not buffer


def test_a_path_that_is_no_unicode_travels() -> None:
    path = Path(b"/photos/\xff\xfe.jpg".decode(errors="surrogateescape"))
    buffer = bytearray(pack_request(SPEC, [DecodeRequest(sha256="0" * 64, path=path)]))
    message = unpack_from(buffer, payload_max_bytes=0)
    assert message is not None
    assert Path(message[0]["images"][0][1]) == path


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"\xff\xff\xff\xff\0\0\0\0", "was announced"),
        (b"\0\0\0\2\0\0\0\x11{}", "was announced"),
        (b"\0\0\0\2\0\0\0\0{]", "not JSON"),
        (b"\0\0\0\2\0\0\0\0[]", "not a JSON object"),
        (b"\0\3\x0d\x40\0\0\0\0" + b"[" * 200_000, "not JSON"),
    ],
)
def test_nonsense_is_refused(stream: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        unpack_from(bytearray(stream), payload_max_bytes=16)


def test_pixels_are_writable_and_checked_against_the_spec() -> None:
    answer = read_answer({"shape": [2, 3, 1]}, bytearray(range(6)), REQUEST, SPEC)
    assert answer.readable
    assert answer.pixels is not None
    answer.pixels[:] += 1
    np.testing.assert_array_equal(answer.pixels[:, :, 0], [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ProtocolError, match="pixels of shape"):
        read_answer({"shape": [3, 2, 1]}, bytearray(6), REQUEST, SPEC)
    with pytest.raises(ProtocolError, match="5 bytes"):
        read_answer({"shape": [2, 3, 1]}, bytearray(5), REQUEST, SPEC)


def test_an_answer_may_tell_its_cost() -> None:
    header = {"shape": [2, 3, 1], "cost": [0.25, 4096]}
    assert read_answer(header, bytearray(6), REQUEST, SPEC).cost == Cost(
        cpu_seconds=0.25, peak_bytes=4096
    )
    assert read_answer({"shape": [2, 3, 1]}, bytearray(6), REQUEST, SPEC).cost is None
    for nonsense in ([1], ["1", 2], [0.1, 0.2], [float("nan"), 1], {}, "much"):
        with pytest.raises(ProtocolError, match="a cost of"):
            read_answer({**header, "cost": nonsense}, bytearray(6), REQUEST, SPEC)


def test_failures_carry_code_and_detail() -> None:
    answer = read_answer({"code": "unreadable", "detail": "Why."}, bytearray(), REQUEST, SPEC)
    assert (answer.code, answer.detail) == (FailureCode.UNREADABLE, "Why.")
    assert not answer.readable
    with pytest.raises(ProtocolError, match="unknown failure code"):
        read_answer({"code": "bored"}, bytearray(), REQUEST, SPEC)


def test_whatever_a_child_says_can_be_stored() -> None:
    """It may have been taken over by a picture, and no database takes a NUL."""
    for name in ("detail", "unread"):
        header = {"code": "unreadable", name: "\0\ud800" + "y" * 5000}
        if name == "unread":
            del header["code"]
        answer = read_answer(header, bytearray(), REQUEST, SPEC)
        said = answer.detail or answer.unread or ""
        assert said.isprintable()
        assert said.startswith("\\x00\\ud800yyy")
        assert len(said) < 1100
    for nonsense in (None, 7, ["words"]):
        with pytest.raises(ProtocolError, match="no text"):
            read_answer({"unread": nonsense}, bytearray(), REQUEST, SPEC)


def test_what_was_not_read_carries_what_the_disk_said() -> None:
    answer = read_answer({"unread": "Input/output error"}, bytearray(), REQUEST, SPEC)
    assert (answer.unread, answer.code, answer.readable) == ("Input/output error", None, False)
