"""What a person decides of an autopilot: whether it may accept, and what must hold for a tag."""

from __future__ import annotations

import datetime as dt

from tagging.answers import person
from tagging.autopilot import Next
from tagging.database import autopilots, models, priorities, reviews
from tagging.database import rules as versions
from tagging.database.models import retailer_id as find_retailer
from tagging.database.session import Database
from tagging.domain import Autopilot
from tagging.rules import RetailerRules, check_names, snapshot, told_apart, written


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


def change_rules(
    database: Database,
    retailer: str,
    rules: RetailerRules,
    *,
    by: str,
    now: dt.datetime,
    text: str | None = None,
) -> RetailerRules:
    """Put other rules in force for what is tagged from now on; gives those that held before.

    Verdicts on what was accepted by other rules are no evidence on what is accepted from now on:
    the autopilot is provisional again (unless it is off, which it stays), and its evidence starts
    anew. Where only the audit's share, the second opinions' or the like change, it goes on. Where
    nothing changes, nothing happens, but that priorities whose renewal was cut off are renewed.

    Args:
        text: the rule file as a person wrote it, to be kept; made from `rules` where there is none.

    Raises:
        NotFoundError: no such retailer.
        RulesError: they name a category that the retailer does not have.
        BundleError: the model in charge has no thresholds for a precision that they ask.
        ReviewError: `by` is no name.
    """
    who = person(by)
    retailer_id, before = _put_in_force(database, retailer, rules, text, who, now=now)
    if rules.priority is not None or before.priority is not None:
        _renew_priorities(database, retailer_id)
    return before


def _put_in_force(
    database: Database,
    retailer: str,
    rules: RetailerRules,
    text: str | None,
    who: str,
    *,
    now: dt.datetime,
) -> tuple[int, RetailerRules]:
    with database.write() as session:
        retailer_id = find_retailer(session, retailer)
        model = models.in_charge(session, retailer_id)
        check_names(rules, reviews.taxonomy(session, retailer_id))
        snapshot(rules, model.card, Autopilot.PROVISIONAL)
        row = autopilots.lock(session, retailer_id, model.id)
        before = versions.in_force(session, retailer_id)
        if rules == before:
            return retailer_id, before
        number = versions.add(session, retailer_id, rules, text or written(rules), by=who, now=now)
        if row.state is not Autopilot.OFF and not rules.accepts_like(before):
            reason = f"rules {number}: {told_apart(before, rules)}"
            to = Next(state=Autopilot.PROVISIONAL, reason=reason)
            autopilots.move(session, row, to, changed_by=who, now=now)
        session.commit()
        return retailer_id, before


def _renew_priorities(database: Database, retailer_id: int) -> None:
    """In pages with a transaction each, so that no writer waits long."""
    for status in priorities.AHEAD:
        after: int | None = 0
        while after is not None:
            with database.write() as session:
                after = priorities.renew_page(
                    session, retailer_id, status, after=after, most=priorities.PAGE
                )
                session.commit()
