"""Whether this process can answer: for proxies and supervisors, without a log-in."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError

from tagging.database import schema
from tagging.web.security import site_of

router = APIRouter()


@router.get("/health")
def health(request: Request) -> dict[str, str]:
    """`ok` when the database answers; 503 when it does not. Says nothing else to anybody."""
    try:
        schema.current(site_of(request).database)
    except SQLAlchemyError as error:
        raise HTTPException(503, "the database does not answer") from error
    return {"status": "ok"}
