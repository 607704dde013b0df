"""Rule files: what they may say, what is refused and why, and what they make of a model."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagging.domain import (
    Autopilot,
    CategoryConfidence,
    Prediction,
    ReviewReason,
    Rules,
    Status,
    Thresholds,
    decide,
)
from tagging.errors import BundleError, RulesError
from tagging.model_card import AcceptanceSpec, Category, ModelCard, ParentAcceptance
from tagging.rules import (
    CategoryRule,
    Flagged,
    RetailerRules,
    check_names,
    lines_of,
    parse_rules,
    snapshot,
    told_apart,
    told_singly,
    written,
)
from tests.stand_in import stand_in_card

FULL = """
# The buyer wants to see every bag.
target_precision: 0.98
accept_parent: true
require_certificate: yes
out_of_distribution: decide
images_disagree: decide
always_review: [Bag]
categories:
  Shirt: {target_precision: 0.99}
  Coat: {threshold: 0.97}
audit_share: 0.1
second_opinion_share: 0.05
known_answer_share: 0.02
priority: margin
"""


def point(target: float, **thresholds: float) -> AcceptanceSpec:
    return AcceptanceSpec(
        target_precision=target,
        fallback=target - 0.1,
        by_category=thresholds,
        holdout_n=100,
        holdout_accepted=90,
        holdout_errors=0,
        error_upper=0.01,
        parents=ParentAcceptance(by_parent={"Shades": target}),
    )


def card() -> ModelCard:
    """Dark and Middle are Shades, Light stands alone; points at 0.95 and 0.99."""
    return stand_in_card().model_copy(
        update={
            "categories": [
                Category(name="Dark", parent="Shades"),
                Category(name="Middle", parent="Shades"),
                Category(name="Light"),
            ],
            "acceptance": point(0.99, Dark=0.8),
            "operating_points": {"0.95": point(0.95, Dark=0.6), "0.99": point(0.99, Dark=0.8)},
        }
    )


def prediction(
    category: str,
    confidence: float,
    *,
    strange: bool = False,
    disagreeing: tuple[str, ...] = (),
    parent: float = 0.0,
) -> Prediction:
    return Prediction(
        top_k=(CategoryConfidence(category=category, confidence=confidence),),
        ood_score=0.0,
        out_of_distribution=strange,
        disagreeing=disagreeing,
        ancestors=(CategoryConfidence(category="Shades", confidence=parent),) if parent else (),
    )


class TestReading:
    def test_a_whole_file(self) -> None:
        rules = parse_rules(FULL)
        assert rules == RetailerRules(
            target_precision=0.98,
            accept_parent=True,
            require_certificate=True,
            out_of_distribution=Flagged.DECIDE,
            images_disagree=Flagged.DECIDE,
            always_review=["Bag"],
            categories={
                "Shirt": CategoryRule(target_precision=0.99),
                "Coat": CategoryRule(threshold=0.97),
            },
            audit_share=0.1,
            second_opinion_share=0.05,
            known_answer_share=0.02,
            priority="margin",
        )
        assert parse_rules(json.dumps(rules.model_dump(mode="json"), indent=1)) == rules

    @pytest.mark.parametrize("text", ["", "{}", "# nothing\n", "---\n"])
    def test_an_empty_one_is_as_usual(self, text: str) -> None:
        assert parse_rules(text) == RetailerRules()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("target_precision: 99", r"target_precision: .*less than 1 \(got 99\)"),
            ("target_precision: high", "target_precision: .*number"),
            ("accept_parent: 1", "accept_parent: .*boolean"),
            ("always_reveiw: [Bag]", "always_reveiw: no such rule; there are target_precision"),
            ("always_review: Bag", "always_review: .*list"),
            ("categories: {Bag: {treshold: 1}}", "categories.Bag.treshold: no such rule"),
            ("categories: {Bag: {}}", "categories.Bag: .*either target_precision or threshold"),
            (
                "categories: {Bag: {threshold: 0.9, target_precision: 0.9}}",
                "either target_precision or threshold",
            ),
            ("categories: {Bag: {threshold: 1.5}}", "less than or equal to 1"),
            ("out_of_distribution: ignore", "out_of_distribution: .*'review' or 'decide'"),
            ("audit_share: -0.1", "audit_share"),
            ("second_opinion_share: 1.1", "second_opinion_share: .*less than or equal to 1"),
            ("known_answer_share: some", "known_answer_share: .*number"),
            ("priority: ''", "priority: .*at least 1 character"),
            ("priority: 3", "priority: .*string"),
            ("target_precision: .nan", "target_precision"),
            ("- Bag", "rules are names with values"),
            ("Bag", "rules are names with values"),
            ("a: [", "neither YAML nor JSON"),
            ("categories:\n  Bag: {threshold: 1}\n  Bag: {threshold: 0.5}", "'Bag' stands there"),
            ("a: !!python/object/apply:os.system [ls]", "neither YAML nor JSON"),
            ("? {a: 1}\n: 2", "neither YAML nor JSON"),
            ("x" * 200_001, "at most 200,000 characters"),
            ("[" * 5000, "neither YAML nor JSON"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_with_its_place(self, text: str, told: str) -> None:
        with pytest.raises(RulesError, match=told):
            parse_rules(text)

    @given(st.text(max_size=60))
    def test_whatever_is_given_rules_come_or_an_error_for_people(self, text: str) -> None:
        with contextlib.suppress(RulesError):
            assert isinstance(parse_rules(text), RetailerRules)

    def test_categories_that_there_are_not_are_named(self) -> None:
        rules = parse_rules("always_review: [Dark, Blue]\ncategories: {Shades: {threshold: 1}}")
        with pytest.raises(RulesError, match=r"^Blue: no such category; this retailer has Dark"):
            check_names(rules, card().taxonomy)
        check_names(parse_rules("always_review: [Shades, Light]"), card().taxonomy)

    def test_what_is_written_reads_the_same(self) -> None:
        rules = parse_rules(FULL)
        assert parse_rules(written(rules)) == rules
        assert written(RetailerRules()) == ""

    def test_what_changed_is_told(self) -> None:
        before, after = RetailerRules(), RetailerRules(accept_parent=True, audit_share=0.5)
        assert told_apart(before, after) == (
            "accept_parent was false, is true; audit_share was not set, is 0.5"
        )
        assert told_apart(after, after) == ""

    def test_what_changed_is_told_rule_by_rule(self) -> None:
        # What parts the rules may stand in a name.
        after = RetailerRules(always_review=["Bags; belts"], audit_share=0.5, priority="margin")
        assert told_singly(told_apart(RetailerRules(), after)) == [
            'always_review was [], is ["Bags; belts"]',
            "audit_share was not set, is 0.5",
            'priority was not set, is "margin"',
        ]
        assert told_singly("") == []

    def test_what_is_accepted_does_not_depend_on_the_audit(self) -> None:
        usual = RetailerRules()
        assert RetailerRules(audit_share=0.5).accepts_like(usual)
        people = RetailerRules(second_opinion_share=0.1, known_answer_share=0.1, priority="margin")
        assert people.accepts_like(usual)
        assert not RetailerRules(always_review=["Dark"]).accepts_like(usual)


class TestThresholds:
    def thresholds(self, text: str) -> Thresholds:
        return snapshot(parse_rules(text), card(), Autopilot.PROVISIONAL).thresholds

    def test_the_target_picks_the_point(self) -> None:
        assert self.thresholds("").of("Dark") == 0.8
        found = self.thresholds("target_precision: 0.95")
        assert (found.of("Dark"), found.of("Light"), found.by_parent["Shades"]) == (0.6, 0.85, 0.95)

    def test_a_category_may_have_its_own(self) -> None:
        found = self.thresholds(
            "categories: {Dark: {target_precision: 0.95}, Light: {threshold: 0.5}}"
        )
        assert [found.of(name) for name in ("Dark", "Light", "Middle")] == [0.6, 0.5, 0.89]

    def test_and_a_parent(self) -> None:
        found = self.thresholds("categories: {Shades: {target_precision: 0.95}}")
        assert found.by_parent["Shades"] == 0.95
        assert self.thresholds("categories: {Shades: {threshold: 0.4}}").by_parent["Shades"] == 0.4

    def test_a_parent_without_a_threshold_at_that_precision_is_never_accepted(self) -> None:
        plain = card()
        points = dict(plain.operating_points)
        points["0.95"] = points["0.95"].model_copy(update={"parents": ParentAcceptance()})
        odd = plain.model_copy(update={"operating_points": points})
        rules = parse_rules("categories: {Shades: {target_precision: 0.95}}")
        found = snapshot(rules, odd, Autopilot.PROVISIONAL)
        assert "Shades" not in found.thresholds.by_parent

    def test_a_precision_that_no_threshold_keeps_is_refused(self) -> None:
        with pytest.raises(BundleError, match="strictest are for 99"):
            self.thresholds("categories: {Dark: {target_precision: 0.995}}")

    def test_a_category_that_the_model_does_not_know_changes_nothing(self) -> None:
        assert self.thresholds("categories: {Hat: {target_precision: 0.95}}") == self.thresholds("")


class TestDeciding:
    def rules(self, text: str, autopilot: Autopilot = Autopilot.PROVISIONAL) -> Rules:
        return snapshot(parse_rules(text), card(), autopilot)

    def test_what_is_always_reviewed_is_never_accepted(self) -> None:
        sure = prediction("Dark", 0.99)
        for text in ("always_review: [Dark]", "always_review: [Shades]"):
            found = decide(sure, self.rules(text))
            assert (found.status, found.review_reason) == (Status.NEEDS_REVIEW, ReviewReason.RULE)
            assert (found.suggested.category, found.category) == ("Dark", None)
            assert not found.withheld
        assert decide(prediction("Light", 0.99), self.rules("always_review: [Shades]")).category
        # That it is unsure says more.
        unsure = decide(prediction("Dark", 0.1), self.rules("always_review: [Dark]"))
        assert unsure.review_reason is ReviewReason.LOW_CONFIDENCE

    def test_nor_as_its_parent(self) -> None:
        text = "accept_parent: true\nalways_review: [Dark]"
        for category, status in (("Dark", Status.NEEDS_REVIEW), ("Middle", Status.TAGGED)):
            found = decide(prediction(category, 0.5, parent=0.995), self.rules(text))
            assert (found.status, found.suggested.category) == (status, "Shades")

    @pytest.mark.parametrize(
        ("autopilot", "status", "reason", "withheld"),
        [
            (Autopilot.PROVISIONAL, Status.NEEDS_REVIEW, ReviewReason.RULE, True),
            (Autopilot.CERTIFIED, Status.TAGGED, None, False),
            (Autopilot.OFF, Status.NEEDS_REVIEW, ReviewReason.AUTOPILOT_OFF, False),
        ],
    )
    def test_a_certificate_may_be_required(
        self, autopilot: Autopilot, status: Status, reason: ReviewReason | None, withheld: bool
    ) -> None:
        rules = self.rules("require_certificate: true", autopilot)
        found = decide(prediction("Dark", 0.99), rules)
        assert (found.status, found.review_reason, found.withheld) == (status, reason, withheld)
        unsure = decide(prediction("Dark", 0.1), rules)
        assert not unsure.withheld

    def test_what_speaks_against_it_may_be_left_to_its_confidence(self) -> None:
        strange = prediction("Dark", 0.99, strange=True)
        torn = prediction("Dark", 0.99, disagreeing=("Dark", "Light"))
        assert decide(strange, self.rules("")).review_reason is ReviewReason.OUT_OF_DISTRIBUTION
        assert decide(torn, self.rules("")).review_reason is ReviewReason.IMAGES_DISAGREE
        lax = self.rules("out_of_distribution: decide\nimages_disagree: decide")
        for one in (strange, torn):
            assert decide(one, lax).status is Status.TAGGED
        assert decide(prediction("Dark", 0.1, strange=True), lax).review_reason is (
            ReviewReason.LOW_CONFIDENCE
        )


def test_a_few_lines_name_no_more_than_they_say() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(RulesError, match=r"aliases \(\*name\) are not read"):
        parse_rules("\n".join([*lines, "always_review: *a29"]))


@pytest.mark.parametrize(
    "text",
    ["audit_share: .nan", "target_precision: .nan", "categories: {Dark: {threshold: .inf}}"],
)
def test_a_share_is_a_number(text: str) -> None:
    with pytest.raises(RulesError):
        parse_rules(text)


FILE = """# what Maison asks
target_precision: 0.98
categories:
  Shirt:
    threshold: 2
  Coat: {threshold: 0.9, treshold: 1}
