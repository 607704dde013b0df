"""`card.json`: everything that must be known of a model bundle before its weights are loaded.

A bundle is a folder: weights and whatever else the card lists, plus `card.json`, which is written
last, so that its presence means that the rest is complete. `read_bundle` verifies every file;
`read_content` gives the very bytes that it verified.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tagging.domain import OodBounds, Taxonomy, Thresholds
from tagging.errors import BundleError

CARD_NAME: Final = "card.json"
CARD_FORMAT: Final = 1


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Category(_Value):
    """A category of the model, in the order of its outputs; `parent` is None at the top."""

    name: str
    parent: str | None = None


class InputSpec(_Value):
    """What the network eats: uint8, (batch, height, width, channels).

    `kind` names the steps from a decoded picture to that array (`tagging.images.model_input`).
    """

    kind: Literal["fashion-mnist", "photo"]
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    channels: Literal[1, 3]


def taxonomy_of(categories: Sequence[Category], parents: Sequence[Category]) -> Taxonomy:
    """The tree of categories and inner nodes, each of which names its parent."""
    return Taxonomy(
        leaves=tuple(c.name for c in categories),
        parents={c.name: c.parent for c in (*categories, *parents) if c.parent is not None},
    )


class NetworkSpec(_Value):
    """An architecture that our own code builds: `model_training.networks.build(name, parameters)`.

    The network maps uint8 images to logits (batch, categories), float32.
    """

    name: str
    parameters: dict[str, Any]


class ParentAcceptance(_Value):
    """Thresholds of the inner nodes, for what is not accepted as one of their categories.

    Counts and bound as in `AcceptanceSpec`, of what only the parent accepts; an error is a product
    that does not belong under it.
    """

    by_parent: dict[str, float] = {}
    holdout_accepted: int = Field(ge=0, default=0)
    holdout_errors: int = Field(ge=0, default=0)
    error_upper: float = Field(ge=0, le=1, default=1.0)


class AcceptanceSpec(_Value):
    """Thresholds, the precision they were set for, and what the hold-out said of them.

    `holdout_*` are counts on data that no choice was made on; `error_upper` is the one-sided
    95 % Clopper-Pearson upper bound of the accepted error. Of an adapted model (`measured` is
    `crossfitted`) they are counts of answers by models that did not know the photo, on photos by
    which the penalty, the temperature and the cut were chosen, so that the bound is approximate.
    """

    target_precision: float = Field(gt=0, lt=1)
    measured: Literal["holdout", "crossfitted"] = "holdout"
    fallback: float = Field(ge=0)
    by_category: dict[str, float] = {}
    holdout_n: int = Field(ge=0)
    holdout_accepted: int = Field(ge=0)
    holdout_errors: int = Field(ge=0)
    error_upper: float = Field(ge=0, le=1)
    parents: ParentAcceptance = ParentAcceptance()

    @property
    def whose(self) -> str:
        """What the counts are of, in words."""
        if self.measured == "crossfitted":
            return "the photos it was adapted to, cross-fitted"
        return "the bundle's own hold-out"

    def stated(self, *, accept_parent: bool) -> StatedRate:
        """The rate for a retailer who does, or does not, let parent categories be accepted."""
        above = self.parents
        if accept_parent and above.by_parent:
            return StatedRate(
                accepted=self.holdout_accepted + above.holdout_accepted,
                errors=self.holdout_errors + above.holdout_errors,
                error_upper=above.error_upper,
            )
        return StatedRate(
            accepted=self.holdout_accepted,
            errors=self.holdout_errors,
            error_upper=self.error_upper,
        )

    def thresholds(self) -> Thresholds:
        return Thresholds(
            fallback=self.fallback,
            by_category=dict(self.by_category),
            by_parent=dict(self.parents.by_parent),
        )


class StatedRate(_Value):
    """What the hold-out said of what is accepted: `errors` of `accepted` were wrong; their share is
    at most `error_upper` with 95 % confidence.
    """

    accepted: int
    errors: int
    error_upper: float


class OutOfDistributionSpec(_Value):
    """What tells strange images apart, and from where it counts.

    `network` is one that `model_training.networks` builds, with its weights in a file of the
    bundle; its one logit is the score: higher is stranger, without a fixed range. A score at or
    above the threshold of the category that the image looks most like is out of distribution.
    """

    method: Literal["sentinel"]
    network: NetworkSpec
    weights: str
    threshold: float
    by_category: dict[str, float] = {}

    def bounds(self) -> OodBounds:
        return OodBounds(fallback=self.threshold, by_category=dict(self.by_category))


class ModelCard(_Value):
    """See the module's text.

    `parents` are the inner nodes of the taxonomy that have a parent themselves; an inner node that
    is not listed stands at the top. `acceptance` is for the target precision that holds unless the
    retailer asks for another; `operating_points` has all that were prepared for, by the target as
    text ("0.98"). `files` maps each file's name to its sha256, the card excepted.
    """

    format: Literal[1] = CARD_FORMAT
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,31}$")
    description: str
    network: NetworkSpec
    categories: list[Category] = Field(min_length=2)
    parents: list[Category] = []
    input: InputSpec
    preprocessing_version: str
    temperature: float = Field(gt=0)
    acceptance: AcceptanceSpec
    operating_points: dict[str, AcceptanceSpec] = {}
    out_of_distribution: OutOfDistributionSpec
    weights: str
    metrics: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]
    created_at: str
    files: dict[str, str]

    @model_validator(mode="after")
    def _hangs_together(self) -> ModelCard:
        leaves = [c.name for c in self.categories]
        nodes = [c.name for c in self.parents]
        twice = sorted({n for n in leaves + nodes if (leaves + nodes).count(n) > 1})
        above = {c.parent for c in (*self.categories, *self.parents)}
        if twice := twice or sorted(n for n in leaves if n in above):
            raise ValueError(f"a name stands for one category or one parent; {twice} for several")
        taxonomy = self.taxonomy
        for name in leaves + nodes:
            chain = taxonomy.ancestors(name)
            if chain and taxonomy.parents.get(chain[-1]) is not None:
                raise ValueError(f"the parents of {name!r} go round in a circle: {chain}")
        for text, spec in self.operating_points.items():
            if float(text) != spec.target_precision:
                raise ValueError(
                    f"the operating point {text!r} is for a precision of {spec.target_precision}"
                )
        return self

    @property
    def category_names(self) -> list[str]:
        return [c.name for c in self.categories]

    @property
    def taxonomy(self) -> Taxonomy:
        return taxonomy_of(self.categories, self.parents)

    @property
    def is_adapted(self) -> bool:
        """Whether it was made of another bundle by one shop's photos."""
        return "base" in self.data

    @property
    def title(self) -> str:
        return f"{self.name}:{self.version}"

    def at(self, target: float | None = None) -> AcceptanceSpec:
        """The thresholds for a target precision; None for the bundle's default.

        A target between two prepared ones gets the stricter.

        Raises:
            BundleError: the target is stricter than any that was prepared.
        """
        if target is None:
            return self.acceptance
        prepared = {
            s.target_precision: s for s in (*self.operating_points.values(), self.acceptance)
        }
        for precision in sorted(prepared):
            if precision >= target:
                return prepared[precision]
        raise BundleError(
            f"{self.title} has no thresholds for a precision of {target:.2%}; its strictest are "
            f"for {max(prepared):.2%}. Choose that, or train for a stricter one."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class BundleContent:
    """A bundle as it was read, once: what is used of it is what was verified.

    Whoever verified the files and then opened them again by name would use whatever was put in
    their place meanwhile, under the card of what was there before.

    `folder`: where it was read. `files`: each file's bytes by its name, the card's included.
    """

    folder: Path
    card: ModelCard
    files: Mapping[str, bytes]


def read_card(bundle: Path) -> ModelCard:
    """The card of `bundle`, checked for form only. Raises BundleError."""
    return _parsed(bundle, _card_bytes(bundle))


def read_bundle(bundle: Path) -> ModelCard:
    """The card of `bundle`, after every file that it lists was found with the listed sha256.

    Who goes on to use the files asks `read_content` for them: by then others may be in their place.

    Raises:
        BundleError: a file is missing, altered or unreadable, or a listed name leaves the folder.
    """
    card = read_card(bundle)
    for _ in _verified(bundle, card):
        pass
    return card


def read_content(bundle: Path) -> BundleContent:
    """As `read_bundle`, with the bytes that were verified. Its files are in memory together."""
    text = _card_bytes(bundle)
    card = _parsed(bundle, text)
    return BundleContent(
        folder=bundle, card=card, files=dict(_verified(bundle, card)) | {CARD_NAME: text}
    )


def _card_bytes(bundle: Path) -> bytes:
    try:
        return (bundle / CARD_NAME).read_bytes()
    except FileNotFoundError as error:
        raise BundleError(
            f"{bundle} is no complete model bundle: it has no {CARD_NAME}. The card is written "
            "last, so training was cut off or the copy is partial; train or copy it again."
        ) from error
    except OSError as error:
        raise _unreadable(bundle / CARD_NAME, error) from error


def _parsed(bundle: Path, text: bytes) -> ModelCard:
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(
            f"{bundle / CARD_NAME} is not a model card that this version reads: {error}. "
            "Use the version of Atelier that wrote it, or train again."
        ) from error


def _verified(bundle: Path, card: ModelCard) -> Iterator[tuple[str, bytes]]:
    """Each file that the card lists, read once: its name and the bytes of which the sha256 is the
    listed one.
    """
    for needed in (card.weights, card.out_of_distribution.weights):
        if needed not in card.files:
            raise BundleError(f"{bundle}: the card lists no sha256 for {needed!r}, which it uses.")
    for name, expected in card.files.items():
        if Path(name).name != name:
            raise BundleError(f"{bundle}: the card names a file outside the bundle: {name!r}.")
        try:
            content = (bundle / name).read_bytes()
            found = hashlib.sha256(content).hexdigest()
        except FileNotFoundError:
            content, found = b"", "(missing)"
        except OSError as error:
            raise _unreadable(bundle / name, error) from error
        if found != expected:
            raise BundleError(
                f"{bundle / name} was altered or is missing: sha256 {found}, the card says "
                f"{expected}. Copy the bundle again from where it was made."
            )
        yield name, content


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{path} cannot be read: {error.strerror}. Give it back to this account, or copy the "
        "bundle again from where it was made."
    )


def card_fingerprint(card: ModelCard) -> str:
    """sha256 (hex) of the card's canonical JSON: two bundles are the same model if it is equal.

    Without `metrics` and `description`: measuring a model does not make it another one.
    """
    identity = card.model_dump(mode="json", exclude={"metrics", "description"})
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
