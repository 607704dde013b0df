"""What the report computed must be what the card states; otherwise one of the two is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from model_training.report.findings import Findings
from tagging.errors import BundleError
from tagging.model_card import AcceptanceSpec

ROUNDED: Final = 1e-3
"""Another processor rounds the last bit of a logit otherwise: one image in a thousand may fall on
the other side of a threshold, and at least one."""

THRESHOLD_ROUNDED: Final = 5e-3
"""A threshold is the confidence of an image; with another rounding it may be its neighbour's."""


EQUAL: Final = 1e-5


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One number: as the card states it, as it was found now, and how far these may differ."""

    what: str
    stated: float
    found: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.stated - self.found) <= self.tolerance

    @property
    def equal(self) -> bool:
        """To the five places to which a card rounds its figures."""
        return abs(self.stated - self.found) <= EQUAL


def ensure_agreement(findings: Findings) -> list[Compared]:
    """Every comparison, all of which agree.

    Raises:
        BundleError: a number differs by more than rounding can explain; the text names the first
            five of those.
    """
    compared = list(_comparisons(findings))
    wrong = [one for one in compared if not one.agrees]
    if wrong:
        listed = "; ".join(f"{c.what}: card {c.stated:g}, found {c.found:g}" for c in wrong[:5])
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BundleError(
            f"the report and the card disagree: {listed}{more}. The card of "
            f"{findings.card.title} was edited, or thresholds are set otherwise since it was "
            "written. Copy the bundle again from where it was made, or train it again."
        )
    return compared


def agreement_json(compared: list[Compared]) -> dict[str, Any]:
    """How many numbers were compared, how many are equal to five places, and each of them."""
    return {
        "compared": len(compared),
        "equal": sum(c.equal for c in compared),
        "numbers": [asdict(c) for c in compared],
    }


def _comparisons(findings: Findings) -> Iterator[Compared]:
    card = findings.card
    for name, part in (("select", findings.select), ("holdout", findings.holdout)):
        yield from _figures(name, card.metrics.get(name, {}), part.figures)
    n = findings.holdout.figures["images"]
    yield _count("acceptance: hold-out images", card.acceptance.holdout_n, n, n)
    for text, point in findings.operating_points.items():
        if point.stored:
            yield from _spec(f"target {text}", point.spec, findings.recomputed[text])
    for group, row in card.metrics.get("strange", {}).items():
        if group in findings.foreign:
            margins = findings.foreign[group]
            flagged = int((margins >= 0).sum())
            yield _count(f"{group}: flagged", row["flagged"], flagged, len(margins))


def _figures(part: str, stated: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Compared]:
    n = found["images"]
    for key in ("images", "accepted", "errors", "flagged"):
        if key in stated:
            yield _count(f"{part} {key}", stated[key], found[key], n)
    for key in ("accuracy", "ece", "ece_uncalibrated", "nll"):
        if key in stated:
            tolerance = max(ROUNDED, 1 / n)
            yield Compared(
                what=f"{part} {key}", stated=stated[key], found=found[key], tolerance=tolerance
            )


def _spec(name: str, stated: AcceptanceSpec, found: AcceptanceSpec) -> Iterator[Compared]:
    n = stated.holdout_n
    yield _count(f"{name}: accepted", stated.holdout_accepted, found.holdout_accepted, n)
    yield _count(f"{name}: errors", stated.holdout_errors, found.holdout_errors, n)
    above, again = stated.parents, found.parents
    yield _count(f"{name}: by a parent", above.holdout_accepted, again.holdout_accepted, n)
    for category, cut in found.by_category.items():
        yield Compared(
            what=f"{name}: threshold of {category}",
            stated=stated.thresholds().of(category),
            found=cut,
            tolerance=THRESHOLD_ROUNDED,
        )


def _count(what: str, stated: int, found: int, images: int) -> Compared:
    tolerance = 0 if what.endswith("images") else max(1.0, ROUNDED * images)
    return Compared(what=what, stated=stated, found=found, tolerance=tolerance)
