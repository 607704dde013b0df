"""Every query on the table of images as a list of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.session import Database
from tagging.database.tables import Image

PAGE = 1000
"""Rows per read transaction: on SQLite a longer one would hold up the writers."""


@dataclass(frozen=True, kw_only=True)
class NamedImage:
    """An image that the database names: its sha256 (hex) and length in bytes."""

    sha256: str
    size_bytes: int


def totals(session: Session) -> tuple[int, int]:
    """(images, bytes of all of them); one scan of a narrow table."""
    row = session.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(Image.size_bytes), 0))
    ).one()
    return int(row[0]), int(row[1])


def in_order(
    database: Database, *, on_page: Callable[[int], None] = lambda _: None
) -> Iterator[NamedImage]:
    """All images by sha256: keyset pages of the primary key, a read transaction each."""
    after = ""
    while True:
        with database.read() as session:
            page = session.execute(
                sa.select(Image.sha256, Image.size_bytes)
                .where(Image.sha256 > after)
                .order_by(Image.sha256)
                .limit(PAGE)
            ).all()
        for row in page:
            yield NamedImage(sha256=row.sha256, size_bytes=row.size_bytes)
        on_page(len(page))
        if len(page) < PAGE:
            return
        after = page[-1].sha256


def is_named(session: Session, sha256: str) -> bool:
    """Whether the database has this image, by primary key."""
    return session.get(Image, sha256) is not None
