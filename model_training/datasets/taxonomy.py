"""From the labels and parents that rows name to categories: one name each, none too small.

**One name, one node.** A model's categories and their parents share one list of names, but a
retailer's columns do not: `Watches` may be an article type and the column above it, too.

* A parent that holds nothing but a category of its own name is that category.
* A parent that repeats the name of its own parent is that one (`Accessories / Accessories`).
* A parent whose name a category elsewhere has is called `Name (all)`.
* Parents of one name at different places are called `Outer / Name`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from model_training.datasets.files import LabelledFile, Listing
from model_training.datasets.labelled import LeftOut, Merged
from tagging.errors import TrainingDataError
from tagging.model_card import Category

OTHER: Final = "other"
"""The category of what is too small to be one and belongs to nothing."""

TYPO_SHARE: Final = 0.1
"""Up to this share of rows that name other parents than the rest are taken for slips."""

NodePath = tuple[str, ...]
"""A node: the names from the outermost parent down to its own."""

_REST: Final = "\0"
"""In place of a name: what a parent holds besides its categories. No label has a NUL in it."""


@dataclass(frozen=True, kw_only=True)
class Categories:
    """What came of the labels.

    Attributes:
        leaves: the categories, sorted by name.
        parents: the inner nodes, outer ones first.
        leaf_of: label as delivered -> index into `leaves`.
        merged: the labels that were too small, sorted.
    """

    leaves: tuple[Category, ...]
    parents: tuple[Category, ...]
    leaf_of: Mapping[str, int]
    merged: tuple[Merged, ...]


def settle(listing: Listing) -> Listing:
    """The listing without what contradicts itself, each label with one line of parents.

    A product, or one and the same photo, under two labels teaches nothing and is left out. Where
    rows of one label name different parents, the most frequent ones hold for all, as long as the
    others are few enough to be slips: a typo in one of 500 rows must not stop a training.

    Raises:
        TrainingDataError: more than a tenth of a label's rows disagree on its parents.
    """
    torn = _several(((f.product, f.label) for f in listing.files), "product")
    torn_photos = _several(((f.sha256, f.label) for f in listing.files), "photo")
    kept: list[LabelledFile] = []
    left_out = list(listing.left_out)
    for file in listing.files:
        why = torn.get(file.product) or torn_photos.get(file.sha256)
        if why is None:
            kept.append(file)
        else:
            left_out.append(LeftOut(where=file.name, why=why))
    parents, remarks = _agree_on_parents(kept)
    return replace(
        listing,
        files=tuple(replace(file, parents=parents[file.label]) for file in kept),
        left_out=tuple(left_out),
        remarks=(*listing.remarks, *remarks),
    )


def _several(pairs: Iterable[tuple[str, str]], what: str) -> dict[str, str]:
    """Key -> why it is left out, for those that stand under more than one label."""
    labels: dict[str, dict[str, None]] = {}
    for key, label in pairs:
        labels.setdefault(key, {})[label] = None
    return {
        key: f"the same {what} stands under {' and '.join(map(repr, under))}; keep one of them"
        for key, under in labels.items()
        if len(under) > 1
    }


def _agree_on_parents(files: Sequence[LabelledFile]) -> tuple[dict[str, NodePath], list[str]]:
    votes: dict[str, Counter[NodePath]] = {}
    for file in files:
        counted = votes.setdefault(file.label, Counter())
        if file.parents:
            counted[file.parents] += 1
    chosen: dict[str, NodePath] = {}
    remarks: list[str] = []
    for label, counted in votes.items():
        ranked = counted.most_common()
        chosen[label] = ranked[0][0] if ranked else ()
        if len(ranked) < 2:
            continue
        (first, most), (second, fewer) = ranked[:2]
        told = (
            f"{label!r} belongs to {' / '.join(first)!r} in {most} images and to "
            f"{' / '.join(second)!r} in {fewer}"
        )
        if counted.total() - most > TYPO_SHARE * counted.total():
            raise TrainingDataError(
                f"{told}: a category has one parent. Mend the rows, or leave the column that "
                "differs out of --parents."
            )
        remarks.append(f"{told}; taken for a slip, the first holds for all")
    return chosen, remarks


def categories_of(
    counts: Mapping[str, int], parents: Mapping[str, NodePath], *, min_per_class: int
) -> Categories:
    """The tree of categories, each with at least `min_per_class` images (`other` with any number).

    The images of a smaller label go to its parent: to a category `Parent (other)` beside the ones
    that are large enough, or to `Parent` itself where none is. If that is still too small, further
    up, and at last to `other`.

    Args:
        counts: label -> how many images.
        parents: label -> its parents, outermost first.
        min_per_class: images.

    Raises:
        TrainingDataError: fewer than two categories come of it.
    """
    own = {label: (*_without_repeats(parents[label]), label) for label in sorted(counts)}
    gathered = _gathered(own, counts, min_per_class)
    paths = set(gathered.values())
    home = {label: _as_one_with_parent(path, paths) for label, path in gathered.items()}
    labels = {path: label for label, path in home.items() if gathered[label] == own[label]}
    names = _leaf_names(set(home.values()), labels)
    if len(names) < 2:
        raise TrainingDataError(
            f"{len(counts)} label(s) with {sum(counts.values())} images make fewer than two "
            f"categories of {min_per_class} images or more. Add images, or lower --min-per-class."
        )
    nodes = _node_names({p[:n] for p in names for n in range(1, len(p))}, set(names.values()))
    leaves = sorted(names, key=lambda path: names[path])
    index = {path: i for i, path in enumerate(leaves)}
    return Categories(
        leaves=tuple(Category(name=names[p], parent=nodes.get(p[:-1])) for p in leaves),
        parents=tuple(
            Category(name=nodes[p], parent=nodes.get(p[:-1]))
            for p in sorted(nodes, key=lambda p: (len(p), nodes[p]))
        ),
        leaf_of={label: index[home[label]] for label in own},
        merged=tuple(
            Merged(category=label, images=counts[label], into=names[home[label]])
            for label in own
            if gathered[label] != own[label]
        ),
    )


def _without_repeats(parents: NodePath) -> NodePath:
    """Without those that repeat the name of their own parent."""
    return tuple(n for i, n in enumerate(parents) if i == 0 or n != parents[i - 1])


def _gathered(
    own: Mapping[str, NodePath], counts: Mapping[str, int], fewest: int
) -> dict[str, NodePath]:
    """Label -> the leaf that its images go to: its own path, or (*parent, _REST).

    From the innermost level outwards, so that what a parent gathers may be too small as well.
    """
    home = dict(own)
    for depth in range(max((len(path) for path in own.values()), default=0), 0, -1):
        for is_rest in (False, True):
            sizes: Counter[NodePath] = Counter()
            for label, path in home.items():
                sizes[path] += counts[label]
            for label, path in home.items():
                if len(path) == depth and (path[-1] == _REST) is is_rest and sizes[path] < fewest:
                    home[label] = (*path[: -2 if is_rest else -1], _REST)
    return home


def _as_one_with_parent(path: NodePath, leaves: AbstractSet[NodePath]) -> NodePath:
    """The path of the parent where this leaf is all that it holds, and is named after it."""
    above = path[:-1]
    alone = bool(above) and not any(p != path and p[: len(above)] == above for p in leaves)
    return above if alone and path[-1] in (_REST, above[-1]) else path


def _leaf_names(
    leaves: AbstractSet[NodePath], labels: Mapping[NodePath, str]
) -> dict[NodePath, str]:
    """Labels keep their names; what was gathered gets one that no label has."""
    names = dict(labels)
    for path in sorted(leaves - labels.keys()):
        if path == (_REST,):
            choices = [OTHER, f"{OTHER} (small categories)"]
        elif path[-1] == _REST:
            choices = [f"{path[-2]} (other)", f"{' / '.join(path[:-1])} (other)"]
        else:
            choices = [path[-1], " / ".join(path), f"{' / '.join(path)} (other)"]
        names[path] = _first_free(choices, set(names.values()))
    return names


def _node_names(nodes: AbstractSet[NodePath], taken: AbstractSet[str]) -> dict[NodePath, str]:
    uses = Counter(path[-1] for path in nodes)
    names: dict[NodePath, str] = {}
    for path in sorted(nodes, key=lambda p: (len(p), p)):
        whole = " / ".join(path)
        choices = [path[-1], f"{path[-1]} (all)", whole, f"{whole} (all)"]
        names[path] = _first_free(
            choices if uses[path[-1]] == 1 else choices[2:], {*taken, *names.values()}
        )
    return names


def _first_free(choices: Sequence[str], taken: AbstractSet[str]) -> str:
    for name in choices:
        if name not in taken:
            return name
    raise TrainingDataError(
        f"the names {', '.join(map(repr, choices))} all stand for something else in this taxonomy; "
        "rename the category or the parent that they come from."
    )