always_review: [Bag, 7]
"""


def test_each_problem_has_its_place_and_line() -> None:
    with pytest.raises(RulesError) as refused:
        parse_rules(FILE)
    found = {one.place: one.line for one in refused.value.problems}
    assert found == {
        ("always_review", 1): 7,
        ("categories", "Shirt", "threshold"): 5,
        ("categories", "Coat", "treshold"): 6,
    }
    with pytest.raises(RulesError) as refused:
        parse_rules("accept_parent: true\naudit_share: [0.5")
    assert [one.line for one in refused.value.problems] == [2]
    with pytest.raises(RulesError) as refused:
        parse_rules("- Shirt")
    assert [(one.place, one.line) for one in refused.value.problems] == [((), None)]


def test_a_place_that_is_not_there_is_the_nearest_one_around_it() -> None:
    places = [("categories", "Coat", "threshold"), ("categories", "Skirt"), ("always_review", 9)]
    assert lines_of(FILE, [*places, ()]) == [6, 3, 7, 1]
    assert lines_of("", [("categories",)]) == [1]


def test_of_very_many_problems_the_first_are_told() -> None:
    with pytest.raises(RulesError, match="and 49,980 more") as refused:
        parse_rules(f"always_review: [{', '.join(['1'] * 50_000)}]")
    assert len(refused.value.problems) == 20
