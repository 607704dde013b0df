"""The requests that the review page makes."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Any, Self

import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tagging import desk
from tagging.accounts import Visitor
from tagging.answers import Answer, Opined, Recorded
from tagging.database import models, opinions, products, reviews
from tagging.database.desk import Order, Waiting
from tagging.desk import MOST_CARDS, Wish
from tagging.domain import Purpose, Role, Verdict
from tagging.errors import AtelierError, NotFoundError, ReviewError
from tagging.review import record_reviews
from tagging.undo import take_back
from tagging.web.previews import EDGES, PreviewFailed
from tagging.web.security import at_least, require_recent_viewer, site_of
from tagging.web.site import Site

router = APIRouter()

Reviewer = Annotated[Visitor, Depends(at_least(Role.REVIEWER))]
VIEWERS = [Depends(at_least(Role.VIEWER))]
REVIEWERS = [Depends(at_least(Role.REVIEWER))]

SKU_CHARS = 500
PICTURED = 8
"""Products of each act that are shown to who looks back at what they said."""

MOST_KNOWN = 300
"""Products that a page may say it knows of: it fits into an address that proxies pass on."""

Key = Annotated[int, Field(ge=1, lt=1 << 63)]
"""Of a row."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Body):
    """One answer, about the photos and the prediction that were seen."""

    sku: str = Field(max_length=SKU_CHARS)
    image_set: str = Field(max_length=64)
    prediction: Key | None = None
    verdict: Verdict
    category: str | None = Field(default=None, max_length=200)
    purpose: Purpose = Purpose.DECIDE


class Act(_Body):
    """What was said at once. `action`: a UUID of the page's."""

    action: str = Field(max_length=36)
    answers: list[Said] = Field(min_length=1, max_length=MOST_CARDS)


class Undo(_Body):
    """What to take back: all that was said in the act `of`, or single `reviews`."""

    action: str = Field(max_length=36)
    of: str | None = Field(default=None, max_length=36)
    reviews: list[Key] = Field(default=[], max_length=MOST_CARDS)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.of is None) == (not self.reviews):
            raise ValueError("name the act to take back in `of`, or single `reviews`")
        return self


class Held(_Body):
    """Products that a person has before them."""

    products: list[Key] = Field(max_length=MOST_CARDS)


@router.get("/api/{retailer}/cards")
def cards(
    request: Request,
    visitor: Reviewer,
    retailer: str,
    count: Annotated[int, Query(ge=1, le=MOST_CARDS)] = 5,
    order: Order = Order.CHEAPEST,
    audit: bool = False,
    suggestion: str | None = None,
    have: Annotated[list[Key] | None, Query(max_length=MOST_KNOWN)] = None,
) -> dict[str, Any]:
    """The next products for this person, reserved for them."""
    site = site_of(request)
    wish = Wish(count=count, order=order, audit=audit, suggestion=suggestion, but=have or ())
    found = desk.take(site.database, _retailer(site, retailer), visitor.name, wish, now=site.now())
    return {"cards": [_card(one) for one in found], "reserved_s": desk.RESERVED_S}


@router.get("/api/{retailer}/grid")
def grid(
    request: Request,
    visitor: Reviewer,
    retailer: str,
    count: Annotated[int, Query(ge=1, le=MOST_CARDS)] = 48,
    order: Order = Order.CHEAPEST,
    audit: bool = False,
    suggestion: str | None = None,
    have: Annotated[list[Key] | None, Query(max_length=MOST_KNOWN)] = None,
) -> Response:
    """Products that look alike and have one suggestion, reserved for this person, with their
    photos as far as they were made before: a browser takes longer for each that it asks for.
    """
    site = site_of(request)
    wish = Wish(count=count, order=order, audit=audit, suggestion=suggestion, but=have or ())
    found = desk.take_alike(
        site.database, _retailer(site, retailer), visitor.name, wish, now=site.now()
    )
    shown = [{**_card(one), "thumb": _thumb(site, one)} for one in found]
    # Plain JSON values already: of 48 cards, looking for others takes a fifth of the time.
    return JSONResponse({"cards": shown, "reserved_s": desk.RESERVED_S})


