"""What administrators are told of the people who decide, and what they settle between them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from tagging.accounts import Visitor
from tagging.agreement import LEAST
from tagging.database import models
from tagging.database.opinions import Disagreement
from tagging.disagreements import disagreements, settle
from tagging.domain import Role
from tagging.people import report_on_people
from tagging.web.pages import render, visitor_or_none
from tagging.web.security import at_least, site_of
from tagging.web.site import Site

router = APIRouter()

Admin = Annotated[Visitor, Depends(at_least(Role.ADMIN))]
ADMINS = [Depends(at_least(Role.ADMIN))]


class Settled(BaseModel):
    """What a product is that people disagree on. `category`: null where it is not a product."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str = Field(max_length=36)
    sku: str = Field(max_length=500)
    category: str | None = Field(max_length=200)


@router.get("/people/{retailer}")
def people(request: Request, retailer: str) -> Response:
    """How far people agree, and how they answer what is known."""
    if visitor_or_none(request) is None:
        return RedirectResponse("/login", status_code=303)
    visitor = at_least(Role.ADMIN)(request)
    site = site_of(request)
    retailer_id = _retailer(site, retailer)
    page: HTMLResponse = render(
        request,
        "people.html",
        visitor,
        retailer=retailer,
        report=report_on_people(site.database, retailer_id),
        disagreements=disagreements(site.database, retailer_id),
        least=LEAST,
    )
    return page


@router.get("/api/{retailer}/disagreements", dependencies=ADMINS)
def listed(request: Request, retailer: str) -> dict[str, Any]:
    """What two people said differently of and nobody settled, oldest first."""
    site = site_of(request)
    found = disagreements(site.database, _retailer(site, retailer))
    return {"disagreements": [_line(one) for one in found]}


@router.post("/api/{retailer}/disagreements")
def settled(request: Request, visitor: Admin, retailer: str, said: Settled) -> dict[str, Any]:
    """Settle one; sent again it changes nothing."""
    site = site_of(request)
    done = settle(
        site.database,
        _retailer(site, retailer),
        said.sku,
        category=said.category,
        by=visitor.name,
        action=said.action,
        now=site.now(),
    )
    return {"review": done.review_id, "status": done.status, "category": done.category}


def _line(one: Disagreement) -> dict[str, Any]:
    return {
        "sku": one.sku,
        "title": one.title,
        "images": one.images,
        "suggestion": one.suggestion,
        "first": {"reviewer": one.first_reviewer, "category": one.first},
        "second": {"reviewer": one.second_reviewer, "category": one.second},
        "said_at": one.said_at.isoformat(),
    }


def _retailer(site: Site, name: str) -> int:
    with site.database.read() as session:
        return models.retailer_id(session, name)
