"""create_app: the pages over a `Site`."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tagging.web import admin, api, health, languages, pages, people, refusals
from tagging.web.security import Guarded
from tagging.web.site import Site


def create_app(site: Site) -> FastAPI:
    """The application. No documentation pages: they would need scripts from elsewhere."""
    app = FastAPI(
        title="Atelier",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # It would answer with an address made of whatever `Host` was sent.
        redirect_slashes=False,
    )
    app.state.site = site
    app.state.languages = languages.load()
    app.include_router(api.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    app.include_router(admin.router)
    app.include_router(people.router)
    app.mount("/static", StaticFiles(directory=pages.HERE / "static"), name="static")
    refusals.add_to(app)
    app.add_middleware(Guarded)
    return app
