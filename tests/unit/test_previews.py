"""Photos of which no picture can be made, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tagging.domain import FailureCode
from tagging.images.decoders import Decoded, DecodeRequest
from tagging.images.model_input import ModelInput
from tagging.images.store import FolderImageStore
from tagging.web import previews
from tagging.web.previews import FAILURES_S, PreviewFailed, Previews

PHOTO, ANOTHER = "a" * 64, "b" * 64


class Refusing:
    """Decoders that read nothing, and count how often they were asked."""

    def __init__(self, code: FailureCode) -> None:
        self.code = code
        self.asked: list[str] = []

    def decode(self, items: Sequence[DecodeRequest], spec: ModelInput) -> list[Decoded]:
        self.asked += [item.sha256 for item in items]
        return [
            Decoded(sha256=item.sha256, code=self.code, detail=f"no {spec.height}")
            for item in items
        ]


class Bench:
    """Previews over such decoders, by a clock that stands."""

    def __init__(self, folder: Path, code: FailureCode = FailureCode.DECODE_TIMEOUT) -> None:
        self.seconds = 1e6
        self.decoders = Refusing(code)
        self.previews = Previews(
            store=FolderImageStore(folder / "images"),
            decoders=self.decoders,
            folder=folder / "previews",
            clock=lambda: self.seconds,
        )

    def why(self, sha256: str = PHOTO, size: str = "thumb") -> str:
        with pytest.raises(PreviewFailed) as refused:
            self.previews.make(sha256, size)
        return str(refused.value)


def test_the_decoders_are_not_asked_again_for_what_they_could_not_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert [bench.why() for _ in range(3)] == ["no 320"] * 3
    assert bench.decoders.asked == [PHOTO]
    # Neither another size nor another photo is refused for it.
    assert (bench.why(size="large"), bench.why(ANOTHER)) == ("no 1280", "no 320")
    assert bench.decoders.asked == [PHOTO, PHOTO, ANOTHER]


def test_after_an_hour_they_are(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.why()
    for seconds, asked in ((FAILURES_S - 1, 1), (1, 2), (FAILURES_S - 1, 2)):
        bench.seconds += seconds
        bench.why()
        assert len(bench.decoders.asked) == asked


def test_one_that_is_gone_may_be_back_any_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, FailureCode.MISSING)
    for _ in range(3):
        bench.why()
    assert len(bench.decoders.asked) == 3


def test_no_more_are_remembered_than_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "FAILURES", 2)
    bench = Bench(tmp_path)
    for number in (0, 1, 0, 2):
        bench.why(f"{number:064x}")
    assert len(bench.decoders.asked) == 3
    bench.why(f"{2:064x}")
    bench.why(f"{1:064x}")
    assert len(bench.decoders.asked) == 3
    bench.why(f"{0:064x}")
    assert len(bench.decoders.asked) == 4
