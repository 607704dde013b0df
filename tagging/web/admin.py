"""The pages for administrators: a retailer's rules and its autopilot. Who may look, may read them.

Forms are plain ones, which work without a script; each names its session's CSRF token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagging.accounts import Visitor
from tagging.audit_report import AuditReport, Part, audit_report, stated
from tagging.database import autopilots, models
from tagging.database import rules as versions
from tagging.domain import Autopilot, Role
from tagging.errors import (
    AtelierError,
    BundleError,
    Problem,
    ReviewError,
    RulesError,
    StaleRulesError,
)
from tagging.estimate import FEWEST
from tagging.evidence import LEVEL
from tagging.rules import MOST_CHARS, lines_of, parse_rules, told_singly
from tagging.rules_trial import MOST_PRODUCTS, Trial, try_rules
from tagging.steering import change_rules, turn
from tagging.web.pages import render
from tagging.web.security import form_visitor, page_visitor, site_of

router = APIRouter()

MOST_VERSIONS: Final = 50
MOST_CHANGES: Final = 50
FEWEST_ROWS: Final = 8
MOST_ROWS: Final = 40

Text = Annotated[str, Form(max_length=2 * MOST_CHARS)]
Csrf = Annotated[str, Form(max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where an interval is drawn, in per cent of the width: from, to, the estimate."""

    start: float
    end: float
    at: float


@router.get("/rules/{retailer}")
def rules(
    request: Request,
    retailer: str,
    use: Annotated[int | None, Query(ge=1)] = None,
    said: Literal["in_force", "same"] | None = None,
) -> HTMLResponse:
    """The rules in force and every version. `use`: the version whose text stands in the field."""
    visitor = page_visitor(request)
    return _rules_page(request, visitor, retailer, use=use, said=said)


@router.get("/rules/{retailer}/try")
def tried(request: Request, retailer: str) -> Response:
    """Who comes back to a trial without its form, as by another language, starts anew."""
    page_visitor(request)
    return RedirectResponse(f"/rules/{quote(retailer, safe='')}", status_code=303)


@router.post("/rules/{retailer}/try")
def attempt(request: Request, retailer: str, text: Text = "", csrf: Csrf = "") -> HTMLResponse:
    """Decide again on the newest products by these rules; writes nothing."""
    visitor = form_visitor(request, Role.ADMIN, csrf)
    site, text = site_of(request), _lines(text)
    try:
        asked = parse_rules(text)
        with site.database.read() as session:
            retailer_id = models.retailer_id(session, retailer)
        trial = try_rules(
            site.database,
            retailer_id,
            asked,
            preprocessing_version=site.preprocessing_version,
        )
    except (RulesError, BundleError) as error:
        return _refused(request, visitor, retailer, text, error)
    return _rules_page(request, visitor, retailer, text=text, trial=trial)


@router.post("/rules/{retailer}")
def put_in_force(
    request: Request,
    retailer: str,
    text: Text = "",
    csrf: Csrf = "",
    version: Annotated[int, Form(ge=0)] = 0,
    confirmed: Annotated[int | None, Form()] = None,
) -> Response:
    """Put these rules in force, unless another version than `version` is by now.

    `confirmed`: the number that they are to have.
    """
    visitor = form_visitor(request, Role.ADMIN, csrf)
    site, text = site_of(request), _lines(text)
    if confirmed != version + 1:
        return _rules_page(request, visitor, retailer, text=text, unticked=True, status=422)
    try:
        asked = parse_rules(text)
        before = change_rules(
            site.database,
            retailer,
            asked,
            by=visitor.name,
            now=site.now(),
            text=text,
            instead_of=version,
        )
    except (RulesError, BundleError) as error:
        return _refused(request, visitor, retailer, text, error)
    said = "same" if asked == before else "in_force"
    return RedirectResponse(f"/rules/{quote(retailer, safe='')}?said={said}", status_code=303)


@router.get("/autopilot/{retailer}")
def autopilot(request: Request, retailer: str) -> HTMLResponse:
    """Where the autopilot stands, what the audit says, and every move."""
    return _autopilot_page(request, page_visitor(request), retailer)


@router.post("/autopilot/{retailer}")
def switch(
    request: Request,
    retailer: str,
    to: Annotated[Literal["on", "off"], Form()],
    why: Annotated[str, Form(max_length=2000)] = "",
    csrf: Csrf = "",
) -> Response:
    """Turn the autopilot on again, or off; who did it and why stands on record."""
    visitor = form_visitor(request, Role.ADMIN, csrf)
    site = site_of(request)
    if not why.strip():
        return _autopilot_page(request, visitor, retailer, unsaid=True, status=422)
    try:
        turn(site.database, retailer, on=to == "on", by=visitor.name, now=site.now(), why=why)
    except ReviewError as error:
        told = str(error)
        return _autopilot_page(request, visitor, retailer, error=told, why=why, status=422)
    return RedirectResponse(f"/autopilot/{quote(retailer, safe='')}", status_code=303)


