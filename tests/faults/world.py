"""One installation at work: workers, people, and what they were told.

The process that holds a world has no threads and forks everything else, so that a worker is there
in a tenth of a second. `tick()` must be called again and again: it takes note of who ended, starts
workers again as a supervisor does, and lets people try again as people do.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from PIL import Image

from tagging.database import models, schema
from tagging.database.session import Database
from tests.faults import clock, journal, promises
from tests.faults.errands import ERRANDS, Details
from tests.faults.installations import Embedded, Servers
from tests.faults.promises import Expected
from tests.faults.stand_in_worker import slow_shelf, write_bundle
from worker import bootstrap
from worker.bootstrap import DEFAULT_BUNDLE, keras_shelf, open_runtime
from worker.doorbell import BrokerDoorbell
from worker.embedded import environment_of
from worker.logs import configure_logging
from worker.run import run_worker

SHADES: Final = {0: "Dark", 128: "Middle", 255: "Light", 60: "Dark", 190: "Middle"}
"""Grey level -> what the stand-in model must say; of 60 and 190 it is not sure enough."""
PATIENCE_S: Final = 3.0
LONG_PATIENCE_S: Final = 12.0
"""How long an errand, and one that reads and writes thousands of images, may hang before its person
ends it.
"""
WHOLE_SHARE: Final = 0.15
"""Of the backups, how many are of everything while it is at work: each takes seconds."""
MOST_TRIES: Final = 30
TAKE_S: Final = 2.5
UNDO_S: Final = 6.0
"""How often people take what waits, and take back what they said; about, while nothing hinders."""
OFFICE: Final = 64
"""Products of the office, at least."""
MANY: Final = 50
"""From so many waiting batches on, nobody asks for more to be classified anew."""
SOME: Final = 8
"""Files, threads or children that a worker may have more than before, for a while: connections."""
LEFT: Final = (
    "SELECT (SELECT count(*) FROM products WHERE status = 'queued') "
    "+ (SELECT count(*) FROM batches WHERE state IN ('queued', 'leased')) "
    "+ (SELECT count(*) FROM retags WHERE state = 'open')"
)
"""What is not worked off. A product that a person has decided on waits in its batch alone."""
DRAINED_S: Final = 30.0
"""How long it is waited for that fewer wait."""


class Holdings(NamedTuple):
    """What a process has open, its threads and its children."""

    files: int
    threads: int
    children: int


def held_by(pid: int) -> Holdings:
    """Files but `/dev/null`, in whose place are those that its parent had. Zeros once it ended."""
    process = Path(f"/proc/{pid}")
    files = threads = children = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for path in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                files += path.readlink() != Path(os.devnull)
        for path in (process / "task").iterdir():
            threads += 1
            children += len((path / "children").read_text().split())
    return Holdings(files=files, threads=threads, children=children)


@dataclass(kw_only=True)
class Child:
    """A forked process. `status`: as `os.waitpid` gives it, None while it runs."""

    pid: int
    what: str
    since: float
    status: int | None = None

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.status is None:
            os.kill(self.pid, number)


@dataclass(kw_only=True)
class Errand:
    """Something a person wants done. `heard`: what they were told in the end."""

    kind: str
    details: Details
    child: Child
    tries: int = 1
    done: bool = False
    heard: Any = None


@dataclass(kw_only=True)
class World:
    """`folder`: for what is delivered, the logs and what was heard. `patience_s`: how long at least
    people wait before they break something off and try again.
    """

    installation: Embedded | Servers
    folder: Path
    rng: random.Random
    keras: bool = False
    classify_s: float = 0.25
    patience_s: float = 0.0
    workers_wanted: int = 2
    expected: dict[tuple[int, str], Expected] = field(default_factory=dict)
    reviewed: dict[tuple[str, str], str | None] = field(default_factory=dict)
    errands: list[Errand] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    errands_done: int = 0
    tries: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    held_down: bool = False
    no_room: bool = False
    decoder_faults: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1 << 62)))
    _sound: set[str] = field(default_factory=set)
    _cards: list[dict[str, Any]] = field(default_factory=list)
    _said: list[tuple[int, str]] = field(default_factory=list)
    _known: dict[int, list[str]] = field(default_factory=dict)
    _coming: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    _brought: dict[tuple[int, str], dict[str, Expected]] = field(default_factory=dict)
    _ended_deliveries: list[str] = field(default_factory=list)
    _offices: int = 0
    _done: int = 0
    _shades: dict[tuple[int, str], int] = field(default_factory=dict)
    _answers: dict[int, str] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
    _at_first: Holdings | None = None
    _asked: dict[str, tuple[float, Any]] = field(default_factory=dict)
    _next: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("deliveries", "heard", "logs", "failpoints", "temporary"):
            (self.folder / name).mkdir(parents=True)
        if self.keras:
            self.bundle = self.folder / "bundles" / DEFAULT_BUNDLE.name
            shutil.copytree(DEFAULT_BUNDLE, self.bundle)
            bundles = [self.bundle]
        else:
            self.bundle = write_bundle(self.folder / "bundles" / "shades-1", "1")
            bundles = [self.bundle, write_bundle(self.folder / "bundles" / "shades-2", "2")]
        self.settings = self.installation.settings.model_copy(
            update={"failpoints": self.folder / "failpoints", "model_bundle": self.bundle}
        )
        self.observer = Database(self.installation.observer_url)
        with self.observer.write("test") as session:
            ids = [
                models.register(session, bootstrap.read_card(path), path, now=clock.utc_now())
                for path in bundles
            ]
            self.retailers = {
                name: models.add_retailer(session, name, model_id=ids[0], now=clock.utc_now())
                for name in ("shop", "drop", "office")
            }
            session.commit()
        journal.install(self.observer)
        self.store = self.settings.resolved_images_dir()
        self.empty = self.folder / "empty.db"
        empty = Database(f"sqlite:///{self.empty}")
        schema.upgrade(empty)
        empty.close()

    # Processes

    def fork(self, what: str, body: Callable[[], None]) -> Child:
        """Run `body` in a process of its own; its exit code says whether it raised."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.observer.engine.dispose()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._become(what)
                body()
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:  # whatever it was stands in the log, and its end is seen
                traceback.print_exc()
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(code)
        return Child(pid=pid, what=what, since=time.monotonic())

    def _become(self, what: str) -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        # Not closed: what holds one of these numbers closes it whenever it is collected, and must
        # not find anything of the new process there.
        open_now = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
        for number in open_now - {0, 1, 2, null}:
            with contextlib.suppress(OSError):
                os.fstat(number)
                os.dup2(null, number)
        os.dup2(null, 0)
        log = os.open(self.folder / "logs" / f"{what}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        if self.no_room:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Whatever somebody forgets there goes with this world.
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder / "temporary")
        os.environ.update(environment_of(self.settings))
        bootstrap.utc_now = clock.utc_now  # type: ignore[assignment]
        configure_logging("console")

    def start_worker(self) -> None:
        """One more worker."""
        settings = self.settings
        shelf = keras_shelf if self.keras else slow_shelf(self.classify_s)

        def body() -> None:
            run_worker(settings, make_shelf=shelf)

        self.workers.append(self.fork("worker", body))

    def begin(self, kind: str, **details: Any) -> Errand:
        """Have an errand done, as often as it takes."""
        errand = Errand(kind=kind, details=details, child=self._try(kind, details))
        self.errands.append(errand)
        return errand

    def _try(self, kind: str, details: Details, *, again: bool = False) -> Child:
        self.tries += 1
        answer = self.folder / "heard" / f"{self.tries}.json"

        def body() -> None:
            if again:
                time.sleep(0.3)  # nobody is faster
            with open_runtime(self.settings) as runtime:
                heard = ERRANDS[kind](runtime, details)
            partial = answer.with_suffix(".tmp")
            partial.write_text(json.dumps(heard))
            partial.rename(answer)

        child = self.fork(kind, body)
        child.what = f"{kind} {self.tries}"
        return child

    # Time

    def tick(self) -> None:
        """Look who ended, and go on."""
        for worker in list(self.workers):
            if self._ended(worker):
                self.workers.remove(worker)
                self.ends.append(f"worker {_said_of(worker.status)}")
        while len(self.workers) < self.workers_wanted and not self.held_down:
            self.start_worker()
        for errand in list(self.errands):
            child = errand.child
            patience_s = LONG_PATIENCE_S if errand.details.get("whole") else PATIENCE_S
            patience_s = max(patience_s, self.patience_s)
            if time.monotonic() - child.since > patience_s + (2 * errand.tries):
                child.kill()
            if not self._ended(child):
                continue
            if child.status == 0:
                number = child.what.split()[1]
                path = self.folder / "heard" / f"{number}.json"
                errand.heard = json.loads(path.read_text())
                path.unlink()
                errand.done = True
                self.errands.remove(errand)
                if errand.kind == "deliver":
                    self._ended_deliveries.append(errand.details["upload"])
                self.errands_done += 1
                self._hear(errand)
            else:
                self.ends.append(f"{errand.kind} {_said_of(child.status)}")
                errand.tries += 1
                if errand.tries > MOST_TRIES:
                    raise AssertionError(
                        f"{errand.kind} is never done: {errand.details}\n{self.tail(errand.kind)}"
                    )
                errand.child = self._try(errand.kind, errand.details, again=True)
        self._settle_deliveries()
        time.sleep(0.02)

    def _settle_deliveries(self) -> None:
        """Of deliveries of one product at once the one that began last stands. That need not be the
        one that was asked for last: the database knows, once they are over.
        """
        while self._ended_deliveries:
            ended = self._ended_deliveries[-1]
            others = [keys for upload, keys in self._coming.items() if upload != ended]
            over = self._coming[ended].difference(*others)
            for key in over & self._brought.keys():
                brought = self._brought[key]
                if len(brought) > 1:
                    newest = self.ask(
                        f"SELECT id FROM uploads WHERE id IN {tuple(brought)} "
                        "ORDER BY created_at DESC, id DESC LIMIT 1"
                    )
                    if newest is None:
                        return  # the database is away; the next tick asks again
                    self.expected[key] = brought[newest]
                del self._brought[key]
            del self._coming[ended]
            self._ended_deliveries.pop()

    def _ended(self, child: Child) -> bool:
        if child.status is None:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                child.status = status
        return child.status is not None

    def wait(self, condition: Callable[[], bool], timeout_s: float, *, busy: bool = True) -> bool:
        """Tick until it holds; whether it did in time. `busy`: people go on meanwhile."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if condition():
                return True
            self.tick()
            if busy:
                self.keep_busy()
        return condition()

    def children(self) -> list[Child]:
        """Everybody who runs."""
        return [*self.workers, *(errand.child for errand in self.errands)]

    def lead(self, what: str) -> Errand | None:
        """Have somebody do this: `take`, `say`, `undo`, `drop`, `look_around`, ...; None where it
        comes by itself.
        """
        match what:
            case "say" | "undo":
                # Both need something that was taken, or said, before; `keep_busy` brings it about.
                if what == "say" and not self._cards:
                    self.take()
                elif what == "undo" and self._said:
                    return self.undo()
                return None
            case _:
                found: Errand | None = getattr(self, what)()
                return found

    def lose_messages(self) -> None:
        """The broker forgets what it was told."""
        self.wait(lambda: not any(one.kind == "deliver" for one in self.errands), 20, busy=False)
        large = self.deliver(120)  # more batches than workers have in reserve
        self.wait(lambda: large.done, 20, busy=False)
        self.installation.fault("broker wiped")
        self.installation.mend()

    def ring_again(self, times: int) -> None:
        """Messages for every batch that is not done, again and again."""
        settings = self.settings

        def body() -> None:
            with open_runtime(settings) as runtime:
                with runtime.database.read() as session:
                    ids = session.execute(
                        sa.text("SELECT id FROM batches ORDER BY id DESC LIMIT 20")
                    ).scalars()
                    found = list(ids)
                for _ in range(times):
                    runtime.doorbell.announce(found)

        child = self.fork("ring", body)
        self.wait(lambda: self._ended(child), 20)

    # Looking

    def ask(self, query: str, **values: Any) -> Any:
        """One number from the database; None while it is away."""
        try:
            with self.observer.read() as session:
                return session.execute(sa.text(query), values).scalar()
        except sa.exc.DBAPIError:
            return None

    def leases(self) -> int:
        return int(self.ask("SELECT count(*) FROM batches WHERE state = 'leased'") or 0)

    def in_flight(self) -> bool:
        """Whether a lease, an upload or a review is in flight now."""
        busy = {"deliver", "watch", "say", "undo", "take"}
        return any(e.kind in busy for e in self.errands) or self.leases() > 0

    def done_batches(self, *, now: bool = False) -> int:
        """As far as is known, where the database is away. `now`: not of a moment ago."""
        query = "SELECT count(*) FROM batches WHERE state = 'done'"
        found = self.ask(query) if now else self._now_and_then(query)
        if found is not None:
            self._done = int(found)
        return self._done

    def queued(self) -> int | None:
        found = self._now_and_then("SELECT count(*) FROM products WHERE status = 'queued'")
        return None if found is None else int(found)

    def waiting_batches(self) -> int | None:
        found = self._now_and_then("SELECT count(*) FROM batches WHERE state = 'queued'")
        return None if found is None else int(found)

    def left(self) -> int | None:
        """Products that are queued, batches that are queued or in hand, and retags still open."""
        found = self._now_and_then(LEFT)
        return None if found is None else int(found)

    def at_rest(self) -> bool:
        """Whether nothing is left; asked anew before it says so."""
        return self.left() == 0 and self.ask(LEFT) == 0

    def _now_and_then(self, query: str) -> Any:
        """As `ask`, but five times a second at most: whoever waits asks all the time."""
        when, found = self._asked.get(query, (0.0, None))
        if time.monotonic() - when > 0.2:
            found = self.ask(query)
            self._asked[query] = (time.monotonic(), found)
        return found

    def look(self) -> None:
        """One snapshot: ledgers add up, and every image that a row names is there, whole."""
        with contextlib.suppress(sa.exc.DBAPIError), self.observer.read() as session:
            self.broken += [f"promise 7: {what}" for what in promises.ledger(session)]
            rows = session.execute(sa.text("SELECT sha256, size_bytes FROM images")).all()
            for sha256, size in rows:
                if sha256 in self._sound:
                    continue
                self._sound.add(sha256)
                what = promises.wrong_bytes(self.store, sha256, size)
                if what is not None:
                    self.broken.append(f"promise 9: {what}")

    # What people do

    def keep_busy(self) -> None:
        """A catalogue that comes in, and people who review; not more than is worked off."""
        kinds = {errand.kind for errand in self.errands}
        if "deliver" not in kinds and (self.queued() or 0) < 40:
            self.deliver()
        self.review_some()

    def review_some(self) -> None:
        """People take what waits, answer it, and now and then take an answer back."""
        kinds = {errand.kind for errand in self.errands}
        if self._cards and "say" not in kinds:
            self.say()
        elif not kinds & {"take", "say", "look"} and self._due("take", TAKE_S):
            self.take()
        if self._said and "undo" not in kinds and self._due("undo", UNDO_S):
            self.undo()

    def _due(self, what: str, every_s: float) -> bool:
        """Whether people's time for it has come: a process that begins costs a tenth of a second,
        and so many that they take the machine from the workers try nothing more.
        """
        now = time.monotonic()
        if now < self._next.get(what, now):
            return False
        self._next[what] = now + self.rng.uniform(0.5, 1.5) * every_s
        return True

    def deliver(self, count: int = 24) -> Errand:
        """New products, some with another photo than before, some as they were, some bad lines."""
        number = next(self._numbers)
        retailer = self.retailers["shop"]
        known = self._known.setdefault(retailer, [])
        again = self.rng.sample(known, min(len(known), 4))
        if coming := sorted(
            {key[1] for keys in self._coming.values() for key in keys} & set(known)
        ):
            again = [*dict.fromkeys([*again[:2], self.rng.choice(coming), *again[2:]])][:4]
        skus = [f"p{number}-{index}" for index in range(count)] + again[:3]
        rows = self._write(number, retailer, skus)
        same = again[3:]
        for sku in same:
            images = self.expected[retailer, sku].images
            rows += [(sku, f"same/{sha256}.png") for sha256 in images]
            for sha256 in images:
                source = self._kept(sha256)
                target = self.folder / "deliveries" / str(number) / "same" / f"{sha256}.png"
                target.parent.mkdir(exist_ok=True)
                os.link(source, target)
        rows.append((f"bad{number}", "there-is-none.png"))
        # Lines of one product may stand anywhere, but the order of its photos is theirs.
        places = [sku for sku, _ in rows]
        self.rng.shuffle(places)
        photos = {sku: iter([row for row in rows if row[0] == sku]) for sku in places}
        rows = [next(photos[sku]) for sku in places]
        return self._send(number, "shop", rows)

    def open_office(self, count: int) -> None:
        """Products that administrators work with; to be called once, and tagged before faults."""
        skus = [f"o{index}" for index in range(count)]
        number = next(self._numbers)
        self._send(number, "office", self._write(number, self.retailers["office"], skus))

    def send(self, pictures: Iterable[tuple[str, bytes]]) -> Errand:
        """Deliver these to the shop, each a sku and its file; who does so knows what must come of
        them.
        """
        number = next(self._numbers)
        folder = self.folder / "deliveries" / str(number)
        folder.mkdir()
        rows = []
        for place, (sku, data) in enumerate(pictures):
            (folder / f"{place}.png").write_bytes(data)
            rows.append((sku, f"{place}.png"))
        return self._send(number, "shop", rows)

    def learn(self) -> None:
        """What is so before any fault: what each worker holds, and, of the office, what the real
        network says of each shade; of these pictures it may say nothing else afterwards.
        """
        self._at_first = max((held_by(worker.pid) for worker in self.workers), key=sum)
        if not self.keras:
            return
        with self.observer.read() as session:
            rows = session.execute(
                sa.text("SELECT retailer_id, sku, suggestion FROM products")
            ).all()
        for retailer, sku, suggestion in rows:
            self._answers[self._shades[retailer, sku]] = suggestion
        if self._answers.keys() != SHADES.keys():
            raise AssertionError(f"the office has not every shade: {sorted(self._answers)}")
        for key, shade in self._shades.items():
            one = self.expected[key]
            self.expected[key] = Expected(images=one.images, suggestion=self._answers[shade])

    def grown(self) -> list[str]:
        """What workers hold more than one did before any fault; a few files come and go."""
        assert self._at_first is not None
        found = []
        for worker in self.workers:
            now = held_by(worker.pid)
            for name, many, before in zip(Holdings._fields, now, self._at_first, strict=True):
                if many > before + SOME:
                    found.append(f"a worker has {many} {name}, and had {before}")
        return found

    def half_written(self) -> set[str]:
        """Names of images that are not stored yet."""
        return {path.name for path in (self.store / "incoming").iterdir()}

    def _send(self, number: int, retailer: str, rows: list[tuple[str, str]]) -> Errand:
        folder = self.folder / "deliveries" / str(number)
        lines = [f"{sku},{image},{self.rng.randrange(9)}\n" for sku, image in rows]
        (folder / "products.csv").write_text("sku,image,rank\n" + "".join(lines))
        upload = f"u{number:06}"
        self._sent[upload] = len(rows)
        self._coming[upload] = {(self.retailers[retailer], sku) for sku, _ in rows}
        for key in self._coming[upload] & self.expected.keys():
            self._brought.setdefault(key, {})[upload] = self.expected[key]
        return self.begin("deliver", folder=str(folder), retailer=retailer, upload=upload)

    def _write(self, number: int, retailer: int, skus: list[str]) -> list[tuple[str, str]]:
        """Photos of these products, each one's own; notes what must come of them."""
        folder = self.folder / "deliveries" / str(number)
        folder.mkdir()
        rows: list[tuple[str, str]] = []
        for place, sku in enumerate(skus):
            shade = self.rng.choice(list(SHADES))
            shas = []
            for which in range(2 if self.rng.random() < 0.15 else 1):
                name = f"{place}-{which}.png"
                shas.append(self._picture(folder / name, shade))
                rows.append((sku, name))
            if (retailer, sku) not in self.expected:
                self._known.setdefault(retailer, []).append(sku)
            self._shades[retailer, sku] = shade
            answer = self._answers.get(shade) if self.keras else SHADES[shade]
            self.expected[retailer, sku] = Expected(images=tuple(shas), suggestion=answer)
        return rows

    def _picture(self, path: Path, shade: int) -> str:
        """A picture of this shade that no other is equal to; returns its sha256."""
        # The text makes the bytes differ; the pixels say nothing but the shade.
        Image.new("RGB", (12, 12), (shade,) * 3).save(path, pnginfo=_text(next(self._numbers)))
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        kept = self._kept(found)
        kept.parent.mkdir(exist_ok=True)
        os.link(path, kept)
        return found

    def _kept(self, sha256: str) -> Path:
        return self.folder / "photos" / f"{sha256}.png"

    def drop(self) -> Errand | None:
        """Loose photos and a broken archive land in the inbox."""
        if any(errand.kind == "watch" for errand in self.errands):
            return None
        inbox = self.folder / "inbox"
        number = next(self._numbers)
        folder = self.folder / "deliveries" / str(number)
        skus = [f"d{number}-{index}" for index in range(3)]
        rows = self._write(number, self.retailers["drop"], skus)
        inbox.mkdir(exist_ok=True)
        seen: dict[str, str] = {}
        for sku, name in rows:
            if sku in seen:  # one photo each: a loose file is a product
                continue
            seen[sku] = name
            (folder / name).rename(inbox / f"{sku}.png")
            key = self.retailers["drop"], sku
            before = self.expected[key]
            self.expected[key] = Expected(images=before.images[:1], suggestion=before.suggestion)
        (inbox / f"broken{number}.zip").write_bytes(b"PK\x03\x04 and no more")
        return self.begin("watch", inbox=str(inbox), retailer="drop")

    def take(self) -> Errand:
        return self.begin(
            "take",
            retailer="shop",
            reviewer=self.rng.choice(("Ann", "Bob")),
            count=4,
            audit=self.rng.random() < 0.3,
        )

    def say(self) -> Errand:
        """Answer the cards that were taken, right, as people do."""
        answers = []
        for card in self._cards:
            wanted = self.expected[self.retailers["shop"], card["sku"]].suggestion
            right = card["suggestion"] == wanted
            unsure = self.rng.random() < 0.1
            verdict = "unsure" if unsure else ("confirmed" if right else "corrected")
            answers.append(
                {**card, "verdict": verdict, "category": None if verdict != "corrected" else wanted}
            )
        self._cards = []
        return self.begin("say", retailer="shop", answers=answers, action=self._uuid())

    def undo(self) -> Errand:
        review, reviewer = self._said.pop()
        return self.begin("undo", reviews=[review], reviewer=reviewer, action=self._uuid())

    def look_around(self) -> Errand:
        return self.begin("look", retailer="shop", reviewer="Zoe")

    def log_in(self) -> Errand:
        return self.begin("log_in", name=f"person {next(self._numbers)}")

    def govern(self) -> Errand:
        self._offices += 1
        number = next(self._numbers)
        bundle = write_bundle(self.folder / "bundles" / f"shades-x{number}", f"x{number}")
        write_bundle(self.settings.models_dir() / f"shades-y{number}", f"y{number}")
        return self.begin(
            "govern",
            number=self._offices,
            retailer="office",
            switched="shop",
            sku=f"o{self._offices % OFFICE}",
            bundle=str(bundle),
            opinion=self._uuid(),
            settled=self._uuid(),
        )

    def retag(self, retailer: str | None = None, *, all_of_it: bool = False) -> Errand:
        """Mostly of few products: while many batches wait no request goes on, and no failpoint of
        it is reached.
        """
        number = next(self._numbers)
        scope = "all" if all_of_it else ("all", "missing", "failed")[number % 3]
        few = scope == "all" and number % 4 != 0
        self.wait(lambda: (self.waiting_batches() or 0) < MANY, DRAINED_S, busy=False)
        return self.begin("retag", retailer=retailer or ("office" if few else "shop"), scope=scope)

    def move_much(self) -> Errand:
        return self.begin("move_much", retailer="shop")

    def migrate(self) -> Errand:
        number = next(self._numbers)
        url = f"sqlite:///{self.folder / f'fresh{number}.db'}"
        return self.begin("migrate", url=url)

    def preserve(self) -> Errand:
        folder = self.folder / "kept" / str(next(self._numbers))
        whole = self.rng.random() < WHOLE_SHARE
        return self.begin("preserve", folder=str(folder), whole=whole, empty=str(self.empty))

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def _hear(self, errand: Errand) -> None:
        match errand.kind:
            case "deliver":
                upload = errand.details["upload"]
                self.lines[upload] = self._sent[upload]
            case "take":
                self._cards = errand.heard
            case "say":
                reviewer = errand.details["answers"][0]["reviewer"] if errand.heard else ""
                for review, sku, category in errand.heard:
                    self.reviewed[errand.details["action"], sku] = category
                    self._said.append((review, reviewer))

    # The end

    def close(self) -> None:
        """Nobody is left."""
        for child in [*self.workers, *(errand.child for errand in self.errands)]:
            if child.status is None:
                child.kill(signal.SIGCONT)
                child.kill()
                os.waitpid(child.pid, 0)
        self.workers.clear()
        self.errands.clear()
        self.observer.close()

    def tail(self, what: str = "worker", most: int = 4000) -> str:
        path = self.folder / "logs" / f"{what}.log"
        return path.read_text(errors="replace")[-most:] if path.exists() else ""


