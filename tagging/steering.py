"""What a person decides of an autopilot: whether it may accept, and what must hold for a tag."""

from __future__ import annotations

import datetime as dt
from typing import Final

from tagging.answers import person
from tagging.autopilot import Next
from tagging.database import autopilots, models, priorities, reviews
from tagging.database import rules as versions
from tagging.database.models import retailer_id as find_retailer
from tagging.database.session import Database
from tagging.domain import Autopilot
from tagging.errors import ReviewError, StaleRulesError
from tagging.rules import RetailerRules, check_names, snapshot, told_apart, written

WHY_CHARS: Final = 500


def turn(
    database: Database, retailer: str, *, on: bool, by: str, now: dt.datetime, why: str = ""
) -> tuple[Autopilot, Autopilot]:
    """Turn a retailer's autopilot off, or on again; the states before and after.

    Turned on, it is provisional, and its evidence starts anew. Where it stands so already,
    nothing happens. `why`: what the person says of it, for the record.

    Raises:
        NotFoundError: no such retailer.
        ReviewError: `by` is no name, or `why` is too long or cannot be printed.
    """
    who = person(by)
    because = " ".join(why.split())
    if len(because) > WHY_CHARS or not because.isprintable():
        raise ReviewError(
            f"a reason has at most {WHY_CHARS} printable characters, got {len(because)}; say it in "
            "a sentence"
        )
    with database.write("autopilot.turn") as session:
        retailer_id = find_retailer(session, retailer)
        model = models.in_charge(session, retailer_id)
        row = autopilots.lock(session, retailer_id, model.id)
        before = row.state
        if on is not (before is Autopilot.OFF):
            return before, before
        to = Next(
            state=Autopilot.PROVISIONAL if on else Autopilot.OFF,
            reason=f"turned {'on' if on else 'off'} by a person"
            + (f": {because}" if because else ""),
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
    instead_of: int | None = None,
) -> RetailerRules:
    """Put other rules in force for what is tagged from now on; gives those that held before.

    Verdicts on what was accepted by other rules are no evidence on what is accepted from now on:
    the autopilot is provisional again (unless it is off, which it stays), and its evidence starts
    anew. Where only the audit's share, the second opinions' or the like change, it goes on. Where
    nothing changes, nothing happens, but that priorities whose renewal was cut off are renewed.

    Args:
        text: the rule file as a person wrote it, to be kept; made from `rules` where there is none.
        instead_of: number of the version that must still be in force, 0 for none; None for any.

    Raises:
        NotFoundError: no such retailer.
        RulesError: they name a category that the retailer does not have.
        StaleRulesError: another version than `instead_of` is in force.
        BundleError: the model in charge has no thresholds for a precision that they ask.
        ReviewError: `by` is no name.
    """
    who = person(by)
    retailer_id, before = _put_in_force(database, retailer, rules, text, who, instead_of, now=now)
    if rules.priority is not None or before.priority is not None:
        _renew_priorities(database, retailer_id)
    return before


def _put_in_force(
    database: Database,
    retailer: str,
    rules: RetailerRules,
    text: str | None,
    who: str,
    instead_of: int | None,
    *,
    now: dt.datetime,
) -> tuple[int, RetailerRules]:
    with database.write("rules.change") as session:
        retailer_id = find_retailer(session, retailer)
        model = models.in_charge(session, retailer_id)
        check_names(rules, reviews.taxonomy(session, retailer_id))
        snapshot(rules, model.card, Autopilot.PROVISIONAL)
        row = autopilots.lock(session, retailer_id, model.id)
        standing = versions.newest(session, retailer_id)
        if instead_of is not None and standing is not None and standing.number != instead_of:
            raise StaleRulesError(
                f"{standing.created_by} put version {standing.number} in force meanwhile; look at "
                "it, and put these in force again if they still hold"
            )
        before = RetailerRules() if standing is None else standing.rules
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
            with database.write("rules.priorities") as session:
                after = priorities.renew_page(
                    session, retailer_id, status, after=after, most=priorities.PAGE
                )
                session.commit()
