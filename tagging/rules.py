"""A retailer's rules: what may be accepted without a person, and what always goes to one.

A rule file is YAML or JSON:

    target_precision: 0.99      # of what is accepted, so much must be right
    accept_parent: false        # tag with the parent where only that is sure enough
    require_certificate: false  # true: accept nothing until the audit certified the autopilot
    out_of_distribution: review # or decide: by confidence alone
    images_disagree: review     # or decide
    always_review: [Bag]        # categories, or parents with all that is under them
    categories:
      Shirt: {target_precision: 0.995}
      Coat: {threshold: 0.97}   # from this confidence on
    audit_share: 0.05           # of what is accepted, so much is checked by people
    second_opinion_share: 0     # of what people decide, so much is asked of another person, too
    known_answer_share: 0       # so many cards more have answers that are known, to score people
    priority: margin            # a delivered column of numbers: what may be decided first

Whatever is left out is as above, but for the target precision, which is then the model's own, and
the audit's share, which is then the one of the installation, and the priority, which is then none.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tagging.domain import Autopilot, Rules, Taxonomy, Thresholds
from tagging.errors import Problem, RulesError
from tagging.model_card import ModelCard

MOST_CHARS = 200_000
MOST_PROBLEMS = 20
"""That are told of one file."""


class Flagged(enum.StrEnum):
    """What becomes of a product that something speaks against."""

    REVIEW = "review"
    """It goes to a person."""
    DECIDE = "decide"
    """Its confidence decides, as if nothing spoke against it."""


class CategoryRule(BaseModel):
    """From where on one category is accepted: by a target precision, or from a confidence on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    target_precision: float | None = Field(default=None, gt=0, lt=1)
    threshold: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> CategoryRule:
        if (self.target_precision is None) is (self.threshold is None):
            raise ValueError("give either target_precision or threshold")
        return self


class RetailerRules(BaseModel):
    """See the module's text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    target_precision: float | None = Field(default=None, gt=0, lt=1)
    accept_parent: bool = False
    require_certificate: bool = False
    out_of_distribution: Flagged = Field(default=Flagged.REVIEW, strict=False)
    images_disagree: Flagged = Field(default=Flagged.REVIEW, strict=False)
    always_review: list[str] = []
    categories: dict[str, CategoryRule] = {}
    audit_share: float | None = Field(default=None, ge=0, le=1)
    second_opinion_share: float = Field(default=0.0, ge=0, le=1)
    known_answer_share: float = Field(default=0.0, ge=0, le=1)
    priority: str | None = Field(default=None, min_length=1, max_length=200)

    @property
    def accepts_as_measured(self) -> bool:
        """Whether these rules accept what the bundle's hold-out was asked about.

        Otherwise its stated rate is not theirs, and only the audit can state one.
        """
        return (
            self.out_of_distribution,
            self.images_disagree,
            self.always_review,
            self.categories,
        ) == (
            Flagged.REVIEW,
            Flagged.REVIEW,
            [],
            {},
        )

    def accepts_like(self, other: RetailerRules) -> bool:
        """Whether verdicts on what `other` accepts are evidence on what these rules accept."""
        aside = {"audit_share", "second_opinion_share", "known_answer_share", "priority"}
        return self.model_dump(exclude=aside) == other.model_dump(exclude=aside)


_NEXT_RULE = re.compile(rf"; (?=(?:{'|'.join(RetailerRules.model_fields)}) was )")
"""Between two rules that `told_apart` tells of: "; " alone may stand in a name."""


class _Loader(yaml.SafeLoader):
    """YAML without the trap that of two equal keys the first is silently forgotten, and without
    aliases, by which a few lines name more than memory holds.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_mark()
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not read; write it out", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: list[Any] = [self.construct_object(key, deep=True) for key, _ in node.value]
        seen: set[str] = set()
        for key, value in zip(keys, node.value, strict=True):
            # By their texts, for YAML has keys that no set takes.
            if repr(key) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} stands there twice", value[0].start_mark
                )
            seen.add(repr(key))
        return super().construct_mapping(node, deep)


def parse_rules(text: str) -> RetailerRules:
    """Read a rule file.

    Raises:
        RulesError: it is neither YAML nor JSON, or asks for something that there is not; the
            message names the place and what may stand there.
    """
    if len(text) > MOST_CHARS:
        raise RulesError(f"a rule file has at most {MOST_CHARS:,} characters, got {len(text):,}")
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        said = f"this is neither YAML nor JSON: {error}"
        line = None if mark is None else mark.line + 1
        raise RulesError(said, [Problem(said=said, line=line)]) from error
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise RulesError(
            f"rules are names with values, such as `target_precision: 0.99`; got {loaded!r:.100}"
        )
    try:
        return RetailerRules.model_validate(loaded)
    except ValidationError as error:
        raise _refusal(text, _problems(error)) from error


