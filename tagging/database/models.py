"""Every query on retailers, their taxonomy, model bundles and the model in charge."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tagging.database import batches, rules
from tagging.database.tables import AutopilotState, Category, Model, ModelInCharge, Retailer
from tagging.domain import Autopilot
from tagging.errors import BundleError, NotFoundError
from tagging.model_card import ModelCard, card_fingerprint
from tagging.rules import RetailerRules, snapshot


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A registered bundle: its row's id, where it lies, and its card."""

    id: int
    path: Path
    card: ModelCard


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """A row of `models`, with the names of the retailers that the model is in charge of.

    `known`: None where this version of Atelier cannot read the row; `error` says why.
    """

    id: int
    title: str
    path: Path
    in_charge_of: tuple[str, ...]
    known: KnownModel | None
    error: str = ""

    def usable(self) -> KnownModel:
        """Raises BundleError where this version cannot read it."""
        if self.known is None:
            raise BundleError(self.error)
        return self.known


@dataclass(frozen=True, kw_only=True)
class RetailerLine:
    """A retailer with its model in charge, for listings."""

    name: str
    model: str | None
    autopilot: Autopilot | None
    rules: RetailerRules
    created_at: dt.datetime


def register(session: Session, card: ModelCard, path: Path, *, now: dt.datetime) -> int:
    """The id of the bundle's row, which is made at first sight. Unique by (name, version).

    Raises:
        BundleError: the name and version are known with another content. A release is a new
            version: what an older model said must stay attributable.
    """
    fingerprint = card_fingerprint(card)
    row = session.execute(
        sa.select(Model).where(Model.name == card.name, Model.version == card.version)
    ).scalar_one_or_none()
    if row is None:
        row = Model(
            name=card.name,
            version=card.version,
            fingerprint=fingerprint,
            path=str(path),
            card=card.model_dump(mode="json"),
            created_at=now,
        )
        try:
            with session.begin_nested():
                session.add(row)
                session.flush()
        except IntegrityError:  # another process registered it between the look and the insert
            return register(session, card, path, now=now)
    elif not _is_of(row, fingerprint):
        raise BundleError(
            f"the bundle at {path} calls itself {card.title}, but a model of that name and version "
            f"with another content is registered (from {row.path}). Give the bundle a new version."
        )
    return row.id


def registered(session: Session, card: ModelCard) -> int | None:
    """The id of this very bundle's row; None if it has none. By unique name and version."""
    row = session.execute(
        sa.select(Model).where(Model.name == card.name, Model.version == card.version)
    ).scalar_one_or_none()
    return None if row is None or not _is_of(row, card_fingerprint(card)) else row.id


def _is_of(row: Model, fingerprint: str) -> bool:
    """By what was registered; or, for another version of Atelier may have done that, by what this
    one makes of it.
    """
    if row.fingerprint == fingerprint:
        return True
    try:
        return card_fingerprint(_known(row, row.name).card) == fingerprint
    except BundleError:
        return False


def get_model(session: Session, model_id: int) -> KnownModel:
    """By primary key. Raises NotFoundError, and BundleError where this version cannot read it."""
    return _known(session.get(Model, model_id), str(model_id))


def find_model(session: Session, title: str) -> KnownModel:
    """By `name:version`, or the youngest of `name`.

    Raises NotFoundError, and BundleError where this version cannot read it.
    """
    name, _, version = title.partition(":")
    query = sa.select(Model).where(Model.name == name).order_by(Model.id.desc()).limit(1)
    if version:
        query = query.where(Model.version == version)
    return _known(session.execute(query).scalar_one_or_none(), title)


def _known(row: Model | None, asked: str) -> KnownModel:
    if row is None:
        raise NotFoundError(f"no model {asked!r}; `atelier models list` shows the known ones")
    try:
        card = ModelCard.model_validate(row.card)
    except ValidationError as error:
        raise BundleError(
            f"the model {row.name}:{row.version} was registered by another version of Atelier, "
            f"which described models otherwise ({error.error_count()} differences). Put another "
            "model in charge, or begin with an empty data folder."
        ) from error
    return KnownModel(id=row.id, path=Path(row.path), card=card)


def all_models(session: Session) -> list[ModelLine]:
    """Every model, those that this version cannot read included; a handful of rows."""
    charges = session.execute(
        sa.select(ModelInCharge.model_id, Retailer.name)
        .join(Retailer, Retailer.id == ModelInCharge.retailer_id)
        .order_by(Retailer.name)
    ).all()
    return [
        _line(row, tuple(name for model_id, name in charges if model_id == row.id))
        for row in session.execute(sa.select(Model).order_by(Model.id)).scalars()
    ]


