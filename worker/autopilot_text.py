"""What is said of an autopilot: its state, whose error is stated, and what the verdicts show."""

from __future__ import annotations

import shlex
from typing import Any

from rich.table import Table

from tagging.audit_report import AuditReport, Part, stated
from tagging.database.autopilots import Standing
from tagging.domain import Autopilot
from tagging.estimate import FEWEST, Estimate
from tagging.evidence import LEVEL
from worker import console


def autopilot_json(standing: Standing) -> dict[str, Any]:
    """The documented keys; rates are 0 to 1."""
    evidence, rate = standing.evidence, stated(standing)
    return {
        "retailer": standing.retailer,
        "model": standing.model.card.title,
        "autopilot": standing.state,
        "since": standing.since.isoformat(),
        "reason": standing.reason,
        "changed_by": standing.changed_by,
        "target_precision": standing.target,
        "rate_of": None if rate is None else rate.whose,
        "error_upper": None if rate is None else rate.error_upper,
        "audit": {
            "verdicts": evidence.verdicts,
            "errors": evidence.errors,
            "error_lower": evidence.lower,
            "error_upper": evidence.upper,
            "level": LEVEL,
            "waiting": standing.waiting,
            "error_free_verdicts_to_certify": standing.to_certify,
        },
    }


def autopilot_lines(standing: Standing) -> list[str]:
    """The same for people, as lines of markup; the first says the state."""
    title, retailer = standing.model.card.title, console.plain(standing.retailer)
    head = f"{retailer}: autopilot {standing.state}: {title} "
    if standing.state is Autopilot.OFF:
        head += "accepts nothing, everything goes to review"
    else:
        head += f"accepts at a target of {standing.target:.1%} right"
        if standing.rules.require_certificate and standing.state is Autopilot.PROVISIONAL:
            head = f"{retailer}: autopilot provisional: {title} accepts nothing until certified"
    lines = [head, *_rate_lines(standing), *_audit_lines(standing)]
    if standing.state is Autopilot.OFF:
        named = console.plain(shlex.quote(standing.retailer))
        lines.append(f"  when its cause is mended: `atelier autopilot on {named} --by NAME`")
    lines.append(f"  since {standing.since:%Y-%m-%d %H:%M} UTC")
    if standing.reason is not None:
        who = "" if standing.changed_by is None else f" ({console.plain(standing.changed_by)})"
        lines.append(f"    {console.plain(standing.reason)}{who}")
    return lines


def _rate_lines(standing: Standing) -> list[str]:
    """How many of the tags that are accepted are wrong at most, and whose tags that was seen on."""
    if standing.state is Autopilot.OFF:
        return ["  stated rate: none; what was tagged before stays tagged"]
    rate = stated(standing)
    if rate is None:
        return [
            "  stated rate: none yet; by this retailer's rules other tags are accepted than those",
            "    that the bundle's hold-out was asked about, so the audit must state it",
        ]
    if rate.own:
        return [
            f"  stated rate: at most {rate.error_upper:.2%} wrong ({LEVEL:.0%} confidence)",
            "    on this retailer's own products",
        ]
    if rate.accepted == 0:
        return [f"  stated rate: none; nothing was accepted of {rate.whose}"]
    return [
        f"  stated rate: at most {rate.error_upper:.2%} wrong (95% confidence)",
        f"    on {rate.whose} ({rate.errors:,} of "
        f"{rate.accepted:,}), not yet on this retailer's products",
    ]


def _audit_lines(standing: Standing) -> list[str]:
    evidence, waiting, more = standing.evidence, standing.waiting, standing.to_certify
    about = "  audit of this retailer's products"
    lines = [f"{about}: no verdict yet"]
    if evidence.verdicts:
        plural = "" if evidence.verdicts == 1 else "s"
        lines = [
            f"{about}: {evidence.errors:,} wrong of {evidence.verdicts:,} verdict{plural}",
            f"    so the error is {evidence.lower:.2%} to {evidence.upper:.2%} "
            f"({LEVEL:.0%} confidence at each end)",
        ]
    waits = f"  {waiting:,} wait{'s' if waiting == 1 else ''} for a person"
    if standing.state is Autopilot.PROVISIONAL:
        waits += f"; {more:,} more verdict{'' if more == 1 else 's'} without an error "
        waits += f"certif{'ies' if more == 1 else 'y'} it"
    return [*lines, waits]


def report_json(report: AuditReport) -> dict[str, Any]:
    """The documented keys of `atelier autopilot show`: the autopilot's, and the estimate."""
    return autopilot_json(report.standing) | {
        "estimate": {
            **_estimate_json(report.pooled),
            "since": None if report.since is None else report.since.isoformat(),
            "waiting": report.waiting,
            "audit_shares": report.shares,
            "unknown_shares": report.unknown_shares,
            "level": LEVEL,
            "by_category": [_part_json(part) for part in report.by_category],
            "by_week": [_part_json(part) for part in report.by_week],
        }
    }


def report_lines(report: AuditReport) -> list[str | Table]:
    """The estimate for people: what is said of it, and a table of its parts."""
    lines: list[str | Table] = []
    if report.pooled.weighted:
        shares = ", ".join(f"{share:.1%}" for share in report.shares)
        lines += [
            f"  tags were audited with different chances ({shares}); each verdict weighs as many",
            f"    tags as it stands for: {_bounds(report.pooled)}",
        ]
    if report.unknown_shares:
        lines.append(
            f"  of {report.unknown_shares:,} older verdicts the chance is not known; they weigh as "
            "the rarest"
        )
    if report.waiting:
        lines.append(
            "  what waits may be wrong more often than what was answered; answer all of it"
        )
    table = Table("accepted as, or in week", "verdicts", "wrong", "error", "wait", box=None)
    for part in (*report.by_category, *report.by_week):
        seen = part.estimate
        table.add_row(
            console.plain(part.name),
            f"{seen.verdicts:,}",
            f"{seen.errors:,}",
            _bounds(seen) if seen.stated else f"too few to state (under {FEWEST})",
            f"{part.waiting:,}",
        )
    if table.row_count:
        lines += [table, f"  each end of each row by itself with {LEVEL:.0%} confidence"]
    return lines


def _bounds(seen: Estimate) -> str:
    return f"{seen.error or 0:.2%} ({seen.lower:.2%} to {seen.upper:.2%})"


def _part_json(part: Part) -> dict[str, Any]:
    return {"name": part.name, **_estimate_json(part.estimate), "waiting": part.waiting}


def _estimate_json(seen: Estimate) -> dict[str, Any]:
    """Rates are 0 to 1; `stated`: whether the verdicts are enough to state an error."""
    return {
        "verdicts": seen.verdicts,
        "errors": seen.errors,
        "error": seen.error,
        "error_lower": seen.lower,
        "error_upper": seen.upper,
        "stated": seen.stated,
        "weighted": seen.weighted,
    }
