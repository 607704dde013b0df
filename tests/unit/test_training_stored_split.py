"""A split beside a model, and the same split on data that grew since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from model_training.datasets.labelled import LabelledImages
from model_training.splits import Split, divide_labelled
from model_training.stored_split import (
    SPLIT_NAME,
    Reapplied,
    StoredSplit,
    parse_split,
    write_split,
)
from tagging.errors import TrainingDataError
from tests.unit.test_training_splits import labelled, parts, pictures

N = 240


def stored(folder: Path, data: LabelledImages, split: Split | None = None) -> StoredSplit:
    path = folder / SPLIT_NAME
    write_split(path, data, split or divide_labelled(data))
    return parse_split(path.read_bytes(), path)


def sides(split: Split) -> npt.NDArray[np.int64]:
    """0 train, 1 select, 2 hold-out, for each image."""
    found = np.full(sum(map(len, parts(split))), -1)
    for side, part in enumerate(parts(split)):
        found[sorted(part)] = side
    return found


def test_on_the_same_data_it_is_the_same_split(tmp_path: Path) -> None:
    data = labelled(pictures(N), products=[i // 2 for i in range(N)])
    split = divide_labelled(data)
    again = stored(tmp_path, data, split).apply(data)
    assert (again.unchanged, again.new, again.missing, again.moved) == (True, 0, 0, 0)
    assert again.split.fingerprint == split.fingerprint
    assert again.split.groups == split.groups == N // 2
    assert sides(again.split).tolist() == sides(split).tolist()


def test_file_order_moves_nothing_and_the_bytes_are_the_same(tmp_path: Path) -> None:
    data = labelled(pictures(N))
    kept = stored(tmp_path, data)
    first = (tmp_path / SPLIT_NAME).read_bytes()
    order = np.random.default_rng(0).permutation(N)
    turned = data.take(order)
    again = kept.apply(turned)
    assert again.unchanged
    assert sides(again.split).tolist() == sides(divide_labelled(data))[order].tolist()
    write_split(tmp_path / SPLIT_NAME, turned, again.split)
    assert (tmp_path / SPLIT_NAME).read_bytes() == first
    assert len(first) < 8 * N + 1500


def test_data_that_grew_keeps_every_image_where_it_was(tmp_path: Path) -> None:
    """Dealt anew, some that choices were made on would come to lie in the hold-out."""
    grown = labelled(pictures(2 * N))
    old = grown.first(N)
    kept = stored(tmp_path, old)
    again = kept.apply(grown)
    assert (again.unchanged, again.new, again.missing, again.moved) == (False, N, 0, 0)
    before = sides(divide_labelled(old))
    assert sides(again.split)[:N].tolist() == before.tolist()
    anew = sides(divide_labelled(grown))[:N]
    assert ((before < 2) & (anew == 2)).any()
    dealt = np.bincount(sides(again.split)[N:], minlength=3)
    assert (dealt > 0).all()
    assert dealt[0] > N / 2
    # Where a new image comes to lie depends on nothing but itself.
    fewer = grown.take(np.r_[0:N, N + 50 : 2 * N])
    assert sides(kept.apply(fewer).split)[N:].tolist() == sides(again.split)[N + 50 :].tolist()


def test_near_duplicates_and_products_follow_those_that_have_a_side(tmp_path: Path) -> None:
    old = labelled(pictures(N), products=list(range(N)))
    kept = stored(tmp_path, old)
    before = sides(divide_labelled(old))
    brighter = old.images + 2
    other = pictures(N, seed=3)  # another photo of each product
    grown = labelled(
        np.concatenate([old.images, brighter, other]),
        products=[*range(N), *range(N, 2 * N), *range(N)],
    )
    again = kept.apply(grown)
    assert (again.new, again.moved) == (2 * N, 0)
    assert sides(again.split).tolist() == [*before, *before, *before]
    assert again.split.groups == N


@pytest.mark.parametrize(("first", "second", "whole"), [(2, 0, 0), (1, 0, 0), (2, 1, 1)])
def test_what_a_new_image_ties_together_is_no_longer_held_out(
    tmp_path: Path, first: int, second: int, whole: int
) -> None:
    """A product turns out to be the one in two photos that stood on different sides."""
    old = labelled(pictures(N), products=list(range(N)))
    kept = stored(tmp_path, old)
    before = sides(divide_labelled(old))
    one, two = (int(np.flatnonzero(before == side)[0]) for side in (first, second))
    bridge = old.images[[one]] + 2
    products = np.arange(N + 1)
    products[N] = two
    grown = labelled(np.concatenate([old.images, bridge]), products=products.tolist())
    again = kept.apply(grown)
    assert (again.new, again.moved) == (1, 1)
    after = sides(again.split)
    assert {after[one], after[two], after[N]} == {whole}
    before[one] = whole
    assert after[:N].tolist() == before.tolist()


def test_what_is_away_is_counted_and_a_copy_is_no_news(tmp_path: Path) -> None:
    data = labelled(pictures(N))
    kept = stored(tmp_path, data)
    again = kept.apply(data.take(np.r_[5:N, 7]))
    assert (again.unchanged, again.new, again.missing) == (False, 0, 5)
    assert sides(again.split)[-1] == sides(again.split)[2]


def test_files_are_known_by_their_digests(tmp_path: Path) -> None:
    digests = [bytes([i]) * 32 for i in range(N)]
    small = labelled(pictures(N), digests=digests)
    large = labelled(pictures(N).repeat(2, axis=1).repeat(2, axis=2), digests=digests)
    assert stored(tmp_path, small).apply(large).unchanged
    with pytest.raises(TrainingDataError, match="none of these 240 images"):
        stored(tmp_path, small).apply(labelled(pictures(N)))


def test_other_data_is_refused(tmp_path: Path) -> None:
    kept = stored(tmp_path, labelled(pictures(N)))
    with pytest.raises(TrainingDataError, match="Give the data that its card names"):
        kept.apply(labelled(pictures(N, seed=8)))
    half: Reapplied = kept.apply(labelled(np.concatenate([pictures(N)[:1], pictures(9, seed=8)])))
    assert (half.new, half.missing) == (9, N - 1)


def test_a_split_of_other_images_is_not_written(tmp_path: Path) -> None:
    data = labelled(pictures(N))
    with pytest.raises(TrainingDataError, match="a split of 240 images was given with 200"):
        write_split(tmp_path / SPLIT_NAME, data.first(200), divide_labelled(data))
    assert not (tmp_path / SPLIT_NAME).exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SPLIT_NAME
    kept = stored(tmp_path, labelled(pictures(N)))
    whole = path.read_bytes()
    for damaged in (b"", b"not a zip", whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(TrainingDataError, match="is no stored split"):
            parse_split(path.read_bytes(), path)
    with path.open("wb") as stream:
        np.save(stream, kept.parts["train"])
    with pytest.raises(TrainingDataError, match="single array"):
        parse_split(path.read_bytes(), path)
    fingerprint = np.zeros(32, np.uint8)
    some = kept.parts["train"]
    for wrong, message in (
        ({"train": some, "select": some[:2], "holdout": some[:0]}, "stands in two parts"),
        ({"train": some[::-1], "select": some[:0], "holdout": some[:0]}, "'train' is no sorted"),
        ({"train": some, "select": np.zeros(2), "holdout": some[:0]}, "'select' is no sorted"),
        ({"train": some, "select": some[:0]}, "holdout"),
    ):
        with path.open("wb") as stream:
            np.savez(stream, fingerprint=fingerprint, **wrong)
        with pytest.raises(TrainingDataError, match=message):
            parse_split(path.read_bytes(), path)
