"""audit_report: what the audit says of a retailer's accepted tags, pooled, by category and by week.

Of the model in charge and its present stretch: since a person last turned the autopilot on or
changed what it accepts. A week is the ISO week (UTC) in which the tags were accepted, not the one
in which people looked: it is then a week of what went out, and a late verdict completes it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from tagging.database import autopilots, models
from tagging.database.autopilots import Judged, Standing
from tagging.database.session import Database
from tagging.domain import Autopilot
from tagging.estimate import Estimate, estimate, tally


@dataclass(frozen=True, kw_only=True)
class Part:
    """The audit of one category or week. `waiting`: audited tags without a verdict."""

    name: str
    estimate: Estimate
    waiting: int


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What the audit says.

    `since`: when the stretch began, None where it never began anew. `waiting`: audited tags without
    a verdict; who leaves the hard ones makes the error look smaller than it is. `by_category`: by
    name. `by_week`: as 2026-W07, the newest first. `shares`: with which the audited tags were
    drawn, the smallest first. `unknown_shares`: of how many verdicts an older version did not say.
    """

    standing: Standing
    since: dt.datetime | None
    pooled: Estimate
    waiting: int
    by_category: list[Part]
    by_week: list[Part]
    shares: list[float]
    unknown_shares: int


@dataclass(frozen=True, kw_only=True)
class Stated:
    """The rate that is promised. `error_upper`: 0 to 1, with 95 % confidence.

    `own`: measured on this retailer's products; else on `whose`, where `errors` of `accepted` were
    wrong.
    """

    error_upper: float
    own: bool
    whose: str
    errors: int
    accepted: int


def audit_report(database: Database, retailer: str) -> AuditReport:
    """See the module's text.

    Raises:
        NotFoundError: no such retailer, or no model is in charge of it.
    """
    with database.read() as session:
        retailer_id = models.retailer_id(session, retailer)
        model = models.in_charge(session, retailer_id)
        (standing,) = autopilots.standings(session, retailer=retailer)
        judged = autopilots.judged(session, retailer_id, model.id)
        awaited = autopilots.awaited_tags(session, retailer_id, model.id)
        since = autopilots.stretch(session, retailer_id, model.id).since
    by_category: Counter[str] = Counter()
    by_week: Counter[str] = Counter()
    for category, at, count in awaited:
        by_category[category or ""] += count
        by_week["" if at is None else week(at)] += count
    target = standing.target
    return AuditReport(
        standing=standing,
        since=since,
        pooled=_estimate(judged, target),
        waiting=standing.waiting,
        by_category=_parts(judged, by_category, lambda one: one.accepted, target),
        by_week=_parts(judged, by_week, lambda one: week(one.accepted_at), target)[::-1],
        shares=sorted({one.share for one in judged if one.share is not None}),
        unknown_shares=sum(one.share is None for one in judged),
    )


def stated(standing: Standing) -> Stated | None:
    """The rate that is promised in this state, and whose error it is; None where none is."""
    if standing.state is Autopilot.OFF:
        return None
    if standing.state is Autopilot.CERTIFIED:
        seen = standing.evidence
        return Stated(
            error_upper=seen.upper,
            own=True,
            whose="this retailer's products",
            errors=seen.errors,
            accepted=seen.verdicts,
        )
    if not standing.rules.accepts_as_measured:
        return None
    spec = standing.model.card.at(standing.target)
    rate = spec.stated(accept_parent=standing.rules.accept_parent)
    return Stated(
        error_upper=rate.error_upper,
        own=False,
        whose=spec.whose,
        errors=rate.errors,
        accepted=rate.accepted,
    )


def week(at: dt.datetime) -> str:
    """The ISO week of a moment, in UTC: 2026-W07."""
    year, number, _ = at.astimezone(dt.UTC).isocalendar()
    return f"{year}-W{number:02}"


def _parts(
    judged: list[Judged], waiting: Counter[str], of: Callable[[Judged], str], target: float
) -> list[Part]:
    sorted_out: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        sorted_out[of(one)].append(one)
    return [
        Part(name=name, estimate=_estimate(sorted_out[name], target), waiting=waiting[name])
        for name in sorted({*sorted_out, *waiting})
    ]


def _estimate(judged: list[Judged], target: float) -> Estimate:
    return estimate(tally((one.share, one.wrong) for one in judged), target)
