"""What is said of an autopilot: its state, whose error is stated, and what the verdicts show."""

from __future__ import annotations

import shlex
from typing import Any

from tagging.database.autopilots import Standing
from tagging.domain import Autopilot
from tagging.evidence import LEVEL
from tagging.model_card import StatedRate
from worker import console


def _whose(standing: Standing) -> str | None:
    """Whose error the stated rate is; None where none is stated."""
    if standing.state is Autopilot.CERTIFIED:
        return "this retailer's products"
    if standing.state is Autopilot.OFF or not standing.rules.accepts_as_measured:
        return None
    return standing.model.card.at(standing.target).whose


def autopilot_json(standing: Standing) -> dict[str, Any]:
    """The documented keys; rates are 0 to 1."""
    evidence = standing.evidence
    return {
        "retailer": standing.retailer,
        "model": standing.model.card.title,
        "autopilot": standing.state,
        "since": standing.since.isoformat(),
        "reason": standing.reason,
        "changed_by": standing.changed_by,
        "target_precision": standing.target,
        "rate_of": _whose(standing),
        "error_upper": _stated(standing),
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
    if standing.state is Autopilot.CERTIFIED:
        return [
            f"  stated rate: at most {standing.evidence.upper:.2%} wrong ({LEVEL:.0%} confidence)",
            "    on this retailer's own products",
        ]
    if not standing.rules.accepts_as_measured:
        return [
            "  stated rate: none yet; by this retailer's rules other tags are accepted than those",
            "    that the bundle's hold-out was asked about, so the audit must state it",
        ]
    stated = _holdout(standing)
    if stated.accepted == 0:
        return [f"  stated rate: none; nothing was accepted of {_whose(standing)}"]
    return [
        f"  stated rate: at most {stated.error_upper:.2%} wrong (95% confidence)",
        f"    on {_whose(standing)} ({stated.errors:,} of "
        f"{stated.accepted:,}), not yet on this retailer's products",
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


def _holdout(standing: Standing) -> StatedRate:
    spec = standing.model.card.at(standing.target)
    return spec.stated(accept_parent=standing.rules.accept_parent)


def _stated(standing: Standing) -> float | None:
    """The bound of the error that is promised at this state."""
    if standing.state is Autopilot.CERTIFIED:
        return standing.evidence.upper
    if standing.state is Autopilot.PROVISIONAL and standing.rules.accepts_as_measured:
        return _holdout(standing).error_upper
    return None
