"""tag_batch: load the model -> lease -> read -> decode -> classify -> decide -> write.

The database is the record: a message only says which batch to look at. No transaction is open
while images are decoded or classified, and everything that is found is written in one short
transaction that also ends the lease. If the lease was lost meanwhile, nothing is written.

A model is loaded before anything is leased, and while nothing else is in hand: whatever becomes of
the process meanwhile, no product is blamed for it.
"""

from __future__ import annotations

import datetime as dt
import secrets
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tagging.autopilot import AUDIT_SHARE, in_audit_sample
from tagging.database import autopilots, batches, models, products, rules
from tagging.database.batches import Hindrance, Lease, LeasedProduct, QueuedBatch
from tagging.database.models import KnownModel
from tagging.database.products import Classified, Failed, ImageFailure, ImageLogits
from tagging.database.session import Database, is_away
from tagging.domain import (
    FailureCode,
    ImageEvidence,
    Rules,
    Status,
    aggregate,
    decide,
    softmax_log_probs,
)
from tagging.errors import AtelierError, PassingError, StoreAwayError
from tagging.failpoints import failpoint
from tagging.images.decoders import Decoded, DecodeRequest
from tagging.images.store import ImageStore
from tagging.in_hand import InHand, Work
from tagging.model_card import InputSpec, ModelCard, card_fingerprint
from tagging.rules import snapshot

STEP_IMAGES: Final = 256
"""Images decoded and classified between two marks of progress, at most."""

PASSING_S: Final = 15.0
"""Longest pause before a try where what stands in the way ends by itself."""

STRANGEST: Final = sys.float_info.max
"""The ood score of a picture of which the model could say nothing; above every threshold."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a model says of n images, in their order.

    `logits`: (n, categories) float32, raw. `ood_scores`: (n,) float64, higher is stranger; the
    model's card says from where on it counts. `features`: (n, k) int8, what the model sees; of
    pictures that look alike to it they point the same way.
    """

    logits: Logits
    ood_scores: npt.NDArray[np.float64]
    features: npt.NDArray[np.int8]


class Classifier(Protocol):
    """A loaded model. `classify` is called by several threads; the model runs in one."""

    card: ModelCard

    def classify(
        self, images: npt.NDArray[np.uint8], on_progress: Callable[[], None] = lambda: None
    ) -> Answers:
        """(n, height, width, channels) -> answers, n >= 1.

        Args:
            images: as the model's card wants them.
            on_progress: called now and then in this thread while the model gets on, be it with
                another call's images: this one's turn comes.
        """


class Classifiers(Protocol):
    """Loads models on demand and keeps them."""

    def get(self, model: KnownModel) -> Classifier:
        """Raises BundleError if the bundle cannot be trusted or loaded."""

    def has(self, model_id: int) -> bool:
        """Whether `get` loads nothing."""