def _rules_page(
    request: Request,
    visitor: Visitor,
    retailer: str,
    *,
    text: str | None = None,
    use: int | None = None,
    trial: Trial | None = None,
    problems: Sequence[Problem] = (),
    **values: Any,
) -> HTMLResponse:
    with site_of(request).database.read() as session:
        retailer_id = models.retailer_id(session, retailer)
        history = versions.changes(session, retailer_id, most=MOST_VERSIONS)
    kept = {one.number: one.text for one, _ in history}
    standing = history[0][0] if history else None
    if text is None:
        text = kept.get(use or 0, "" if standing is None else standing.text)
    return render(
        request,
        "rules.html",
        visitor,
        retailer=retailer,
        standing=standing,
        number=0 if standing is None else standing.number,
        text=text,
        rows=min(max(FEWEST_ROWS, len(text.splitlines()) + 1), MOST_ROWS),
        used=use if use in kept else None,
        trial=trial,
        most=MOST_PRODUCTS,
        reasons=_reasons(trial),
        problems=problems,
        history=[(one, told_singly(changed)) for one, changed in history],
        **values,
    )


def _refused(
    request: Request, visitor: Visitor, retailer: str, text: str, error: AtelierError
) -> HTMLResponse:
    """The page again, with what was written and what is wrong with it."""
    stale = isinstance(error, StaleRulesError)
    problems = error.problems if isinstance(error, RulesError) else (Problem(said=str(error)),)
    lost = [one for one in problems if one.place and one.line is None]
    lines = lines_of(text, [one.place for one in lost]) if lost else []
    found = [one for one in problems if one not in lost]
    found += [dataclasses.replace(one, line=line) for one, line in zip(lost, lines, strict=True)]
    return _rules_page(
        request,
        visitor,
        retailer,
        text=text,
        problems=sorted(found, key=lambda one: one.line or 0),
        stale=stale,
        status=409 if stale else 422,
    )


def _reasons(trial: Trial | None) -> list[tuple[str, int, int]]:
    """Why products wait: by the rules in force, by those that are tried; the most first."""
    if trial is None:
        return []
    now, tried = trial.now.by_reason, trial.tried.by_reason
    return sorted(
        ((reason, now[reason], tried[reason]) for reason in {*now, *tried}),
        key=lambda one: (-one[2], one[0]),
    )


def _autopilot_page(
    request: Request, visitor: Visitor, retailer: str, **values: Any
) -> HTMLResponse:
    site = site_of(request)
    report = audit_report(site.database, retailer)
    with site.database.read() as session:
        retailer_id = models.retailer_id(session, retailer)
        moves = autopilots.changes(session, retailer_id, most=MOST_CHANGES)
    scale = _scale(report)
    return render(
        request,
        "autopilot.html",
        visitor,
        retailer=retailer,
        report=report,
        standing=report.standing,
        is_off=report.standing.state is Autopilot.OFF,
        stated=stated(report.standing),
        allowed=1 - report.standing.target,
        allowed_at=100 * (1 - report.standing.target) / scale,
        by_week=_drawn(report.by_week, scale),
        by_category=_drawn(report.by_category, scale),
        fewest=FEWEST,
        level=LEVEL,
        moves=moves,
        **values,
    )


def _scale(report: AuditReport) -> float:
    """The error at the right end of all drawn intervals: three times the one allowed, or more."""
    parts = (*report.by_week, *report.by_category)
    widest = max((one.estimate.upper for one in parts if one.estimate.stated), default=0.0)
    return min(1.0, max(3 * (1 - report.standing.target), widest))


def _drawn(parts: list[Part], scale: float) -> list[tuple[Part, Interval | None]]:
    """Every part with its interval; None where the verdicts are too few."""
    return [
        (
            one,
            Interval(
                start=100 * one.estimate.lower / scale,
                end=100 * min(1.0, one.estimate.upper / scale),
                at=100 * (one.estimate.error or 0.0) / scale,
            )
            if one.estimate.stated
            else None,
        )
        for one in parts
    ]


def _lines(text: str) -> str:
    """A form's text with the line ends of a file."""
    return text.replace("\r\n", "\n")
