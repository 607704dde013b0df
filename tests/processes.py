"""Real `atelier` processes for tests, each with its own data folder; none outlives its test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tagging.database.session import Database
from tests.prepared import Command, begin_command, run_command


@dataclass(kw_only=True)
class Place:
    """One installation: a data folder, perhaps with servers behind it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        default = f"sqlite:///{self.home / 'atelier.db'}"
        return self.environment.get("ATELIER_DATABASE_URL", default)

    def _all_environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
        return {
            **inherited,
            "ATELIER_HOME": str(self.home),
            "PYTHONWARNINGS": "default",
            **self.environment,
        }

    def run(
        self,
        *arguments: str,
        expect: int | None = 0,
        stdin: bytes = b"",
        timeout_s: float = 280,
    ) -> str:
        """Run `atelier ARGUMENTS` to its end; returns standard output. `expect`: None for any."""
        return self._run(arguments, expect=expect, stdin=stdin, timeout_s=timeout_s).stdout.decode()

    def failing(self, *arguments: str, expect: int = 1) -> str:
        """Run `atelier ARGUMENTS`, which must fail; returns standard error."""
        return self._run(arguments, expect=expect, stdin=b"", timeout_s=280).stderr.decode()

    def _run(
        self, arguments: tuple[str, ...], *, expect: int | None, stdin: bytes, timeout_s: float
    ) -> subprocess.CompletedProcess[bytes]:
        done = run_command(
            arguments, environment=self._all_environment(), stdin=stdin, timeout_s=timeout_s
        )
        if expect is not None and done.returncode != expect:
            log = self.home / "worker.log"
            pytest.fail(
                f"atelier {' '.join(arguments)} ended with {done.returncode}, expected {expect}\n"
                f"{done.stdout.decode()}\n{done.stderr.decode()}\n"
                + (log.read_text()[-3000:] if log.exists() else "")
            )
        return done

    def run_json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options))

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """A process that runs while the block does; SIGKILLed at its end if it still lives."""
        process = Running(self, arguments)
        process.start()
        try:
            yield process
        finally:
            process.kill()

    def export(self) -> dict[str, dict[str, Any]]:
        """Every product by sku, as `atelier products export` writes it."""
        lines = self.run("products", "export").splitlines()
        return {row["sku"]: row for row in map(json.loads, lines)}

    @contextmanager
    def database(self) -> Iterator[Session]:
        """A look into the database itself."""
        database = Database(self.database_url)
        try:
            with database.read() as session:
                yield session
        finally:
            database.close()

    def scalar(self, query: str) -> Any:
        with self.database() as session:
            return session.execute(sa.text(query)).scalar()

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if condition():
                return
            time.sleep(0.1)
        pytest.fail(f"after {timeout_s} s still not: {what}")


class Running:
    """A process that may be killed and started again. `prepared`: without the time of imports."""

    def __init__(self, place: Place, arguments: tuple[str, ...], *, prepared: bool = False) -> None:
        if arguments[0] == "worker" and "--supervise" not in arguments:
            # So that this process, which tests kill, is the worker.
            arguments = (*arguments, "--no-supervise")
        self.place = place
        self.arguments = arguments
        self.prepared = prepared
        self.process: Command | None = None
        self.log = place.home.parent / f"{'-'.join(arguments[:1])}-{id(self)}.log"

    def start(self) -> None:
        environment = self.place._all_environment()
        with self.log.open("ab") as log:
            if self.prepared:
                with Path(os.devnull).open("rb") as nothing:
                    self.process = begin_command(
                        self.arguments,
                        environment=environment,
                        streams=(nothing.fileno(), log.fileno(), log.fileno()),
                    )
                return
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", *self.arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=30)

    def terminate(self) -> float:
        """SIGTERM; returns the seconds until it ended."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        return time.monotonic() - began

    def restart(self) -> None:
        self.kill()
        self.start()

    def text(self) -> str:
        return self.log.read_text(errors="replace")
