"""What a person decides of an autopilot: whether it may accept, and what must hold for a tag."""

from __future__ import annotations

import datetime as dt

from tagging.autopilot import Next
from tagging.database import autopilots, models
from tagging.database.models import retailer_id as find_retailer
from tagging.database.session import Database
from tagging.domain import Acceptance, Autopilot
from tagging.errors import ReviewError
from tagging.review import person


def turn(
    database: Database, retailer: str, *, on: bool, by: str, now: dt.datetime
) -> tuple[Autopilot, Autopilot]:
    """Turn a retailer's autopilot off, or on again; the states before and after.

    Turned on, it is provisional, and its evidence starts anew. Where it stands so already,
    nothing happens.

    Raises:
        NotFoundError: no such retailer.
        ReviewError: `by` is no name.
    """
    who = person(by)
    with database.write() as session:
        retailer_id = find_retailer(session, retailer)
        model = models.in_charge(session, retailer_id)
        row = autopilots.lock(session, retailer_id, model.id)
        before = row.state
        if on is not (before is Autopilot.OFF):
            return before, before
        to = Next(
            state=Autopilot.PROVISIONAL if on else Autopilot.OFF,
            reason=f"turned {'on' if on else 'off'} by a person",
        )
        autopilots.move(session, row, to, changed_by=who, now=now)
        session.commit()
        return before, to.state


def ask(
    database: Database, retailer: str, wanted: Acceptance, *, by: str, now: dt.datetime
) -> Acceptance:
    """Change what a retailer asks of accepted tags; gives what held before.

    Verdicts on what was accepted by other thresholds are no evidence on what is accepted from now
    on: the autopilot is provisional again (unless it is off, which it stays), and its evidence
    starts anew. Where nothing changes, nothing happens.

    Raises:
        NotFoundError: no such retailer.
        BundleError: the model in charge has no thresholds for that precision.
        ReviewError: `by` is no name, or the precision does not lie between 0 and 1.
    """
    who = person(by)
    target = wanted.target_precision
    if target is not None and not 0 < target < 1:
        raise ReviewError(f"a target precision lies between 0 and 1, got {target}; 0.99 is usual")
    with database.write() as session:
        retailer_id = find_retailer(session, retailer)
        model = models.in_charge(session, retailer_id)
        model.card.at(target)
        row = autopilots.lock(session, retailer_id, model.id)
        before = models.acceptance(session, retailer_id)
        if wanted == before:
            return before
        models.set_acceptance(session, retailer_id, wanted)
        if row.state is not Autopilot.OFF:
            to = Next(state=Autopilot.PROVISIONAL, reason=_asked(before, wanted))
            autopilots.move(session, row, to, changed_by=who, now=now)
        session.commit()
        return before


def _asked(before: Acceptance, wanted: Acceptance) -> str:
    told = []
    if wanted.target_precision != before.target_precision:
        was, now = (
            "the model's own" if target is None else f"{target:.2%}"
            for target in (before.target_precision, wanted.target_precision)
        )
        told.append(f"the target went from {was} to {now}")
    if wanted.accept_parent != before.accept_parent:
        told.append(f"parent categories are {'' if wanted.accept_parent else 'no longer '}accepted")
    return " and ".join(told)
