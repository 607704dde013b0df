"""Every query on the autopilot: the audit's key and verdicts, the states, and how they moved."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tagging.autopilot import Next, next_state
from tagging.database import rules, uploads
from tagging.database.models import KnownModel, find_model, get_model
from tagging.database.tables import (
    NOT_TO_DECIDE,
    AuditKey,
    AuditVerdict,
    AutopilotChange,
    AutopilotState,
    Model,
    ModelInCharge,
    Prediction,
    Product,
    Retailer,
    Review,
    UtcDateTime,
)
from tagging.domain import Autopilot
from tagging.errors import BundleError, NotFoundError
from tagging.evidence import Evidence, verdicts_to_certify, weigh
from tagging.rules import RetailerRules


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Since when verdicts count: since a person last turned the autopilot on or changed what it
    accepts, or ever.

    `after`: the newest audit verdict that no longer counts, 0 for none. `since`: tags accepted
    before it are no evidence; None where all are.
    """

    after: int = 0
    since: dt.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One verdict that counts: the accepted category, when and with which chance of being audited
    (None where an older version did not say), and whether it was wrong.
    """

    accepted: str
    accepted_at: dt.datetime
    share: float | None
    wrong: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """A move of an autopilot. `model`: `name:version`. `changed_by`: None where verdicts did it."""

    model: str
    before: Autopilot
    state: Autopilot
    reason: str
    changed_by: str | None
    created_at: dt.datetime


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the autopilot of one retailer and one model stands, and on what grounds.

    `target`: precision that the accepted tags must have. `rules`: by which they are accepted.
    `to_certify`: how many more verdicts without an error would certify it. `waiting`: how many
    products are `awaited`. `reason`, `changed_by`: of the last move, if it ever moved.
    """

    retailer: str
    model: KnownModel
    state: Autopilot
    since: dt.datetime
    target: float
    rules: RetailerRules
    evidence: Evidence
    to_certify: int
    waiting: int
    reason: str | None
    changed_by: str | None


def audit_key(session: Session, retailer_id: int, *, now: dt.datetime) -> bytes:
    """The secret that picks this retailer's audit sample, made at first use. By primary key.

    Needs a write transaction that is committed.
    """
    query = sa.select(AuditKey.key).where(AuditKey.retailer_id == retailer_id)
    key = session.execute(query).scalar_one_or_none()
    if key is None:
        # Another process may make it at the same time; whoever comes first is right.
        fresh = {"retailer_id": retailer_id, "key": secrets.token_hex(32), "created_at": now}
        uploads.insert_ignoring(session, AuditKey, [fresh], key=("retailer_id",))
        key = session.execute(query).scalar_one()
    return bytes.fromhex(key)


def target_of(session: Session, retailer_id: int, model: KnownModel) -> float:
    """Precision that the tags which `model` accepts for a retailer must have, 0 to 1."""
    asked = rules.in_force(session, retailer_id).target_precision
    return model.card.acceptance.target_precision if asked is None else asked


def lock(session: Session, retailer_id: int, model_id: int) -> AutopilotState:
    """The autopilot's row, locked until the commit. By primary key. Raises NotFoundError.

    Whoever adds evidence or moves the state locks it before the review's row is inserted: the
    order of the reviews' keys is then the order in which they were weighed.
    """
    row = session.execute(
        sa.select(AutopilotState)
        .where(AutopilotState.retailer_id == retailer_id, AutopilotState.model_id == model_id)
        .with_for_update()
    ).scalar_one_or_none()
    if row is None:
        raise NotFoundError(
            f"model {model_id} was never in charge of retailer {retailer_id}, so it has no "
            "autopilot; `atelier retailers list` shows the models in charge"
        )
    return row


def lock_in_order(session: Session, keys: Collection[tuple[int, int]]) -> None:
    """Lock several autopilots, (retailer, model), until the commit, in the order of their keys.

    Whoever may need more than one asks for all at once, or two who need the same ones in another
    order would wait for each other. By primary key; one that there is not is passed over.
    """
    for retailer_id, model_id in sorted(set(keys)):
        session.execute(
            sa.select(AutopilotState)
            .where(AutopilotState.retailer_id == retailer_id, AutopilotState.model_id == model_id)
            .with_for_update()
        ).one_or_none()


def add_verdict(
    session: Session,
    review_id: int,
    *,
    retailer_id: int,
    model_id: int,
    accepted: str,
    wrong: bool,
    share: float | None,
    accepted_at: dt.datetime | None,
) -> None:
    """Count a review as evidence on the tag `accepted`.

    `share`: the chance with which it came into the sample. `accepted_at`: when it was accepted.
    """
    session.add(
        AuditVerdict(
            review_id=review_id,
            retailer_id=retailer_id,
            model_id=model_id,
            accepted=accepted,
            wrong=wrong,
            share=share,
            accepted_at=accepted_at,
        )
    )
    session.flush()