@contextmanager
def inhabited(
    installation: Embedded | Servers,
    folder: Path,
    rng: random.Random,
    *,
    keras: bool = False,
    classify_s: float = 0.25,
    office: int = OFFICE,
    workers: int = 2,
) -> Iterator[World]:
    """A world with its workers at work and its office open, which has so many products."""
    _warm_up(installation)
    (folder / "photos").mkdir(parents=True)
    world = World(
        installation=installation,
        folder=folder,
        rng=rng,
        keras=keras,
        classify_s=classify_s,
        workers_wanted=workers,
    )
    if keras:
        world.workers_wanted = 1
    try:
        world.open_office(max(office, OFFICE))
        if not world.wait(lambda: not world.errands and world.queued() == 0, 120, busy=False):
            raise AssertionError(
                f"the office never opened\n{world.tail()}\n{world.tail('deliver')}"
            )
        world.learn()
        yield world
    finally:
        world.close()


LOADED_LATE: Final = (
    "alembic.command",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.app.routes",
    "celery.backends.base",
    "celery.concurrency.thread",
    "celery.events.receiver",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy",
    "scipy.special",
    "worker.cli",
)
"""What Celery and the command line import only once they are at work."""


def _warm_up(installation: Embedded | Servers) -> None:
    """Do, once, what takes processes longest: every one of a world is forked from this one."""
    for name in LOADED_LATE:
        importlib.import_module(name)
    sa.orm.configure_mappers()
    doorbell = BrokerDoorbell(installation.settings)
    doorbell.depth()
    doorbell.app.close()
    gc.collect()
    gc.freeze()  # none of them need look through this again


def _said_of(status: int | None) -> str:
    if status is None:
        return "runs"
    if os.WIFSIGNALED(status):
        return f"by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"with {os.WEXITSTATUS(status)}"


def _text(mark: int) -> Any:
    from PIL.PngImagePlugin import PngInfo

    found = PngInfo()
    found.add_text("mark", str(mark))
    return found
