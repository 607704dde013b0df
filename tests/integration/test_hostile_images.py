"""Hostile pictures through the real pool: the odd ones, and the first 1,500 mutants of ours.

`make hostile-images` runs 20,000 and more, and prints what they came to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tagging.domain import FailureCode
from tagging.images.decoders import DecoderPool
from tagging.images.rejection import ImageLimits
from tests.hostile.images import BLOCK, Tally, try_files, try_mutants
from tests.hostile.mutations import MUTATIONS, mutant


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    with DecoderPool(2, ImageLimits(), measured=True) as running:
        yield running


@pytest.mark.parametrize("seed", [0, BLOCK], ids=["a grey model", "a model of colours"])
def test_odd_images_are_decoded_or_refused_with_a_reason(
    pool: DecoderPool, data_dir: Path, tmp_path: Path, seed: int
) -> None:
    originals = sorted((data_dir / "odd-images").iterdir())
    paths = [tmp_path / f"{number}" for number in range(len(originals))]
    for path, original in zip(paths, originals, strict=True):
        path.symlink_to(original)
    tally = try_files(pool, [original.name for original in originals], paths, seed)
    assert tally.faults == []
    assert tally.files > 500
    assert tally.outcomes["decoded"] > 300
    assert set(tally.outcomes) <= {
        "decoded",
        FailureCode.UNREADABLE,
        FailureCode.UNSUPPORTED_FORMAT,
        FailureCode.TOO_MANY_PIXELS,
    }


def test_mutants_are_decoded_or_refused_with_a_reason(pool: DecoderPool) -> None:
    tally = try_mutants(pool, range(1_500))
    assert tally.faults == []
    assert (tally.files, tally.neighbours) == (1_500, 375)
    assert tally.outcomes["decoded"] > 300  # not all of them are hopeless...
    assert tally.outcomes[FailureCode.UNREADABLE] > 300  # ...and many are hurt
    assert tally.peak_bytes > 0
    assert tally.cpu_seconds > 0


def test_a_mutant_is_the_same_each_time() -> None:
    assert [mutant(seed) for seed in range(40)] == [mutant(seed) for seed in range(40)]


def test_every_kind_of_mutation_takes_part() -> None:
    names = " ".join(mutant(seed).name for seed in range(300))
    assert [name for name in MUTATIONS if name not in names] == []


def test_a_tally_tells_what_must_not_be() -> None:
    limits = ImageLimits()
    bad = Tally(
        outcomes={FailureCode.DECODER_CRASH: 1},
        unavailable=1,
        unclassified=["a"],
        refused_wrongly=["b"],
        spoilt=["c"],
        cpu_seconds=limits.max_seconds + 1,
        peak_bytes=limits.max_memory_bytes + 1,
    )
    total = Tally()
    total.add(bad)
    total.add(bad)
    assert len(bad.faults) == 7
    assert total.outcomes == {FailureCode.DECODER_CRASH: 2}
    assert len(total.faults) == 10  # lists add up
    assert Tally().faults == []