class Decoders(Protocol):
    """Bytes to model input, outside of this process."""

    def decode(
        self,
        items: Sequence[DecodeRequest],
        spec: InputSpec,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Decoded]:
        """One answer per item, in order."""


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What happened to a batch, for the log. Times in seconds. `left`: products of which the image
    store did not give all images; they wait in a batch of their own.
    """

    batch_id: int
    products: int
    images: int
    failed: int
    left: int
    decode_s: float
    classify_s: float
    write_s: float
    images_per_s: float


@dataclass(kw_only=True)
class _Found:
    """What is known of a batch's images so far."""

    logits: dict[str, Logits] = field(default_factory=dict)  # sha256 -> (categories,)
    scores: dict[str, float] = field(default_factory=dict)
    failures: dict[str, ImageFailure] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)  # sha256 -> what its disk said
    fresh: list[ImageLogits] = field(default_factory=list)
    decode_s: float = 0.0
    classify_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Tagger:
    """The service, with what it needs."""

    database: Database
    store: ImageStore
    decoders: Decoders
    classifiers: Classifiers
    in_hand: InHand
    worker: str
    preprocessing_version: str
    now: Callable[[], dt.datetime]
    audit_share: float = AUDIT_SHARE

    def tag_batch(self, batch_id: int) -> BatchReport | None:
        """Tag a batch, if it is still to be done. None: somebody else has it, or it is done.

        Raises:
            Exception: whatever stood in the way. The batch was given back with the reason; the
                attempt does not count.
        """
        self.in_hand.deliver()
        passed_by: int | None = None
        while True:
            due = self._due(batch_id)
            if due is None:
                return None
            queued, model = due
            if model.id == passed_by:
                return None  # somebody else had it meanwhile; whatever is left of it is announced
            alone = queued.alone or not self.classifiers.has(model.id)
            with self.in_hand.room(alone=alone):
                if not (alone or self.classifiers.has(model.id)):
                    continue  # it made room for another one while this batch waited for its turn
                classifier = self._classifier(queued, model)
                if self.in_hand.stopping.is_set():
                    return None
                with self.in_hand.unleased(loads=False):
                    lease = self._lease(queued, model, alone=alone)
                if lease is None:
                    passed_by = model.id
                    continue  # somebody else has it, or another model is in charge by now
                with self.in_hand.hold(lease) as work:
                    try:
                        return self._tag(work, model, classifier)
                    except Exception as error:
                        # Whatever it is (a GPU out of memory, a server that is away), no process
                        # died of it, so no product is to blame for a crash. The reason stands in
                        # the batch's row, and whoever waits is told.
                        work.step()
                        self._hinder(lease, error)
                        raise

    def _due(self, batch_id: int) -> tuple[QueuedBatch, KnownModel] | None:
        """What is to be done, and by which model. None: nothing, or not now."""
        # Each wait for the database is bounded by itself, and must not count as one long one.
        with self.in_hand.unleased(loads=False), self.database.read() as session:
            queued = batches.due(session, batch_id, now=self.now())
        if queued is None or self.in_hand.stopping.is_set():
            return None
        try:
            with self.in_hand.unleased(loads=False), self.database.read() as session:
                return queued, models.in_charge(session, queued.retailer_id)
        except AtelierError as error:
            with self.in_hand.unleased(loads=False):
                self._hinder(queued, error)
            raise

    def _classifier(self, queued: QueuedBatch, model: KnownModel) -> Classifier:
        # Asked for anew: another batch may have made room for its model while this one waited.
        with self.in_hand.unleased(loads=not self.classifiers.has(model.id)):
            try:
                failpoint("tag.model")
                classifier = self.classifiers.get(model)
                failpoint("tag.model_ready")
            except Exception as error:
                self._hinder(queued, error, about=f"{model.card.title} cannot be loaded: ")
                raise
        return classifier

    def _hinder(self, held: Lease | QueuedBatch, reason: Exception, *, about: str = "") -> None:
        """Give it back if it is leased, and say why it could not be done."""
        hindrance = Hindrance(
            error=str(reason) if isinstance(reason, AtelierError) else about + _told(reason),
            at=self.now(),
            most_s=PASSING_S if isinstance(reason, PassingError) else batches.MOST_PAUSE_S,
        )
        try:
            with self.database.write("batch.give_back") as session:
                if isinstance(held, QueuedBatch):
                    batches.hinder(session, held, hindrance)
                else:
                    batches.give_back(session, held, None if is_away(reason) else hindrance)
                session.commit()
        except Exception as error:
            if isinstance(held, Lease):
                # The beat gives it back as soon as the database answers.
                self.in_hand.abandon(held)
            if not isinstance(error, (DBAPIError, PoolTimeoutError)):
                raise  # an error of ours

    def _lease(self, queued: QueuedBatch, model: KnownModel, *, alone: bool) -> Lease | None:
        wanted = Lease(
            batch_id=queued.batch_id,
            token=secrets.token_hex(16),
            retailer_id=queued.retailer_id,
            model_id=model.id,
            alone=alone,
        )
        try:
            with self.database.write("batch.lease") as session:
                lease = batches.lease(
                    session,
                    wanted.batch_id,
                    token=wanted.token,
                    worker=self.worker,
                    alone=alone,
                    model_id=model.id,
                )
                session.commit()
                return lease
        except Exception:
            # It may be ours all the same: a commit is not undone by an answer that is lost.
            self.in_hand.abandon(wanted)
            raise

    def _tag(self, work: Work, model: KnownModel, classifier: Classifier) -> BatchReport | None:
        began = time.perf_counter()
        with self.database.read() as session:
            wanted = batches.leased_products(session, work.lease.batch_id)
        work.step()
        found = self._look(work, wanted, model.id, classifier)
        seen, left = _parted(wanted, found.unread)
        if left and not seen:
            raise StoreAwayError(_told_of(found.unread))
        # Each wait for the database is bounded by itself, and must not count as one long one.
        work.step()
        writing = time.perf_counter()
        failed = self._write(work.lease, seen, left, found, model)
        ended = time.perf_counter()
        if failed is None:
            return None
        images = sum(len(product.images) for product in seen)
        return BatchReport(
            batch_id=work.lease.batch_id,
            products=len(seen),
            images=images,
            failed=failed,
            left=len(left),
            decode_s=found.decode_s,
            classify_s=found.classify_s,
            write_s=ended - writing,
            images_per_s=images / (ended - began),
        )

    def _look(
        self, work: Work, wanted: Sequence[LeasedProduct], model_id: int, classifier: Classifier
    ) -> _Found:
        """Logits or a failure for every image of the batch; what is known already is reused."""
        sha256s = list(dict.fromkeys(sha for product in wanted for sha in product.images))
        found = _Found()
        with self.database.read() as session:
            known = products.known_logits(
                session,
                sha256s,
                model_id=model_id,
                preprocessing_version=self.preprocessing_version,
            )
        for sha256, (logits, score) in known.items():
            found.logits[sha256] = np.frombuffer(logits, dtype="<f4")
            found.scores[sha256] = score
        missing = [sha256 for sha256 in sha256s if sha256 not in known]
        for start in range(0, len(missing), STEP_IMAGES):
            self._classify(work, missing[start : start + STEP_IMAGES], classifier, found)
        return found

    def _classify(
        self, work: Work, sha256s: Sequence[str], classifier: Classifier, found: _Found
    ) -> None:
        began = time.perf_counter()
        failpoint("tag.decode")
        decoded = self._decode(work, sha256s, classifier.card.input)
        missing = [one.sha256 for one in decoded if one.code is FailureCode.MISSING]
        if missing:
            # Not while the store was away for a moment: nobody would look for them again.
            self.store.require_available()
            again = {one.sha256: one for one in self._decode(work, missing, classifier.card.input)}
            self.store.require_available()
            decoded = [again.get(one.sha256, one) for one in decoded]
        failpoint("tag.decoded")
        work.step()
        pixels: list[npt.NDArray[np.uint8]] = []
        readable: list[str] = []
        for sha256, one in zip(sha256s, decoded, strict=True):
            if one.pixels is not None:
                failpoint("tag.image", sha256)
                pixels.append(one.pixels)
                readable.append(sha256)
            elif one.unread is not None:
                found.unread[sha256] = one.unread
            else:
                code = one.code or FailureCode.UNREADABLE
                found.failures[sha256] = ImageFailure(
                    sha256=sha256, code=code, detail=one.detail or code.value
                )
        found.decode_s += time.perf_counter() - began
        if not pixels:
            return
        began = time.perf_counter()
        failpoint("tag.classify")
        answers = classifier.classify(np.stack(pixels), work.step)
        failpoint("tag.classified")
        work.step()
        found.classify_s += time.perf_counter() - began
        for sha256, raw, scored, seen in zip(
            readable, answers.logits, answers.ood_scores, answers.features, strict=True
        ):
            row, score = raw, scored
            if not (np.isfinite(row).all() and np.isfinite(score)):
                # The network overflowed on this picture: nothing it says of it can be trusted.
                row, score = np.zeros_like(row), STRANGEST
            found.logits[sha256] = row
            found.scores[sha256] = float(score)
            found.fresh.append(
                ImageLogits(
                    sha256=sha256,
                    logits=row.astype("<f4").tobytes(),
                    ood_score=float(score),
                    features=seen.tobytes(),
                )
            )

    def _decode(self, work: Work, sha256s: Sequence[str], spec: InputSpec) -> list[Decoded]:
        return self.decoders.decode(
            [DecodeRequest(sha256=sha, path=self.store.path(sha)) for sha in sha256s],
            spec,
            on_progress=lambda _: work.step(),
        )

    def _write(
        self,
        lease: Lease,
        wanted: Sequence[LeasedProduct],
        left: Sequence[LeasedProduct],
        found: _Found,
        model: KnownModel,
    ) -> int | None:
        """Write everything of the products `wanted`, leave those in `left` to a further batch, and
        end the lease; how many products failed.

        None: the lease was lost, or another model was put in charge meanwhile of products that
        have a tag already. Then it is this other model that is asked.
        """
        now = self.now()
        with self.database.write("batch.write") as session:
            in_charge = models.hold_in_charge(session, lease.retailer_id) == model.id
            if lease.retags and not in_charge:
                batches.give_back(session, lease)
                session.commit()
                return None
            if not batches.finish(session, lease, now=now):
                return None
            asked = rules.in_force(session, lease.retailer_id)
            deciding = snapshot(
                asked, model.card, models.autopilot(session, lease.retailer_id, model.id)
            )
            classified: list[Classified] = []
            failed: list[Failed] = []
            for product in wanted:
                outcome = judge(
                    product, found.logits, found.scores, found.failures, model.card, deciding
                )
                if isinstance(outcome, Classified):
                    classified.append(outcome)
                else:
                    failed.append(outcome)
            products.add_image_predictions(
                session,
                found.fresh,
                model_id=model.id,
                preprocessing_version=self.preprocessing_version,
                now=now,
            )
            products.write_outcomes(
                session,
                classified,
                failed,
                batch_id=lease.batch_id,
                model_id=model.id,
                preprocessing_version=self.preprocessing_version,
                now=now,
                replacing=in_charge,
                audited=audit_sample(
                    wanted,
                    classified,
                    key=autopilots.audit_key(session, lease.retailer_id, now=now),
                    retailer_id=lease.retailer_id,
                    card=model.card,
                    share=self.audit_share if asked.audit_share is None else asked.audit_share,
                ),
            )
            if lease.hindered:
                # What stood in the way is gone; whatever else waits for that need not.
                batches.resume(session, lease.retailer_id)
            if left:
                batches.leave_over(session, lease, left, error=_told_of(found.unread), now=now)
            session.commit()
        return len(failed)


