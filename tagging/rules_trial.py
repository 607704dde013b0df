"""What rules would have done: the newest products decided again, and nothing written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tagging.database import models, reviews, trial
from tagging.database import rules as versions
from tagging.database.batches import LeasedProduct
from tagging.database.models import KnownModel
from tagging.database.products import Classified
from tagging.database.session import Database
from tagging.database.trial import Answers, TriedProduct
from tagging.domain import Autopilot, Decision, Rules, Status, Taxonomy
from tagging.rules import RetailerRules, check_names, snapshot
from tagging.tag import judge

MOST_PRODUCTS: Final = 10_000
PAGE: Final = 500


@dataclass(kw_only=True)
class Outcome:
    """What rules make of some products.

    `accepted`, `waiting`: how many. `by_reason`: why those wait. `accepted_by_category`: of what
    is accepted. `judged`: how many of the accepted ones a person has decided on, and `wrong`: for
    how many of these the person says otherwise. People saw the hard ones, so it is no rate.
    """

    accepted: int = 0
    waiting: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    accepted_by_category: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    wrong: int = 0


@dataclass(kw_only=True)
class Changes:
    """How many products would fare otherwise than by the rules in force.

    `to_people`: accepted now, would wait. `to_model`: wait now, would be accepted. `recategorised`:
    accepted either way, in another category.
    """

    to_people: int = 0
    to_model: int = 0
    recategorised: int = 0

    @property
    def total(self) -> int:
        return self.to_people + self.to_model + self.recategorised


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The same products by the rules in force and by those that are tried.

    `products`: how many were decided again. `unknown`: how many could not be, for want of an answer
    of the model in charge. `changes`: how many would fare otherwise.
    """

    products: int
    unknown: int
    now: Outcome
    tried: Outcome
    changes: Changes


def try_rules(
    database: Database,
    retailer_id: int,
    rules: RetailerRules,
    *,
    preprocessing_version: str,
    most: int = MOST_PRODUCTS,
) -> Trial:
    """Decide again on the newest products of a retailer, as if they came now.

    An autopilot that is off counts as provisional, for its being off is no rule.

    Raises:
        RulesError: the rules name a category that the retailer does not have.
        BundleError: the model in charge has no thresholds for a precision that they ask.
    """
    with database.read() as session:
        model = models.in_charge(session, retailer_id)
        state = models.autopilot(session, retailer_id, model.id)
        taxonomy = reviews.taxonomy(session, retailer_id)
        in_force = versions.in_force(session, retailer_id)
        newest = trial.newest_products(session, retailer_id, most=most)
    check_names(rules, taxonomy)
    if state is Autopilot.OFF:
        state = Autopilot.PROVISIONAL
    # Other rules would make it provisional.
    then = state if rules.accepts_like(in_force) else Autopilot.PROVISIONAL
    both = [
        (snapshot(in_force, model.card, state), now := Outcome()),
        (snapshot(rules, model.card, then), tried := Outcome()),
    ]
    known, changes = 0, Changes()
    for start in range(0, len(newest), PAGE):
        page = newest[start : start + PAGE]
        with database.read() as session:
            answers = trial.answers(
                session, page, model_id=model.id, preprocessing_version=preprocessing_version
            )
        for product in page:
            if not any(sha256 in answers.logits for sha256 in answers.images[product.image_set]):
                continue
            known += 1
            decisions = [_decide(product, answers, model, deciding) for deciding, _ in both]
            for decision, (_, outcome) in zip(decisions, both, strict=True):
                _add(outcome, product, decision, taxonomy)
            _compare(changes, *decisions)
    return Trial(products=known, unknown=len(newest) - known, now=now, tried=tried, changes=changes)


def _decide(
    product: TriedProduct, answers: Answers, model: KnownModel, deciding: Rules
) -> Decision:
    leased = LeasedProduct(
        product_id=product.id,
        sku=product.sku,
        image_set=product.image_set,
        images=tuple(answers.images[product.image_set]),
    )
    found = judge(leased, answers.logits, answers.scores, {}, model.card, deciding)
    if not isinstance(found, Classified):
        raise TypeError(f"a product whose images have answers was judged as {found!r}")
    return found.decision


def _compare(changes: Changes, now: Decision, tried: Decision) -> None:
    if now.category is not None and tried.category is None:
        changes.to_people += 1
    elif now.category is None and tried.category is not None:
        changes.to_model += 1
    elif now.category != tried.category:
        changes.recategorised += 1


def _add(outcome: Outcome, product: TriedProduct, decision: Decision, taxonomy: Taxonomy) -> None:
    if decision.status is not Status.TAGGED or decision.category is None:
        outcome.waiting += 1
        outcome.by_reason[str(decision.review_reason)] += 1
        return
    outcome.accepted += 1
    outcome.accepted_by_category[decision.category] += 1
    if product.status is Status.REVIEWED:
        outcome.judged += 1
        outcome.wrong += not taxonomy.covers(decision.category, product.category)
