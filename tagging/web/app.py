"""create_app: the pages over a `Site`."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from tagging.errors import AtelierError, NotFoundError
from tagging.web import api, languages, pages
from tagging.web.security import Guarded
from tagging.web.site import Site


def create_app(site: Site) -> FastAPI:
    """The application. No documentation pages: they would need scripts from elsewhere."""
    app = FastAPI(title="Atelier", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.state.languages = languages.load()
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.HERE / "static"), name="static")
    app.add_exception_handler(AtelierError, _told)
    app.add_middleware(Guarded)
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    """What a user can mend is told in a sentence."""
    status = 404 if isinstance(error, NotFoundError) else 400
    return JSONResponse({"detail": str(error)}, status_code=status)