def audited(session: Session, review_id: int) -> tuple[int, int] | None:
    """The retailer and the model whose tag a review judges, if it judges one. By primary key."""
    row = session.get(AuditVerdict, review_id)
    return None if row is None else (row.retailer_id, row.model_id)


def stretch(session: Session, retailer_id: int, model_id: int) -> Stretch:
    """Since when verdicts count. The few moves of one autopilot, by index."""
    row = session.execute(
        sa.select(AutopilotChange.review_id, AutopilotChange.created_at)
        .where(
            AutopilotChange.retailer_id == retailer_id,
            AutopilotChange.model_id == model_id,
            AutopilotChange.state == Autopilot.PROVISIONAL,
            AutopilotChange.changed_by.is_not(None),
        )
        .order_by(AutopilotChange.id.desc())
        .limit(1)
    ).first()
    return Stretch() if row is None else Stretch(after=row.review_id or 0, since=row.created_at)


def verdicts(session: Session, retailer_id: int, model_id: int) -> npt.NDArray[np.bool_]:
    """(verdicts,) bool, oldest first: whether the audited tags that count were wrong.

    An index scan over this stretch's audit verdicts. One that a further review took back is left
    out, so the evidence is always what the rows say.
    """
    rows = session.execute(
        sa.select(AuditVerdict.wrong)
        .where(_counts(session, retailer_id, model_id))
        .order_by(AuditVerdict.review_id)
    ).scalars()
    return np.fromiter(rows, dtype=np.bool_)


def judged(session: Session, retailer_id: int, model_id: int) -> list[Judged]:
    """The same verdicts, with what they are about, oldest first; by the same index.

    What older versions did not write down is as near as can be known: a tag is as old as the
    prediction behind it.
    """
    accepted_at = sa.func.coalesce(
        AuditVerdict.accepted_at, Prediction.created_at, Review.created_at, type_=UtcDateTime()
    )
    rows = session.execute(
        sa.select(AuditVerdict.accepted, accepted_at, AuditVerdict.share, AuditVerdict.wrong)
        .join(Review, Review.id == AuditVerdict.review_id)
        .outerjoin(Prediction, Prediction.id == Review.prediction_id)
        .where(_counts(session, retailer_id, model_id))
        .order_by(AuditVerdict.review_id)
    ).all()
    return [
        Judged(accepted=accepted, accepted_at=at, share=share, wrong=wrong)
        for accepted, at, share, wrong in rows
    ]


def _counts(session: Session, retailer_id: int, model_id: int) -> sa.ColumnElement[bool]:
    """Which verdicts are evidence: those of the stretch that nobody took back."""
    undo = aliased(Review)
    return sa.and_(
        AuditVerdict.retailer_id == retailer_id,
        AuditVerdict.model_id == model_id,
        AuditVerdict.review_id > stretch(session, retailer_id, model_id).after,
        ~sa.exists().where(undo.undoes_id == AuditVerdict.review_id),
    )


def reconsider(
    session: Session, row: AutopilotState, *, target: float, now: dt.datetime
) -> Next | None:
    """Move a locked autopilot to where its verdicts put it; None if it stays."""
    evidence = weigh(verdicts(session, row.retailer_id, row.model_id), target)
    found = next_state(row.state, evidence, target)
    if found.state is row.state:
        return None
    move(session, row, found, changed_by=None, now=now)
    return found


def move(
    session: Session,
    row: AutopilotState,
    to: Next,
    *,
    changed_by: str | None,
    now: dt.datetime,
) -> None:
    """Put a locked autopilot into another state and remember why. `changed_by`: a person."""
    newest = session.execute(
        sa.select(sa.func.max(AuditVerdict.review_id)).where(
            AuditVerdict.retailer_id == row.retailer_id, AuditVerdict.model_id == row.model_id
        )
    ).scalar_one()
    session.add(
        AutopilotChange(
            retailer_id=row.retailer_id,
            model_id=row.model_id,
            before=row.state,
            state=to.state,
            reason=to.reason,
            changed_by=changed_by,
            review_id=newest,
            created_at=now,
        )
    )
    row.state, row.since = to.state, now
    session.flush()