def _line(row: Model, in_charge_of: tuple[str, ...]) -> ModelLine:
    known, error = None, ""
    try:
        known = _known(row, row.name)
    except BundleError as reason:
        error = str(reason)
    return ModelLine(
        id=row.id,
        title=f"{row.name}:{row.version}",
        path=Path(row.path),
        in_charge_of=in_charge_of,
        known=known,
        error=error,
    )


def find_retailer(session: Session, name: str) -> int | None:
    """By unique name."""
    return session.execute(sa.select(Retailer.id).where(Retailer.name == name)).scalar_one_or_none()


def retailer_id(session: Session, name: str) -> int:
    """By unique name. Raises NotFoundError."""
    found = find_retailer(session, name)
    if found is None:
        raise NotFoundError(f"no retailer {name!r}; `atelier retailers list` shows the known ones")
    return found


def add_retailer(session: Session, name: str, *, model_id: int, now: dt.datetime) -> int:
    """The id of the retailer, made with `model_id` in charge if there was none of that name."""
    found = find_retailer(session, name)
    if found is not None:
        return found
    try:
        with session.begin_nested():
            retailer = Retailer(name=name, created_at=now)
            session.add(retailer)
            session.flush()
    except IntegrityError:  # another process added it between the look and the insert
        return retailer_id(session, name)
    put_in_charge(session, retailer.id, model_id, now=now)
    return retailer.id


def put_in_charge(session: Session, retailer: int, model_id: int, *, now: dt.datetime) -> None:
    """Put a model in charge of a retailer; its categories join the taxonomy, none leaves it.

    What could not be done with another one is tried at once.

    Raises:
        BundleError: it has no thresholds for a precision that the retailer's rules ask.
    """
    card = get_model(session, model_id).card
    snapshot(rules.in_force(session, retailer), card, Autopilot.PROVISIONAL)
    existing = set(
        session.execute(sa.select(Category.name).where(Category.retailer_id == retailer)).scalars()
    )
    wanted: dict[str, str | None] = {parent: None for c in card.categories if (parent := c.parent)}
    wanted |= {c.name: c.parent for c in (*card.parents, *card.categories)}
    session.add_all(
        Category(retailer_id=retailer, name=name, parent=parent)
        for name, parent in wanted.items()
        if name not in existing
    )
    charge = session.get(ModelInCharge, retailer)
    if charge is None:
        session.add(ModelInCharge(retailer_id=retailer, model_id=model_id, since=now))
    elif charge.model_id != model_id:
        charge.model_id, charge.since = model_id, now
        # Before batches are locked, as a worker's write does.
        session.flush()
        batches.resume(session, retailer)
    if session.get(AutopilotState, (retailer, model_id)) is None:
        session.add(
            AutopilotState(
                retailer_id=retailer, model_id=model_id, state=Autopilot.PROVISIONAL, since=now
            )
        )
    session.flush()


def in_charge(session: Session, retailer: int) -> KnownModel:
    """The model in charge of a retailer, by primary key. Raises NotFoundError."""
    charge = session.get(ModelInCharge, retailer)
    if charge is None:
        raise NotFoundError(
            f"no model is in charge of retailer {retailer}; `atelier retailers add NAME --model "
            "NAME:VERSION` puts one in charge"
        )
    return get_model(session, charge.model_id)


def hold_in_charge(session: Session, retailer: int) -> int:
    """The key of the model in charge, which stays so until the commit. By primary key.

    Shared: those who only hold it do not wait for each other.
    """
    return session.execute(
        sa.select(ModelInCharge.model_id)
        .where(ModelInCharge.retailer_id == retailer)
        .with_for_update(read=True)
    ).scalar_one()


def autopilot(session: Session, retailer: int, model_id: int) -> Autopilot:
    """The autopilot's state, by primary key."""
    return session.execute(
        sa.select(AutopilotState.state).where(
            AutopilotState.retailer_id == retailer, AutopilotState.model_id == model_id
        )
    ).scalar_one()


def retailers(session: Session) -> list[RetailerLine]:
    """Every retailer, by name."""
    rows = session.execute(
        sa.select(Retailer, Model, AutopilotState.state)
        .outerjoin(ModelInCharge, ModelInCharge.retailer_id == Retailer.id)
        .outerjoin(Model, Model.id == ModelInCharge.model_id)
        .outerjoin(
            AutopilotState,
            sa.and_(AutopilotState.retailer_id == Retailer.id, AutopilotState.model_id == Model.id),
        )
        .order_by(Retailer.name)
    )
    return [
        RetailerLine(
            name=retailer.name,
            model=None if model is None else f"{model.name}:{model.version}",
            autopilot=state,
            rules=rules.in_force(session, retailer.id),
            created_at=retailer.created_at,
        )
        for retailer, model, state in rows.all()
    ]
