"""A child process that takes deliveries in, each in a fork with limits, and tells what happened.

A fork has so many megabytes of memory and of any one file, so many seconds of processor time, and a
hook that sees every file that Python opens, lists, makes or moves. What is told comes from outside
of the code that is tried: the database, the store's folder, the kernel's count of memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import traceback
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa

from tagging.domain import FailureCode

ROOT: Final = Path(__file__).resolve().parents[2]
MEMORY_MB: Final = 256
FILE_MB: Final = 256
CPU_S: Final = 60
MAX_TOLD: Final = 1000
"""Rows of each kind that are told of a delivery that is only read."""
_WATCHED: Final = frozenset(
    {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir",
     "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.exec",
     "os.system", "subprocess.Popen", "socket.connect", "shutil.copyfile", "shutil.move"}
)  # fmt: skip


@dataclass(kw_only=True)
class Told:
    """What became of a delivery.

    `error`, `code`: why the whole of it was refused. `crash`: what else came out. `rejected`:
    (line, code, value, error) of rows. `skipped`: (code, name) of files. `opened`: what was touched
    outside of the delivery, the data folder and Python's own. `peak_kib`: how far memory grew.
    `delivered`, `refused`: rows that were read as products and not. `stored`: {sha256: bytes} of
    the image store, `disk_bytes` all of the data folder.
    """

    error: str | None = None
    code: str | None = None
    crash: str | None = None
    kind: str = ""
    products: dict[str, int] = field(default_factory=dict)
    rejected: list[tuple[int, str, str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)
    disk_bytes: int = 0
    opened: list[str] = field(default_factory=list)
    peak_kib: int = 0
    rows: int = 0
    delivered: int = 0
    refused: int = 0
    cpu_s: float = 0.0


class Pit:
    """The child, to be used in a `with` block."""

    def __init__(self, template: Path) -> None:
        """`template`: an SQLite file at the newest migration."""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.pit", str(template)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def take_in(
        self,
        source: Path,
        home: Path,
        *,
        database_url: str | None = None,
        read_only: bool = False,
        with_images: bool = True,
        memory_mb: int = MEMORY_MB,
        file_mb: int = FILE_MB,
        cpu_s: int = CPU_S,
    ) -> Told:
        """Deliver `source` into the new data folder `home`; or only read its rows and images.

        `database_url`: a fresh database at the newest migration; None: SQLite, in `home`.
        """
        job = {
            "source": str(source),
            "home": str(home),
            "database_url": database_url or f"sqlite:///{home / 'atelier.db'}",
            "read_only": read_only,
            "with_images": with_images,
            "memory_mb": memory_mb,
            "file_mb": file_mb,
            "cpu_s": cpu_s,
        }
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(job) + "\n")
        self._child.stdin.flush()
        told = Told(**json.loads(self._child.stdout.readline()))
        # No case without a code, whatever else is asked of it.
        assert (told.error is None) == (told.code is None)
        of_rows = [row[1] for row in told.rejected] + [file[0] for file in told.skipped]
        assert {*of_rows, *filter(None, [told.code])} <= set(FailureCode)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait(timeout=30)


def main(template: Path) -> None:
    """Answer jobs, a JSON line each, until standard input ends."""
    from tagging.catalog import opening  # noqa: F401  loaded once, for all forks
    from tests import stand_in  # noqa: F401

    sa.create_engine("postgresql+psycopg://")  # its driver, too
    for line in sys.stdin:
        job = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is logged is no answer
            told = _in_fork(job, template)
            with os.fdopen(writing, "w") as stream:
                json.dump(told, stream)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as stream:
            answer = stream.read()
        _, status = os.waitpid(child, 0)
        died = json.dumps({"crash": f"it died: wait status {status}"})
        sys.stdout.write((answer or died) + "\n")
        sys.stdout.flush()


def _in_fork(job: dict[str, Any], template: Path) -> dict[str, Any]:
    told = Told()
    home, source = Path(job["home"]), Path(job["source"])
    home.mkdir()
    if not job["read_only"] and job["database_url"].startswith("sqlite:"):
        shutil.copyfile(template, home / "atelier.db")
    before = _resident_kib()
    try:
        with _limits(job), _hooked(told, home, source):
            if job["read_only"]:
                _read(source, told, with_images=job["with_images"])
            else:
                _ingest(source, home, job["database_url"], told)
    except BaseException:  # whatever it is, it is what the test wants to see
        told.crash = traceback.format_exc()[-4000:]
    told.peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    used = resource.getrusage(resource.RUSAGE_SELF)
    told.cpu_s = round(used.ru_utime + used.ru_stime, 2)
    files = [path for path in home.rglob("*") if path.is_file()]
    told.disk_bytes = sum(path.stat().st_size for path in files)
    told.stored |= {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.stat().st_size
        for path in files
        if path.is_relative_to(home / "images")
    }
    return vars(told)


@contextmanager
def _limits(job: dict[str, Any]) -> Iterator[None]:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(
        resource.RLIMIT_AS, (size + (job["memory_mb"] << 20), resource.RLIM_INFINITY)
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_mb"] << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"],) * 2)
    yield
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def _hooked(told: Told, home: Path, source: Path) -> Iterator[None]:
    """Note what is touched elsewhere. Paths relative to a descriptor say nothing here: for those
    there are the canaries."""
    inside = (
        os.path.realpath(home),
        str(source if source.is_dir() else source.parent),
        sys.prefix,
        sys.base_prefix,
        os.path.realpath(sys.prefix),
        str(ROOT),
        "/proc/self",
        *zoneinfo.TZPATH,  # times from PostgreSQL have a zone
    )
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active or event not in _WATCHED:
            return
        path = arguments[0] if arguments else None
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not path.startswith("/"):
            if event in ("open", "os.scandir", "os.rename") or not isinstance(path, str):
                return
            told.opened.append(f"{event} {path}")
            return
        real = os.path.normpath(path)
        if not any(real == one or real.startswith(one.rstrip("/") + "/") for one in inside):
            told.opened.append(f"{event} {path}")

    sys.addaudithook(hook)
    try:
        yield
    finally:
        active = False


def _read(source: Path, told: Told, *, with_images: bool) -> None:
    """What `_ingest` would be given: rows and bytes, counted and let go of."""
    from tagging.catalog.delivery import DeliveryRowError, RejectedRow, SkippedFile, failure_of
    from tagging.catalog.opening import open_delivery
    from tagging.errors import DeliveryError

    try:
        with open_delivery(source) as delivery:
            told.kind, told.warnings = delivery.kind, delivery.warnings
            for row in delivery.rows():
                told.rows += 1
                if isinstance(row, SkippedFile):
                    _append(told.skipped, (row.code, row.name))
                    continue
                if isinstance(row, RejectedRow):
                    told.refused += 1
                    _append(told.rejected, (row.line, row.code, row.value, row.error))
                    continue
                told.delivered += 1
                if not with_images:
                    continue
                try:
                    sizes = dict(map(_hashed, row.images))
                except (OSError, DeliveryRowError) as error:
                    code = failure_of(error)
                    _append(told.rejected, (row.line, code, row.images[0].name, f"read: {error}"))
                    continue
                if len(told.products) < MAX_TOLD:
                    told.stored |= sizes
                    told.products[row.sku] = told.products.get(row.sku, 0) + len(row.images)
    except DeliveryError as error:
        told.error, told.code = str(error), error.code


def _append(found: list[Any], one: Any) -> None:
    if len(found) < MAX_TOLD:
        found.append(one)


def _hashed(image: Any) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with image.open() as stream:
        while block := stream.read(1 << 16):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _ingest(source: Path, home: Path, database_url: str, told: Told) -> None:
    from tagging.catalog.opening import open_delivery
    from tagging.database import uploads
    from tagging.database.session import Database
    from tagging.errors import DeliveryError
    from tests.stand_in import make_services

    try:
        with open_delivery(source) as delivery:
            told.kind = delivery.kind
            database = Database(database_url)
            services = make_services(database, home)
            services.bell.lose = True  # it would remember a number for every four products
            summary = services.ingest.accept_upload(delivery, retailer_id=services.retailer_id)
    except DeliveryError as error:
        told.error, told.code = str(error), error.code
        return
    told.warnings = list(summary.warnings)
    told.delivered, told.refused = summary.products, summary.rejected
    told.rows = summary.products + summary.rejected + summary.skipped
    for line in uploads.rejected_lines(database, summary.upload_id):
        _append(told.rejected, (line.line, line.code, line.value, line.error))
    for line in uploads.skipped_lines(database, summary.upload_id):
        _append(told.skipped, (line.code, line.value))
    database.close()
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        query = sa.text(
            "SELECT sku, count(*) FROM products JOIN image_set_images USING (image_set) "
            "GROUP BY sku LIMIT :most"
        )
        told.products = dict(connection.execute(query, {"most": MAX_TOLD}).all())
    engine.dispose()


def _resident_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