@router.get("/api/{retailer}/neighbours", dependencies=VIEWERS)
def neighbours(request: Request, retailer: str, product: Key) -> dict[str, Any]:
    """Products in force in the category that is suggested for this one, to compare it with."""
    site = site_of(request)
    found = desk.neighbours(site.database, _retailer(site, retailer), product)
    return {
        "neighbours": [
            {"sku": one.sku, "title": one.title, "category": one.category, "image": one.image}
            for one in found
        ]
    }


@router.get("/api/{retailer}/cards/{product}")
def card(request: Request, visitor: Reviewer, retailer: str, product: Key) -> dict[str, Any]:
    """One product again, as it is now, reserved for this person; null where nobody may decide on
    it now or somebody else has it.
    """
    site = site_of(request)
    retailer_id = _retailer(site, retailer)
    found = desk.take_again(site.database, retailer_id, visitor.name, product, now=site.now())
    return {"card": None if found is None else _card(found)}


@router.get("/api/{retailer}/counts", dependencies=VIEWERS)
def counts(request: Request, retailer: str) -> dict[str, Any]:
    """How many products wait, and why."""
    site = site_of(request)
    return site.counts.of(_retailer(site, retailer))


@router.get("/api/{retailer}/categories", dependencies=VIEWERS)
def categories(request: Request, retailer: str) -> dict[str, Any]:
    """The retailer's taxonomy: every name with its parent."""
    site = site_of(request)
    with site.database.read() as session:
        taxonomy = reviews.taxonomy(session, models.retailer_id(session, retailer))
    return {
        "categories": [
            {"name": name, "parent": taxonomy.parents.get(name)} for name in taxonomy.leaves
        ]
    }


@router.post("/api/{retailer}/reviews")
def review(request: Request, visitor: Reviewer, retailer: str, act: Act) -> dict[str, Any]:
    """Record an act; safe on the server when this answers, and sent again it changes nothing."""
    site = site_of(request)
    retailer_id = _retailer(site, retailer)
    answers = [
        Answer(
            retailer_id=retailer_id,
            sku=said.sku,
            image_set=said.image_set,
            prediction_id=said.prediction,
            verdict=said.verdict,
            category=said.category,
            purpose=said.purpose,
            reviewer=visitor.name,
        )
        for said in act.answers
    ]
    outcomes = record_reviews(site.database, answers, action=act.action, now=site.now())
    return {"outcomes": [_outcome(one) for one in outcomes]}


@router.post("/api/{retailer}/undo")
def undo(request: Request, visitor: Reviewer, retailer: str, undo: Undo) -> dict[str, Any]:
    """Take reviews back: one's own, or for an administrator anybody's."""
    site = site_of(request)
    retailer_id = _retailer(site, retailer)
    taken_back, opined, about = undo.reviews, list[int](), list[int]()
    if undo.of is not None:
        with site.database.read() as session:
            said = reviews.of_action(session, undo.of)
            beside = opinions.of_action(session, undo.of)
        taken_back = [one.id for one in said.values()]
        opined = [one.id for one in beside.values()]
        about = [*said, *beside]
    outcomes = take_back(
        site.database,
        taken_back,
        by=visitor.name,
        action=undo.action,
        now=site.now(),
        of_others=visitor.role.may(Role.ADMIN),
        retailer_id=retailer_id,
        opinion_ids=opined,
    )
    # It comes back before the person who took it back.
    undone = [
        product
        for product, outcome in zip(about, outcomes, strict=False)
        if not isinstance(outcome, AtelierError)
    ]
    desk.hand_back(site.database, visitor.name, undone, now=site.now())
    return {"outcomes": [_outcome(one) for one in outcomes]}


