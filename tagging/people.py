"""What is known of the people who decide: how far they agree, and how they answer what is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagging.agreement import LEAST, against_the_rest, cohen, fleiss, wilson
from tagging.database import opinions, reviews
from tagging.database.opinions import Compared
from tagging.database.session import Database
from tagging.domain import Taxonomy, Verdict


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far people agree on some products.

    `n`: pairs of answers, of a person; products on which somebody named it, of a category; else
    products. `agreed`: on how many of these all said the same. `kappa`: None where `n` is under
    `LEAST`, or where all said one category of everything, so that chance explains all of it.
    """

    n: int
    agreed: int
    kappa: float | None

    @property
    def raw(self) -> float | None:
        """Share (0 to 1) on which all said the same, whatever chance would bring."""
        return self.agreed / self.n if self.n else None

    @property
    def enough(self) -> bool:
        """Whether there are enough to state a kappa."""
        return self.n >= LEAST


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a person answered what is known.

    `lower`, `upper`: of the share (0 to 1) that they get right, with 95 %. Who was unsure was not
    right; who named a narrower category than the known one was.
    """

    n: int
    right: int
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class PeopleReport:
    """What is known of the people who decide for one retailer.

    `overall`, `by_category`: Fleiss' kappa, of a category against all others; None names what is
    not a product. `by_person`: Cohen's kappa, of one person against all others who were asked about
    the same products. `known`: by person.
    """

    overall: Agreement
    by_person: dict[str, Agreement]
    by_category: dict[str | None, Agreement]
    known: dict[str, Score]


def report_on_people(database: Database, retailer_id: int) -> PeopleReport:
    """Read what people said of the same products, and of what is known. Writes nothing."""
    with database.read() as session:
        compared = opinions.second_opinions(session, retailer_id)
        replies = opinions.known_replies(session, retailer_id)
        taxonomy = reviews.taxonomy(session, retailer_id)
    said = _said(compared)
    names, counts = _counted(said)
    return PeopleReport(
        overall=Agreement(
            n=len(said),
            agreed=_alike(counts),
            kappa=fleiss(counts) if len(said) >= LEAST else None,
        ),
        by_person=_by_person(said),
        by_category={name: _of_category(counts, at) for at, name in enumerate(names)},
        known=_scores(replies, taxonomy),
    )


def _said(compared: Sequence[Compared]) -> list[dict[str, str | None]]:
    """Per decision, who said what of its product; two people or more."""
    found: dict[int, dict[str, str | None]] = {}
    for one in compared:
        said = found.setdefault(one.review_id, {one.first_reviewer: one.first})
        said[one.second_reviewer] = one.second
    return list(found.values())


def _counted(
    said: Sequence[dict[str, str | None]],
) -> tuple[list[str | None], npt.NDArray[np.int64]]:
    """The categories by name, no product last, and (products, categories): how many said what."""
    names = sorted({name for one in said for name in one.values()}, key=_by_name)
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(said), len(names)), np.int64)
    for row, one in enumerate(said):
        for name in one.values():
            counts[row, place[name]] += 1
    return names, counts


def _by_name(name: str | None) -> tuple[bool, str]:
    return name is None, name or ""


def _alike(counts: npt.NDArray[np.int64]) -> int:
    """On how many products all said the same."""
    return int(np.count_nonzero((counts > 0).sum(axis=1) == 1))


def _of_category(counts: npt.NDArray[np.int64], category: int) -> Agreement:
    binary = against_the_rest(counts, category)
    named = binary[binary[:, 0] > 0]
    return Agreement(
        n=len(named),
        agreed=int(np.count_nonzero(named[:, 1] == 0)),
        kappa=fleiss(binary) if len(named) >= LEAST else None,
    )


def _by_person(said: Sequence[dict[str, str | None]]) -> dict[str, Agreement]:
    pairs: defaultdict[str, list[tuple[str | None, str | None]]] = defaultdict(list)
    for one in said:
        for who, mine in one.items():
            pairs[who] += [(mine, theirs) for other, theirs in one.items() if other != who]
    return {
        who: Agreement(
            n=len(mine),
            agreed=sum(left == right for left, right in mine),
            kappa=cohen(mine) if len(mine) >= LEAST else None,
        )
        for who, mine in sorted(pairs.items())
    }


def _scores(
    replies: Sequence[tuple[str, Verdict, str | None, str | None]], taxonomy: Taxonomy
) -> dict[str, Score]:
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for who, verdict, said, known in replies:
        right[who].append(verdict is not Verdict.UNSURE and _is_right(said, known, taxonomy))
    found: dict[str, Score] = {}
    for who, answers in sorted(right.items()):
        lower, upper = wilson(sum(answers), len(answers))
        found[who] = Score(n=len(answers), right=sum(answers), lower=lower, upper=upper)
    return found


def _is_right(said: str | None, known: str | None, taxonomy: Taxonomy) -> bool:
    return said is None if known is None else taxonomy.covers(known, said)