def lines_of(text: str, places: Sequence[Sequence[str | int]]) -> list[int]:
    """The lines (from 1) of a rule file on which places stand, or the nearest ones around them.

    Args:
        text: a file that `yaml` reads.
        places: names and indices from the top down, `("categories", "Shirt", "threshold")`.
    """
    root = yaml.compose(text, Loader=_Loader)
    return [_line_of(root, place) for place in places]


def _line_of(node: yaml.Node | None, place: Sequence[str | int]) -> int:
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
        elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
            found = [(node.value[int(part)], node.value[int(part)])]
        else:
            found = []
        if not found:
            break
        at, node = found[0]
        line = at.start_mark.line + 1
    return line


def check_names(rules: RetailerRules, taxonomy: Taxonomy) -> None:
    """Raise RulesError where the rules name a category that the retailer does not have."""
    known = {*taxonomy.leaves, *taxonomy.parents.values()}
    unknown = {*rules.always_review, *rules.categories} - known
    if unknown:
        said = f"no such category; this retailer has {_listed(sorted(known)[:30])}"
        places: list[tuple[str | int, ...]] = [
            *(
                ("always_review", at)
                for at, name in enumerate(rules.always_review)
                if name in unknown
            ),
            *(("categories", name) for name in rules.categories if name in unknown),
        ]
        raise RulesError(
            f"{_listed(sorted(unknown))}: {said}",
            [Problem(place=place, said=said) for place in places[:MOST_PROBLEMS]],
        )


def snapshot(rules: RetailerRules, card: ModelCard, autopilot: Autopilot) -> Rules:
    """What decides under these rules with this model, in this state of the autopilot.

    Raises:
        BundleError: the model has no thresholds for one of the precisions that are asked for.
    """
    general = card.at(rules.target_precision).thresholds()
    by_category, by_parent = dict(general.by_category), dict(general.by_parent)
    leaves = set(card.category_names)
    for name, rule in rules.categories.items():
        at = (
            general
            if rule.target_precision is None
            else card.at(rule.target_precision).thresholds()
        )
        if name in leaves:
            by_category[name] = at.of(name) if rule.threshold is None else rule.threshold
        elif rule.threshold is not None:
            by_parent[name] = rule.threshold
        elif name in at.by_parent:
            by_parent[name] = at.by_parent[name]
        else:
            by_parent.pop(name, None)
    return Rules(
        autopilot=autopilot,
        thresholds=Thresholds(
            fallback=general.fallback, by_category=by_category, by_parent=by_parent
        ),
        accept_parent=rules.accept_parent,
        require_certificate=rules.require_certificate,
        always_review=_with_all_under(rules.always_review, card.taxonomy),
        flag_strange=rules.out_of_distribution is Flagged.REVIEW,
        flag_disagreeing=rules.images_disagree is Flagged.REVIEW,
    )


def written(rules: RetailerRules) -> str:
    """A rule file that says the same, without what is as usual."""
    said = rules.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True) if said else ""


def told_apart(before: RetailerRules, after: RetailerRules) -> str:
    """What changed, for a sentence: `target_precision was the model's own, is 0.98`."""
    old, new = (rules.model_dump(mode="json", exclude_none=True) for rules in (before, after))
    return "; ".join(
        f"{name} was {_value(old.get(name))}, is {_value(new.get(name))}"
        for name in RetailerRules.model_fields
        if old.get(name) != new.get(name)
    )


def told_singly(changes: str) -> list[str]:
    """What `told_apart` said of each rule; nothing of none."""
    return [one for one in _NEXT_RULE.split(changes) if one]


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:119] + "\N{HORIZONTAL ELLIPSIS}"


def _with_all_under(names: Collection[str], taxonomy: Taxonomy) -> frozenset[str]:
    nodes = {*taxonomy.leaves, *taxonomy.parents, *taxonomy.parents.values()}
    wanted = set(names)
    return frozenset(
        wanted | {node for node in nodes if not wanted.isdisjoint(taxonomy.ancestors(node))}
    )


def _problems(error: ValidationError) -> list[Problem]:
    found = []
    for one in error.errors():
        if one["type"] == "extra_forbidden":
            fields = CategoryRule if len(one["loc"]) > 1 else RetailerRules
            said = f"no such rule; there are {_listed(list(fields.model_fields))}"
        else:
            said = f"{one['msg']} (got {one['input']!r:.80})"
        found.append(Problem(place=one["loc"], said=said))
    return found


def _refusal(text: str, problems: list[Problem]) -> RulesError:
    """The first problems with their lines; who mends these sees whether there are more."""
    first = problems[:MOST_PROBLEMS]
    lines = lines_of(text, [one.place for one in first])
    located = [dataclasses.replace(one, line=line) for one, line in zip(first, lines, strict=True)]
    more = len(problems) - len(first)
    told = [_told(one) for one in first] + ([f"and {more:,} more"] if more else [])
    return RulesError("; ".join(told), located)


def _told(one: Problem) -> str:
    place = ".".join(str(part) for part in one.place) or "the file"
    return f"{place}: {one.said}"


def _listed(names: list[str]) -> str:
    return ", ".join(names)