@router.get("/api/{retailer}/acts")
def acts(request: Request, visitor: Reviewer, retailer: str) -> dict[str, Any]:
    """What this person said last and can take back, the newest first."""
    site = site_of(request)
    found = desk.said_by(site.database, _retailer(site, retailer), visitor.name)
    return {
        "acts": [
            {
                "action": act.action,
                "at": act.at.isoformat(),
                "products": [one.product_id for one in act.said],
                "said": [
                    {
                        "sku": one.sku,
                        "title": one.title,
                        "verdict": one.verdict,
                        "category": one.category,
                        "image": one.image,
                    }
                    for one in act.said[:PICTURED]
                ],
            }
            for act in found
        ]
    }


@router.post("/api/keep")
def keep(request: Request, visitor: Reviewer, held: Held) -> dict[str, Any]:
    """Go on holding what is on the screen; answers with what is still this person's."""
    site = site_of(request)
    kept = desk.keep(site.database, visitor.name, held.products, now=site.now())
    return {"products": sorted(kept)}


@router.post("/api/leave")
def leave(request: Request, visitor: Reviewer, held: Held) -> dict[str, Any]:
    """Give back what was not decided on."""
    desk.leave(site_of(request).database, visitor.name, held.products)
    return {}


@router.get("/photos/{size}/{sha256}.webp")
async def photo(request: Request, size: str, sha256: str) -> Response:
    """A photo, made anew. Its name is its content's, so browsers may keep it for ever."""
    threads = site_of(request).photo_threads
    return await anyio.to_thread.run_sync(_photo, request, size, sha256, limiter=threads)


def _photo(request: Request, size: str, sha256: str) -> Response:
    # Here and not as a dependency, for which each photo of a grid would change threads twice.
    require_recent_viewer(request)
    if size not in EDGES or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise HTTPException(404, "there is no such photo")
    site = site_of(request)
    try:
        content = site.previews.made(sha256, size)
        if content is None:
            with site.database.read() as session:
                known = products.image_exists(session, sha256)
            if not known:
                raise HTTPException(404, "there is no such photo")
            content = site.previews.make(sha256, size)
    except PreviewFailed as error:
        raise HTTPException(404, str(error)) from error
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    # Not a FileResponse: for some kilobytes its way through other threads takes a millisecond.
    return Response(content, media_type="image/webp", headers=headers)


def _retailer(site: Site, name: str) -> int:
    with site.database.read() as session:
        return models.retailer_id(session, name)


def _card(one: Waiting) -> dict[str, Any]:
    return {
        "product": one.product_id,
        "sku": one.sku,
        "title": one.title,
        "attributes": one.attributes,
        "status": one.status,
        "category": one.category,
        "suggestion": one.suggestion,
        "confidence": one.confidence,
        "reason": one.reason,
        "audit": one.audit,
        "images": one.images,
        "image_set": one.image_set,
        "prediction": one.prediction_id,
        "top_k": one.top_k,
        "disagreeing": one.disagreeing,
        "failure": one.failure,
        "purpose": one.purpose,
    }


def _thumb(site: Site, one: Waiting) -> str | None:
    """The first photo as a data URL; None where nobody has looked at it yet."""
    content = site.previews.made(one.images[0], "thumb")
    return None if content is None else f"data:image/webp;base64,{b64encode(content).decode()}"


def _outcome(one: Recorded | Opined | AtelierError) -> dict[str, Any]:
    if isinstance(one, (Recorded, Opined)):
        return {
            # An opinion is taken back by its act's name alone.
            "review": one.review_id if isinstance(one, Recorded) else None,
            "status": one.status,
            "category": one.category,
            "repeated": one.repeated,
        }
    refused = one if isinstance(one, ReviewError) else None
    return {
        "error": str(one),
        "why": None if refused is None else refused.why,
        "about": {} if refused is None else refused.about,
        "gone": isinstance(one, NotFoundError),
    }