def standings(
    session: Session, model: str | None = None, *, retailer: str | None = None
) -> list[Standing]:
    """Every retailer's autopilot of its model in charge, by the retailer's name.

    `model`: `name:version`, to ask for those that it is in charge of. `retailer`: only this one's.
    Reads the audit verdicts of each by index. Whose model this version cannot read is left out of
    all; `models.all_models` tells of it.

    Raises:
        BundleError: this one's cannot be read.
    """
    query = (
        sa.select(Retailer.name, AutopilotState)
        .join(ModelInCharge, ModelInCharge.retailer_id == Retailer.id)
        .join(
            AutopilotState,
            sa.and_(
                AutopilotState.retailer_id == Retailer.id,
                AutopilotState.model_id == ModelInCharge.model_id,
            ),
        )
        .order_by(Retailer.name)
    )
    if model is not None:
        query = query.where(ModelInCharge.model_id == find_model(session, model).id)
    if retailer is not None:
        query = query.where(Retailer.name == retailer)
    found = []
    for name, row in session.execute(query).all():
        try:
            found.append(_standing(session, name, row))
        except BundleError:
            if model is not None or retailer is not None:
                raise
    return found


def _standing(session: Session, retailer: str, row: AutopilotState) -> Standing:
    model = get_model(session, row.model_id)
    target = target_of(session, row.retailer_id, model)
    evidence = weigh(verdicts(session, row.retailer_id, row.model_id), target)
    last = session.execute(
        sa.select(AutopilotChange)
        .where(
            AutopilotChange.retailer_id == row.retailer_id,
            AutopilotChange.model_id == row.model_id,
        )
        .order_by(AutopilotChange.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return Standing(
        retailer=retailer,
        model=model,
        state=row.state,
        since=row.since,
        target=target,
        rules=rules.in_force(session, row.retailer_id),
        evidence=evidence,
        to_certify=verdicts_to_certify(evidence, target),
        waiting=session.execute(
            sa.select(sa.func.count(Product.id)).where(
                awaited(session, row.retailer_id, row.model_id)
            )
        ).scalar_one(),
        reason=None if last is None else last.reason,
        changed_by=None if last is None else last.changed_by,
    )


def awaited(session: Session, retailer_id: int, model_id: int) -> sa.ColumnElement[bool]:
    """Which products are of the audit sample, undecided, and bring a verdict that would count.

    By the partial index on what of the audit sample waits, which alone tells all but the model;
    that is looked up by primary key for each. (As a join it would be one with all predictions
    where many are counted.)
    """
    by_model = (
        sa.select(Prediction.model_id)
        .where(Prediction.id == Product.prediction_id)
        .scalar_subquery()
    )
    since = stretch(session, retailer_id, model_id).since
    return sa.and_(
        Product.retailer_id == retailer_id,
        Product.audit,
        # Written out: a partial index is used only where the text itself implies it.
        Product.status.not_in([sa.literal_column(f"'{status}'") for status in NOT_TO_DECIDE]),
        by_model == model_id,
        sa.true() if since is None else Product.tagged_at > since,
    )


def awaited_tags(
    session: Session, retailer_id: int, model_id: int
) -> list[tuple[str | None, dt.datetime | None, int]]:
    """How many products are `awaited`, by the accepted category and the moment of acceptance.

    By the partial index on the audit sample. What was tagged in one batch has one moment, so the
    groups are fewer than the products.
    """
    rows = session.execute(
        sa.select(Product.suggestion, Product.tagged_at, sa.func.count())
        .where(awaited(session, retailer_id, model_id))
        .group_by(Product.suggestion, Product.tagged_at)
    ).all()
    return [(suggestion, at, count) for suggestion, at, count in rows]


def switched_off(session: Session) -> list[str]:
    """Names of the retailers whose model in charge accepts nothing, by name.

    By primary keys, a row per retailer: every page asks it.
    """
    return list(
        session.scalars(
            sa.select(Retailer.name)
            .join(ModelInCharge, ModelInCharge.retailer_id == Retailer.id)
            .join(
                AutopilotState,
                sa.and_(
                    AutopilotState.retailer_id == ModelInCharge.retailer_id,
                    AutopilotState.model_id == ModelInCharge.model_id,
                ),
            )
            .where(AutopilotState.state == Autopilot.OFF)
            .order_by(Retailer.name)
        )
    )


def changes(session: Session, retailer_id: int, *, most: int) -> list[Change]:
    """The newest moves of a retailer's autopilots, of every model that was in charge, newest first.

    By the index on (retailer, model, id); there are few.
    """
    rows = session.execute(
        sa.select(AutopilotChange, Model.name, Model.version)
        .join(Model, Model.id == AutopilotChange.model_id)
        .where(AutopilotChange.retailer_id == retailer_id)
        .order_by(AutopilotChange.id.desc())
        .limit(most)
    ).all()
    return [
        Change(
            model=f"{name}:{version}",
            before=row.before,
            state=row.state,
            reason=row.reason,
            changed_by=row.changed_by,
            created_at=row.created_at,
        )
        for row, name, version in rows
    ]