def audit_sample(
    wanted: Sequence[LeasedProduct],
    classified: Sequence[Classified],
    *,
    key: bytes,
    retailer_id: int,
    card: ModelCard,
    share: float,
) -> dict[int, float]:
    """Ids of the accepted products that people check, with the chance that each had. Pure.

    Those that the keyed hash picks, whatever their confidence, and, for certain, all that are
    withheld for want of a certificate: people decide on each of these anyway, and what they say is
    what may earn it.
    """
    skus = {product.product_id: product.sku for product in wanted}
    model = card_fingerprint(card)
    return {
        one.product_id: 1.0 if one.decision.withheld else share
        for one in classified
        if one.decision.withheld
        or (
            one.decision.status is Status.TAGGED
            and in_audit_sample(
                key,
                retailer_id=retailer_id,
                sku=skus[one.product_id],
                image_set=one.image_set,
                model=model,
                share=share,
            )
        )
    }


def _parted(
    wanted: Sequence[LeasedProduct], unread: Collection[str]
) -> tuple[list[LeasedProduct], list[LeasedProduct]]:
    """The products whose images could all be looked at, and the others.

    A product is not judged by some of its images because the rest could not be read just now.
    """
    seen: list[LeasedProduct] = []
    left: list[LeasedProduct] = []
    for product in wanted:
        (left if any(sha256 in unread for sha256 in product.images) else seen).append(product)
    return seen, left


