"""The command that serves the pages."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import typer

from tagging import accounts
from tagging.database import users
from tagging.domain import Role
from tagging.errors import LoginError
from tagging.images.decoders import DecoderPool
from tagging.images.model_input import PREPROCESSING_VERSION
from worker import console
from worker.bootstrap import Runtime, image_limits, open_runtime, utc_now
from worker.logs import configure_logging
from worker.options import Home, settings_for


def add_to(app: typer.Typer) -> None:
    """Hang this command onto the main one."""
    app.command()(web)


def web(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8765,
    tls: Annotated[
        bool, typer.Option("--tls", help="Browsers reach it over TLS (through a proxy).")
    ] = False,
    home: Home = None,
) -> None:
    """Serve the review page until Ctrl-C; on this machine alone, a link lets you in.

    With --tls none is printed, for what a service prints is kept: `atelier users link` makes one.
    """
    import uvicorn

    from tagging.web.app import create_app
    from tagging.web.previews import Previews
    from tagging.web.site import Site
    from worker.bounded_http import BoundedHttp

    settings, _ = settings_for(context, home, False)
    configure_logging(settings.log_format)
    local = _is_local(host)
    with (
        # Without a wait for backups: a browser sends again what was not saved within a minute, and
        # threads that wait are none that answer.
        open_runtime(settings, backup_wait_s=0.0) as runtime,
        DecoderPool(settings.decoders, image_limits(settings)) as decoders,
    ):
        if not local and not tls:
            raise LoginError(
                f"{host} is reached over the network, where passwords must not travel in the "
                "clear: put a TLS proxy in front and say --tls, or leave --host out"
            )
        site = Site(
            database=runtime.database,
            previews=Previews(
                store=runtime.store, decoders=decoders, folder=settings.home / "previews"
            ),
            now=utc_now,
            preprocessing_version=PREPROCESSING_VERSION,
            secure=tls,
        )
        if local and not tls:
            console.out().print(
                f"open http://{host}:{port}/enter/{_way_in(runtime)}", soft_wrap=True
            )
        uvicorn.run(
            create_app(site),
            host=host,
            port=port,
            http=BoundedHttp,
            log_config=None,
            access_log=False,
            server_header=False,
            # A browser that keeps its connection must not keep us from stopping.
            timeout_graceful_shutdown=int(settings.stop_s),
        )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _way_in(runtime: Runtime) -> str:
    """The secret of a one-time link for who started this; their account is made at first use."""
    name = "admin"
    with runtime.database.read() as session:
        known = users.find(session, name) is not None
    if not known:
        accounts.add(runtime.database, name, Role.ADMIN, None, now=utc_now())
    return accounts.make_link(runtime.database, name, now=utc_now())
