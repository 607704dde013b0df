"""What is answered to who is refused, is lost, or meets an error of ours: a page to a person who
opens one, JSON to a script. No answer tells what only the log should know.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException

from tagging.errors import AtelierError, NotFoundError, SchemaError, StoreAwayError
from tagging.web.pages import templates, to_login
from tagging.web.security import protect

AWAY: Final = (SchemaError, StoreAwayError)
"""Not for who asks to mend; their texts name folders and addresses of the installation."""


def add_to(app: FastAPI) -> None:
    """Answer every error of `app`."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(AtelierError, _told)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(DataError, _not_stored)
    app.add_exception_handler(Exception, _failed)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and _wants_page(request):
        return to_login(request)
    answer = _answer(request, error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _told(request: Request, error: Exception) -> Response:
    """What a user can mend is told in a sentence."""
    if isinstance(error, AWAY):
        return _answer(request, 503, "this cannot be answered at the moment; try again later")
    return _answer(request, 404 if isinstance(error, NotFoundError) else 400, str(error))


async def _not_understood(_: Request, error: Exception) -> Response:
    """Which field is wrong and why, without what was sent: it may be a password."""
    assert isinstance(error, RequestValidationError)
    found = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
    # In ASCII: what was sent may hold halves of characters, which UTF-8 cannot.
    return Response(
        json.dumps({"detail": found}, default=str), status_code=422, media_type="application/json"
    )


async def _not_stored(request: Request, _: Exception) -> Response:
    return _answer(request, 400, "a text or number of this request is none that can be kept")


async def _failed(request: Request, _: Exception) -> Response:
    """Runs outside of all middleware, so it sets the headers itself; the server logs the error."""
    answer = _answer(request, 500, "something went wrong here; it is in the server's log")
    protect(MutableHeaders(raw=answer.raw_headers))
    return answer


def _answer(request: Request, status: int, detail: Any) -> Response:
    if not _wants_page(request):
        return JSONResponse({"detail": detail}, status_code=status)
    values = {"visitor": None, "status": status, "detail": detail}
    return templates.TemplateResponse(request, "error.html", values, status_code=status)


def _wants_page(request: Request) -> bool:
    asked = request.headers.get("accept", "")
    return "text/html" in asked and not request.url.path.startswith("/api/")
