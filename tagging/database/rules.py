"""Every query on the retailers' rules: which are in force, and every version of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.tables import RuleVersion
from tagging.rules import RetailerRules, told_apart


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a retailer's rules. `text`: as a person wrote it."""

    number: int
    rules: RetailerRules
    text: str
    created_by: str
    created_at: dt.datetime


def in_force(session: Session, retailer_id: int) -> RetailerRules:
    """The rules of a retailer; the usual ones where nobody wrote any. By the unique index."""
    version = newest(session, retailer_id)
    return RetailerRules() if version is None else version.rules


def newest(session: Session, retailer_id: int) -> Version | None:
    """The version in force; None where nobody wrote any. By the unique index."""
    return next(iter(_versions(session, retailer_id, most=1)), None)


def history(session: Session, retailer_id: int, *, most: int) -> list[Version]:
    """The newest versions, the one in force first. By the unique index."""
    return _versions(session, retailer_id, most=most)


def changes(session: Session, retailer_id: int, *, most: int) -> list[tuple[Version, str]]:
    """The same, each with what it changed, in a sentence; the first ever, of what is usual."""
    found = _versions(session, retailer_id, most=most + 1)
    before = [*(one.rules for one in found[1:]), RetailerRules()]
    # Where there is none, there is still what is usual.
    return [(one, told_apart(was, one.rules)) for one, was in zip(found, before, strict=False)][
        :most
    ]


def add(
    session: Session,
    retailer_id: int,
    rules: RetailerRules,
    text: str,
    *,
    by: str,
    now: dt.datetime,
) -> int:
    """Put rules in force as a new version; its number. The retailer's autopilot must be locked."""
    last = newest(session, retailer_id)
    number = 1 if last is None else last.number + 1
    session.add(
        RuleVersion(
            retailer_id=retailer_id,
            number=number,
            text=text,
            rules=rules.model_dump(mode="json"),
            created_by=by,
            created_at=now,
        )
    )
    session.flush()
    return number


def _versions(session: Session, retailer_id: int, *, most: int) -> list[Version]:
    rows = session.scalars(
        sa.select(RuleVersion)
        .where(RuleVersion.retailer_id == retailer_id)
        .order_by(RuleVersion.number.desc())
        .limit(most)
    )
    return [
        Version(
            number=row.number,
            rules=RetailerRules.model_validate(row.rules),
            text=row.text,
            created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows
    ]
