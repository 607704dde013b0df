"""Who may ask for what: sessions, roles, and the headers that keep a browser from being misled."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagging import accounts
from tagging.accounts import Visitor
from tagging.domain import Role
from tagging.web.site import Site

COOKIE: Final = "atelier_session"
CSRF_HEADER: Final = "x-csrf-token"
BODY_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 1 << 15
"""As other servers allow; ours are a tenth of it."""

_BODIES: Final = re.compile(
    rb'[ \t]*application/(?:json|x-www-form-urlencoded)[ \t]*(?:;[ \t]*charset="?utf-8"?[ \t]*)?',
    re.IGNORECASE,
)
"""Every Content-Type that our pages send. Not multipart, whose parser decodes in the event loop by
whatever codec of Python's the request names: for punycode, a megabyte takes minutes.
"""

_HEADERS: Final = {
    # Nothing inline but pictures, and nothing from elsewhere: what a retailer writes cannot run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Not no-referrer: browsers would then hide the origin of our own forms from us.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guarded:
    """ASGI middleware: security headers on every answer, and requests of bounded size and of the
    kinds that our pages send. What is refused here no router and no parser has seen.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = BODY_BYTES

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"a request has at most {BODY_BYTES:,} bytes")
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message))
            await send(message)

        refused = _refused(scope)
        if refused is not None:
            status, detail = refused
            await JSONResponse({"detail": detail}, status_code=status)(scope, receive, guarded)
            return
        # In place, for whoever answers after a failure reads them, too.
        scope["headers"] = [
            (name, _plain_cookies(value) if name == b"cookie" else value)
            for name, value in scope["headers"]
        ]
        await self._app(scope, bounded, guarded)


def _refused(scope: Scope) -> tuple[int, str] | None:
    """Status and reason, of what is refused by its head alone."""
    headers = scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) > HEAD_BYTES:
        return 431, f"the headers of a request have at most {HEAD_BYTES:,} bytes"
    if not all(_BODIES.fullmatch(value) for name, value in headers if name == b"content-type"):
        return 415, "send application/json or application/x-www-form-urlencoded, in UTF-8"
    return None


def _plain_cookies(value: bytes) -> bytes:
    """Without those that Python would take the backslashes out of: before 3.11.10 and 3.12.6 it
    takes minutes for some (CVE-2024-7592), and ours have none.
    """
    return b";".join(one for one in value.split(b";") if b"\\" not in one)


def protect(headers: MutableHeaders) -> None:
    """Put the security headers onto an answer's; it is kept by nobody unless it says otherwise."""
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("cache-control", "no-store")


def site_of(request: Request) -> Site:
    """What the application was made with."""
    site: Site = request.app.state.site
    return site


def visitor_of(request: Request) -> Visitor:
    """Who asks. Raises HTTPException (401) for nobody."""
    site = site_of(request)
    token = request.cookies.get(COOKIE)
    found = None if token is None else accounts.visitor(site.database, token, now=site.now())
    if found is None:
        raise HTTPException(401, "log in first")
    return found


def require_recent_viewer(request: Request) -> None:
    """Whoever is logged in, or was ten seconds ago. Raises HTTPException (401) for nobody."""
    site = site_of(request)
    token = request.cookies.get(COOKIE)
    if token is None or site.recent.of(token, now=site.now()) is None:
        raise HTTPException(401, "log in first")


def at_least(role: Role) -> Callable[[Request], Visitor]:
    """A dependency: the visitor, who has at least this role.

    A request that changes something must name the session's CSRF token in its header, which no
    page of another origin can read.
    """

    def check(request: Request) -> Visitor:
        visitor = visitor_of(request)
        _require_role(visitor, role)
        if request.method not in ("GET", "HEAD"):
            _require_token(visitor, request.headers.get(CSRF_HEADER, ""))
        return visitor

    return check


def page_visitor(request: Request, role: Role = Role.VIEWER) -> Visitor:
    """Who looks at a page. Raises HTTPException (401, 403)."""
    visitor = visitor_of(request)
    _require_role(visitor, role)
    return visitor


def form_visitor(request: Request, role: Role, csrf: str) -> Visitor:
    """Who sent a form, in which the session's CSRF token stands. Raises HTTPException."""
    visitor = page_visitor(request, role)
    _require_token(visitor, csrf)
    return visitor


def _require_role(visitor: Visitor, role: Role) -> None:
    if not visitor.role.may(role):
        raise HTTPException(403, f"this needs the role {role}; {visitor.name} is a {visitor.role}")


def _require_token(visitor: Visitor, named: str) -> None:
    if not hmac.compare_digest(named.encode(), visitor.csrf.encode()):
        raise HTTPException(403, "this request does not come from the page; load it again")


def require_same_origin(request: Request) -> None:
    """For the one form that nobody is logged in at. Raises HTTPException (403)."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    try:
        same = urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # it is no address at all
        same = False
    if not same:
        raise HTTPException(403, "this form belongs to another site")