def _told_of(unread: Mapping[str, str]) -> str:
    """What is known of images that the store did not give, in one line."""
    first = next(iter(unread.values()))
    more = f", and {len(unread) - 1:,} more" if len(unread) > 1 else ""
    return (
        f"stored images cannot be read ({first}{more}); mend the disk, the permissions or the "
        "server that they lie on. A file that is lost for good: delete it, and deliver it again"
    )


def _told(error: Exception) -> str:
    """An unexpected error in one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:500]


def judge(
    product: LeasedProduct,
    logits: dict[str, Logits],
    scores: dict[str, float],
    failures: dict[str, ImageFailure],
    card: ModelCard,
    deciding: Rules,
) -> Classified | Failed:
    """From what is known of a product's images to its outcome. Pure."""
    evidence = [
        ImageEvidence(
            sha256=sha256,
            log_probs=softmax_log_probs(logits[sha256], card.temperature),
            ood_score=scores[sha256],
        )
        for sha256 in product.images
        if sha256 in logits
    ]
    broken = tuple(failures[sha256] for sha256 in product.images if sha256 in failures)
    if not evidence:
        detail = broken[0].detail
        if len(broken) > 1:
            detail = f"none of its {len(broken)} images can be used; the first: {detail}"
        return Failed(
            product_id=product.product_id,
            image_set=product.image_set,
            code=broken[0].code,
            detail=detail,
        )
    prediction = aggregate(
        evidence,
        taxonomy=card.taxonomy,
        ood_bounds=card.out_of_distribution.bounds(),
        thresholds=deciding.thresholds,
    )
    return Classified(
        product_id=product.product_id,
        image_set=product.image_set,
        prediction=prediction,
        decision=decide(prediction, deciding),
        failures=broken,
    )
