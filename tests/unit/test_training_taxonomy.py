"""From delivered labels and parents to categories."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_training.datasets.files import LabelledFile, Listing
from model_training.datasets.labelled import Merged
from model_training.datasets.taxonomy import Categories, categories_of, settle
from tagging.errors import TrainingDataError

Rows = dict[str, tuple[int, tuple[str, ...]]]
"""Label -> how many images, and its parents."""


def categories(rows: Rows, min_per_class: int = 30) -> Categories:
    return categories_of(
        {label: count for label, (count, _) in rows.items()},
        {label: parents for label, (_, parents) in rows.items()},
        min_per_class=min_per_class,
    )


def leaves(found: Categories) -> dict[str, str | None]:
    return {leaf.name: leaf.parent for leaf in found.leaves}


def nodes(found: Categories) -> dict[str, str | None]:
    return {node.name: node.parent for node in found.parents}


def goes_to(found: Categories) -> dict[str, str]:
    return {label: found.leaves[index].name for label, index in found.leaf_of.items()}


class TestSize:
    def test_large_labels_are_categories_below_their_parents(self) -> None:
        found = categories(
            {
                "Shirts": (40, ("Apparel", "Topwear")),
                "Jeans": (30, ("Apparel", "Bottomwear")),
                "Belts": (99, ("Accessories",)),
            }
        )
        assert leaves(found) == {"Belts": "Accessories", "Jeans": "Bottomwear", "Shirts": "Topwear"}
        assert [leaf.name for leaf in found.leaves] == ["Belts", "Jeans", "Shirts"]
        assert nodes(found) == {
            "Accessories": None,
            "Apparel": None,
            "Bottomwear": "Apparel",
            "Topwear": "Apparel",
        }
        assert [node.name for node in found.parents][:2] == ["Accessories", "Apparel"]
        assert goes_to(found) == {"Belts": "Belts", "Jeans": "Jeans", "Shirts": "Shirts"}
        assert found.merged == ()

    def test_small_ones_go_to_their_parent(self) -> None:
        found = categories(
            {
                "Jeans": (50, ("Apparel", "Bottomwear")),
                "Skirts": (10, ("Apparel", "Bottomwear")),
                "Leggings": (25, ("Apparel", "Bottomwear")),
                "Backpacks": (29, ("Accessories", "Bags")),
                "Clutches": (1, ("Accessories", "Bags")),
            }
        )
        assert leaves(found) == {
            "Bags": "Accessories",  # nothing else is left of it
            "Bottomwear (other)": "Bottomwear",
            "Jeans": "Bottomwear",
        }
        assert nodes(found) == {"Accessories": None, "Apparel": None, "Bottomwear": "Apparel"}
        assert found.merged == (
            Merged(category="Backpacks", images=29, into="Bags"),
            Merged(category="Clutches", images=1, into="Bags"),
            Merged(category="Leggings", images=25, into="Bottomwear (other)"),
            Merged(category="Skirts", images=10, into="Bottomwear (other)"),
        )

    def test_what_is_too_small_for_the_parent_goes_further_up(self) -> None:
        found = categories(
            {
                "Shoes": (50, ("Footwear",)),
                "Sandals": (40, ("Footwear", "Open")),
                "Sports Sandals": (4, ("Footwear", "Open")),
                "Clogs": (29, ("Footwear", "Closed")),
            }
        )
        assert goes_to(found) == {
            "Shoes": "Shoes",
            "Sandals": "Sandals",
            "Sports Sandals": "Footwear (other)",
            "Clogs": "Footwear (other)",
        }

    def test_what_belongs_to_nothing_goes_to_other_in_any_number(self) -> None:
        found = categories({"Dress": (30, ()), "Hat": (3, ()), "Sock": (1, ("Feet",))})
        assert leaves(found) == {"Dress": None, "other": None}
        assert goes_to(found) == {"Dress": "Dress", "Hat": "other", "Sock": "other"}
        assert {merged.into for merged in found.merged} == {"other"}

    def test_one_category_is_none(self) -> None:
        with pytest.raises(TrainingDataError, match="3 images make fewer than two categories of 2"):
            categories({"Dress": (3, ())}, min_per_class=2)
        with pytest.raises(TrainingDataError, match="lower --min-per-class"):
            categories({"Dress": (29, ("Apparel",)), "Shirt": (29, ("Apparel",))})


class TestNames:
    def test_a_parent_that_only_repeats_a_name_is_the_category(self) -> None:
        found = categories(
            {"Watches": (40, ("Accessories", "Watches")), "Belts": (40, ("Accessories",) * 2)}
        )
        assert leaves(found) == {"Belts": "Accessories", "Watches": "Accessories"}
        assert nodes(found) == {"Accessories": None}

    def test_a_parent_named_like_a_category_elsewhere_is_all_of_it(self) -> None:
        found = categories(
            {
                "Sandals": (40, ("Footwear",)),
                "Flip Flops": (40, ("Sandals",)),
                "Mules": (40, ("Sandals",)),
            }
        )
        assert leaves(found) == {
            "Flip Flops": "Sandals (all)",
            "Mules": "Sandals (all)",
            "Sandals": "Footwear",
        }

    def test_parents_of_one_name_at_two_places(self) -> None:
        found = categories({"Shirts": (40, ("Men", "Tops")), "Blouses": (40, ("Women", "Tops"))})
        assert leaves(found) == {"Blouses": "Women / Tops", "Shirts": "Men / Tops"}

    def test_a_label_that_is_called_other(self) -> None:
        found = categories({"other": (40, ()), "Dress": (40, ()), "Hat": (1, ())})
        assert goes_to(found) == {
            "other": "other",
            "Dress": "Dress",
            "Hat": "other (small categories)",
        }

    def test_names_that_cannot_be_told_apart_are_refused(self) -> None:
        taken = ("other", "other (small categories)")
        with pytest.raises(TrainingDataError, match="rename the category"):
            categories({**dict.fromkeys(taken, (40, ())), "Hat": (1, ())})


@given(
    st.dictionaries(
        st.sampled_from(["A", "B", "C", "D", "A (other)", "other"]),
        st.tuples(
            st.integers(1, 20),
            st.lists(st.sampled_from(["A", "B", "X", "Y"]), max_size=3).map(tuple),
        ),
        min_size=1,
    )
)
def test_whatever_is_delivered_the_tree_is_one(rows: Rows) -> None:
    try:
        found = categories(rows, min_per_class=8)
    except TrainingDataError:
        return
    names = [node.name for node in (*found.leaves, *found.parents)]
    assert len(set(names)) == len(names)
    above = {**leaves(found), **nodes(found)}
    assert set(above.values()) - {None} == set(nodes(found))  # none missing, none without a child
    for name in names:
        steps = 0
        while (parent := above[name]) is not None:
            name, steps = parent, steps + 1
            assert steps <= 4
    sizes: Counter[str] = Counter()
    for label, name in goes_to(found).items():
        sizes[name] += rows[label][0]
    assert set(sizes) == set(leaves(found))
    top = {name for name, parent in leaves(found).items() if parent is None}
    assert all(size >= 8 for name, size in sizes.items() if name not in top or name[:5] != "other")
    small = {label for label, (count, _) in rows.items() if count < 8}
    assert {merged.category for merged in found.merged} == small


def photo(
    name: str, label: str, parents: tuple[str, ...] = (), product: str | None = None
) -> LabelledFile:
    """A file whose content its name stands for, up to the first dot."""
    return LabelledFile(
        path=Path(name),
        name=name,
        sha256=name.partition(".")[0],
        product=product or name,
        label=label,
        parents=parents,
    )


class TestContradictions:
    def test_a_product_under_two_labels_is_left_out(self) -> None:
        settled = settle(
            Listing(
                files=(
                    photo("a.1", "Hat", product="p"),
                    photo("b.1", "Cap", product="p"),
                    photo("c.1", "Hat", product="q"),
                    photo("d.1", "Hat", product="q"),
                )
            )
        )
        assert [file.name for file in settled.files] == ["c.1", "d.1"]
        assert [one.where for one in settled.left_out] == ["a.1", "b.1"]
        assert "the same product stands under 'Hat' and 'Cap'" in settled.left_out[0].why

    def test_a_photo_under_two_labels_is_left_out(self) -> None:
        settled = settle(
            Listing(files=(photo("a.1", "Hat"), photo("a.2", "Cap"), photo("b.1", "Hat")))
        )
        assert [file.name for file in settled.files] == ["b.1"]
        assert "the same photo stands under 'Hat' and 'Cap'" in settled.left_out[0].why

    def test_a_few_rows_with_another_parent_are_slips(self) -> None:
        files = [photo(f"{i}.1", "Hat", ("Headwear",)) for i in range(18)]
        slips = [photo("x.1", "Hat", ("Haedwear",)), photo("y.1", "Hat", ("Top", "Headwear"))]
        settled = settle(Listing(files=(*slips, *files, photo("z.1", "Hat"))))
        assert {file.parents for file in settled.files} == {("Headwear",)}
        assert len(settled.files) == 21
        (remark,) = settled.remarks
        assert "'Hat' belongs to 'Headwear' in 18 images and to 'Haedwear' in 1" in remark

    def test_more_of_them_are_an_error(self) -> None:
        files = [photo(f"{i}.1", "Hat", ("Headwear",)) for i in range(17)]
        others = [photo(f"{i}.1", "Hat", ("Sport",)) for i in range(20, 22)]
        with pytest.raises(TrainingDataError, match="a category has one parent"):
            settle(Listing(files=(*files, *others)))

    def test_what_was_left_out_and_remarked_before_stays(self) -> None:
        before = Listing(files=(photo("a.1", "Hat"),), remarks=("so far",), sources={"m": "0"})
        assert settle(before) == before
