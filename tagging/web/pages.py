"""The pages that people see."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session

from tagging import accounts
from tagging.accounts import Visitor
from tagging.database import autopilots, desk, models
from tagging.database.models import RetailerLine
from tagging.domain import Role
from tagging.errors import LoginError
from tagging.web import languages
from tagging.web.languages import Texts
from tagging.web.security import COOKIE, at_least, require_same_origin, site_of, visitor_of

HERE: Final = Path(__file__).parent
LANGUAGE_KEPT_S: Final = 365 * 24 * 3600

router = APIRouter()


def texts_of(request: Request) -> Texts:
    """What the pages say, in the language of who asks."""
    tag = languages.choose(
        request.cookies.get(languages.COOKIE), request.headers.get("accept-language")
    )
    found: Texts = request.app.state.languages[tag]
    return found


def _spoken(request: Request) -> dict[str, Any]:
    return {"texts": texts_of(request), "languages": languages.NAMES}


templates = Jinja2Templates(directory=HERE / "templates", context_processors=[_spoken])
languages.teach(templates.env)


@router.post("/language")
def speak(
    request: Request,
    language: Annotated[str, Form(max_length=20)],
    back: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Keep the language that a person chose, and go `back` to where they were."""
    require_same_origin(request)
    if language not in languages.NAMES:
        raise HTTPException(422, f"the pages speak {', '.join(languages.NAMES)}, not {language!r}")
    answer = RedirectResponse(_here(back), status_code=303)
    answer.set_cookie(
        languages.COOKIE,
        language,
        max_age=LANGUAGE_KEPT_S,
        httponly=True,
        samesite="lax",
        secure=site_of(request).secure,
        path="/",
    )
    return answer


@router.get("/login")
def login(request: Request, back: Annotated[str, Query(max_length=2000)] = "/") -> HTMLResponse:
    """The form. `back`: where who logs in was."""
    return render(request, "login.html", None, back=_here(back))


@router.post("/login")
def enter(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=2000)] = "",
    back: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Let in who knows the password, and go `back` to where they were."""
    require_same_origin(request)
    site = site_of(request)
    try:
        token = accounts.enter_by_password(site.database, name, password, now=site.now())
    except LoginError as error:
        return render(
            request,
            "login.html",
            None,
            status=403,
            error=str(error),
            name=name,
            back=_here(back),
        )
    return _entered(request, token, to=_here(back))


@router.get("/enter/{token}")
def offer(request: Request, token: str) -> HTMLResponse:
    """Where a one-time link leads: a button, so that who only looks at links does not use it up."""
    return render(request, "enter.html", None, token=token)


@router.post("/enter/{token}")
def follow(request: Request, token: str) -> Response:
    """Let in who holds a one-time link."""
    require_same_origin(request)
    site = site_of(request)
    try:
        opened = accounts.enter_by_link(site.database, token, now=site.now())
    except LoginError as error:
        return render(request, "login.html", None, status=403, error=str(error))
    return _entered(request, opened)


@router.post("/logout")
def leave(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    """End the session."""
    visitor = visitor_of(request)
    if not hmac.compare_digest(csrf.encode(), visitor.csrf.encode()):
        raise HTTPException(403, "this form does not come from the page; load it again")
    site = site_of(request)
    accounts.leave(site.database, request.cookies[COOKIE])
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def home(request: Request) -> Response:
    """The retailers, each with what waits."""
    visitor = visitor_or_none(request)
    if visitor is None:
        return to_login(request)
    with site_of(request).database.read() as session:
        retailers = [
            (line, _waiting(session, line)) for line in models.retailers(session) if line.model
        ]
    return render(request, "home.html", visitor, retailers=retailers)


def _waiting(session: Session, line: RetailerLine) -> dict[str, Any]:
    """How many products of a retailer wait for a person, and why."""
    return desk.counts(session, models.retailer_id(session, line.name))


@router.get("/review/{retailer}")
def review(request: Request, retailer: str) -> Response:
    """One product at a time."""
    if visitor_or_none(request) is None:
        return to_login(request)
    visitor = at_least(Role.REVIEWER)(request)
    site = site_of(request)
    with site.database.read() as session:
        models.retailer_id(session, retailer)
    return render(request, "review.html", visitor, retailer=retailer)


@router.get("/grid/{retailer}")
def grid(request: Request, retailer: str) -> Response:
    """Many products at once, of one suggestion."""
    if visitor_or_none(request) is None:
        return to_login(request)
    visitor = at_least(Role.REVIEWER)(request)
    site = site_of(request)
    with site.database.read() as session:
        models.retailer_id(session, retailer)
    return render(request, "grid.html", visitor, retailer=retailer)


def visitor_or_none(request: Request) -> Visitor | None:
    """Who asks, for pages that send nobody to the log-in."""
    try:
        return visitor_of(request)
    except HTTPException:
        return None


def _here(path: str) -> str:
    """A path of this site; anything that would lead elsewhere leads home."""
    try:
        named = urlsplit(path)
    except ValueError:  # half of an IPv6 address, or letters that no host has
        return "/"
    # Browsers take any number of slashes at the start for the beginning of a host.
    plain = path.isprintable() and "\\" not in path and path.startswith("/") and path[1:2] != "/"
    if named.scheme or named.netloc or not plain:
        return "/"
    return path


def to_login(request: Request) -> Response:
    """Send who is not logged in to the form, from which they come back to where they are."""
    here: str = request.scope["raw_path"].decode("ascii", "replace")
    if request.url.query:
        here += f"?{request.url.query}"
    back = "" if here == "/" or request.method != "GET" else f"?back={quote(here, safe='/')}"
    return RedirectResponse(f"/login{back}", status_code=303)


def render(
    request: Request, template: str, visitor: Visitor | None, *, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page. Who is in is told of every autopilot that is off, wherever they are."""
    alarms: list[str] = []
    if visitor is not None:
        with site_of(request).database.read() as session:
            alarms = autopilots.switched_off(session)
    return templates.TemplateResponse(
        request, template, {"visitor": visitor, "alarms": alarms, **values}, status_code=status
    )


def _entered(request: Request, token: str, *, to: str = "/") -> Response:
    if (before := request.cookies.get(COOKIE)) is not None:
        # Nobody will leave the session that this one takes the place of.
        accounts.leave(site_of(request).database, before)
    answer = RedirectResponse(to, status_code=303)
    answer.set_cookie(
        COOKIE, token, httponly=True, samesite="strict", secure=site_of(request).secure, path="/"
    )
    return answer
