"""What administrators are told of the people who decide, and what they settle between them."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagging.accounts import Visitor
from tagging.agreement import LEAST
from tagging.database import models, reviews
from tagging.disagreements import MOST_LISTED, disagreements, settle
from tagging.domain import Role
from tagging.errors import ReviewError
from tagging.people import report_on_people
from tagging.web.pages import render, to_login, visitor_or_none
from tagging.web.security import at_least, form_visitor, site_of

router = APIRouter()


@router.get("/people/{retailer}")
def people(request: Request, retailer: str, said: Literal["settled"] | None = None) -> Response:
    """How far people agree, how they answer what is known, and what nobody settled yet."""
    if visitor_or_none(request) is None:
        return to_login(request)
    return _page(request, at_least(Role.ADMIN)(request), retailer, said=said)


@router.post("/people/{retailer}")
def decide(
    request: Request,
    retailer: str,
    sku: Annotated[str, Form(max_length=500)],
    about: Annotated[int, Form(ge=1, lt=1 << 63)],
    action: Annotated[str, Form(max_length=36)],
    category: Annotated[str, Form(max_length=200)] = "",
    no_product: Annotated[bool, Form()] = False,
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Settle one disagreement; sent again it changes nothing.

    `about`: the decision that was on the page. `category`: what the product is, unless it is
    `no_product`.
    """
    visitor = form_visitor(request, Role.ADMIN, csrf)
    site = site_of(request)
    with site.database.read() as session:
        retailer_id = models.retailer_id(session, retailer)
    if not (category.strip() or no_product):
        return _page(request, visitor, retailer, unsaid=sku, status=422)
    try:
        settle(
            site.database,
            retailer_id,
            sku,
            category=None if no_product else category.strip(),
            by=visitor.name,
            action=action,
            about=about,
            now=site.now(),
        )
    except ReviewError as error:
        return _page(request, visitor, retailer, error=str(error), status=422)
    return RedirectResponse(f"/people/{quote(retailer, safe='')}?said=settled", status_code=303)


def _page(request: Request, visitor: Visitor, retailer: str, **values: Any) -> HTMLResponse:
    site = site_of(request)
    with site.database.read() as session:
        retailer_id = models.retailer_id(session, retailer)
        taxonomy = reviews.taxonomy(session, retailer_id)
    found = disagreements(site.database, retailer_id)
    return render(
        request,
        "people.html",
        visitor,
        retailer=retailer,
        report=report_on_people(site.database, retailer_id),
        # Each with the name of the act that settles it: a form sent twice settles once.
        disagreements=[(one, str(uuid.uuid4())) for one in found],
        most=MOST_LISTED,
        categories=taxonomy.leaves,
        least=LEAST,
        **values,
    )
