"""The drop folder: whatever lands in it is ingested once, whatever dies meanwhile.

A thing is taken when it has stopped growing. Its way is written down first (a *plan*: upload id
and names), then it is moved into `.atelier/claimed/<upload>/`, ingested under that upload id, and
moved to `done/<upload>/` or `rejected/`. Every move is a rename within one file system, and every
step can be done again: after a kill, the plans say where to go on, and an upload id that is
already in the ledger is never ingested twice.

Who drops things is not trusted: links are not followed, Atelier's own folders are none of a
delivery's, and no name of a dropped file stops the next one. `.atelier` must be this process's own:
nobody else needs to write there.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from tagging.catalog.delivery import DeliveredRow, DeliveryRowError, RejectedRow, printable
from tagging.catalog.naming import MANIFEST_ENDINGS, ending, is_image_name
from tagging.catalog.opening import open_delivery
from tagging.catalog.paths import FileImage, open_plain
from tagging.database import uploads
from tagging.database.uploads import RejectedLine
from tagging.domain import FailureCode
from tagging.errors import DeliveryError
from tagging.failpoints import failpoint
from tagging.ingest import Ingest, UploadSummary, new_upload_id
from tagging.private_files import close_tree, make_private_folder, open_private

DONE: Final = "done"
REJECTED: Final = "rejected"
STATE: Final = ".atelier"
REPORT: Final = "atelier-report.json"
UNFINISHED_ENDINGS: Final = frozenset({"part", "partial", "tmp", "crdownload", "filepart"})
"""What programs call a file that they are still writing."""
OWN: Final = frozenset({DONE, REJECTED, STATE})
MAX_NAME_BYTES: Final = 255
"""Of a file's name, on the usual file systems."""
MAX_LISTED: Final = 1000
"""Lines of each kind that a report holds in memory; the file beside the delivery has all."""
MANIFEST_PATIENCE_S: Final = 60.0
"""How long a manifest waits for images that it names and that have not landed yet."""

log = structlog.get_logger("inbox")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be ingested together. `entries`: names in the inbox, or `FOLDER/FILE`.

    `main`: the entry to open (a manifest, zip or folder); None for loose images.
    """

    upload: str
    kind: str
    entries: tuple[str, ...]
    main: str | None
    rejected: dict[str, Any] | None = None
    """The report, from when it was decided that all of it is moved to `rejected`."""


@dataclass(kw_only=True)
class Inbox:
    """One drop folder of one retailer. `step` is called again and again."""

    root: Path
    ingest: Ingest
    retailer_id: int
    settle_s: float
    monotonic: Callable[[], float]
    _seen: dict[str, tuple[tuple[int, int, int], float]] = field(default_factory=dict)
    _lock: TextIO | None = None

    def prepare(self) -> None:
        """Make the folders that are missing, and take the inbox for this process.

        Raises:
            DeliveryError: another process watches it.
        """
        for folder in (DONE, REJECTED):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        # Who drops things has no business in there. What comes out of it again, into `done` and
        # `rejected`, has the modes with which it was dropped.
        for folder in ("claimed", "plans"):
            make_private_folder(self.root / STATE / folder)
        for path in close_tree(self.root / STATE, but=self.root / STATE / "claimed"):
            log.warning("inbox_open", path=str(path), note="it belongs to another account")
        # Held open, and so locked, until the process ends, however it ends.
        lock = open_private(self.root / STATE / "lock", os.O_WRONLY)
        self._lock = os.fdopen(lock, "w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeliveryError(
                f"{self.root} is watched by another process already; one is enough"
            ) from None

    def close(self) -> None:
        """Let go of the inbox."""
        if self._lock is not None:
            self._lock.close()

    def empty(self) -> bool:
        """Whether nothing is left to take."""
        return not self._plans() and not self._entries()

    def step(self) -> Iterator[dict[str, Any]]:
        """Finish what was begun, then take what is ripe; yields a report for each upload."""
        for plan in self._plans():
            yield from self._try(plan)
        for plan in self._ripe_plans():
            failpoint("inbox.plan")
            self._write_plan(plan)
            failpoint("inbox.planned")
            yield from self._try(plan)

    def _try(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """Carry a plan out; what cannot be moved or read stays planned, and the others go on."""
        try:
            yield self._carry_out(plan)
        except OSError as error:
            log.error(
                "waits",
                upload=plan.upload,
                entries=[printable(name) for name in plan.entries[:5]],
                error=str(error),
                note="check the owner and the permissions of what was dropped; it is tried again",
            )

    # What is there, and what has stopped growing

    def _entries(self) -> list[Path]:
        return sorted(
            entry
            for entry in self.root.iterdir()
            if not entry.name.startswith(".")
            and entry.name not in (DONE, REJECTED)
            and ending(entry.name) not in UNFINISHED_ENDINGS
        )

    def _ripe_plans(self) -> Iterator[Plan]:
        now = self.monotonic()
        entries = self._entries()
        ripe = [entry for entry in entries if self._settled_for(entry, now) >= self.settle_s]
        names = {entry.name for entry in entries}
        # Also of what is no entry by its name (`.x`, `y.tmp`): a manifest may wait for it.
        self._seen = {
            name: seen
            for name, seen in self._seen.items()
            if name in names or os.path.lexists(self.root / name)
        }
        manifests = [e for e in entries if e.is_file() and ending(e.name) in MANIFEST_ENDINGS]
        waiting = bool(manifests)
        for manifest in manifests:
            if not os.path.lexists(manifest):
                continue  # an earlier manifest of this round took it along
            plan = self._manifest_plan(manifest, now) if manifest in ripe else None
            if plan is not None:
                yield plan
        images = []
        for entry in ripe:
            if entry in manifests or not os.path.lexists(entry):
                continue  # a manifest took it along a moment ago
            if self._settled_for(entry, now) < self.settle_s:
                continue  # it grew again while something else was ingested
            if entry.is_file() and is_image_name(entry.name):
                images.append(entry.name)
            elif entry.is_dir() and not entry.is_symlink():
                # Images may belong to a manifest that is still on its way in: it goes first.
                if not waiting:
                    yield self._plan("folder", (entry.name,), main=entry.name)
            else:
                yield self._plan("file", (entry.name,), main=entry.name)
        if images and not waiting:
            yield self._plan("images", tuple(images), main=None)

    def _settled_for(self, entry: Path, now: float) -> float:
        signature = _signature(entry)
        seen = self._seen.get(entry.name)
        if seen is None or seen[0] != signature:
            self._seen[entry.name] = (signature, now)
            return 0.0
        return now - seen[1]

    def _manifest_plan(self, manifest: Path, now: float) -> Plan | None:
        """The manifest with the images that it names; None while it waits for some of them."""
        tops: dict[str, None] = {}
        missing = False
        try:
            with open_delivery(
                manifest, follow_link=False, fetcher=self.ingest.fetcher
            ) as delivery:
                for row in delivery.rows():
                    if isinstance(row, RejectedRow):
                        missing = True
                    elif isinstance(row, DeliveredRow):
                        for image in row.images:
                            if isinstance(image, FileImage):
                                tops[Path(image.relative).parts[0]] = None
        except DeliveryError:
            return self._plan("manifest", (manifest.name,), main=manifest.name)
        # What was taken in before is no part of a delivery: such lines find no image.
        tops = {top: None for top in tops if top not in OWN}
        if missing and self._settled_for(manifest, now) < max(self.settle_s, self._patience()):
            return None
        if any(self._settled_for(self.root / top, now) < self.settle_s for top in tops):
            return None
        # The manifest last: a claim that is cut short then never reads as a complete one.
        return self._plan("manifest", (*tops, manifest.name), main=manifest.name)

    def _patience(self) -> float:
        return min(MANIFEST_PATIENCE_S, self.settle_s * 10)

    def _plan(self, kind: str, entries: tuple[str, ...], *, main: str | None) -> Plan:
        upload = new_upload_id(self.ingest.now())
        return Plan(upload=upload, kind=kind, entries=entries, main=main)

    # Plans: what was begun

    def _plans(self) -> list[Plan]:
        found = []
        for path in sorted((self.root / STATE / "plans").glob("*.json")):
            raw = json.loads(path.read_text(encoding="utf-8"))
            found.append(Plan(**{**raw, "entries": tuple(raw["entries"])}))
        return found

    def _plan_path(self, plan: Plan) -> Path:
        return self.root / STATE / "plans" / f"{plan.upload}.json"

    def _write_plan(self, plan: Plan) -> None:
        self._write(self._plan_path(plan), asdict(plan))

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        """Write `value`; of a report that lists only its first lines, all of them."""
        lines: dict[str, Iterator[RejectedLine]] = {}
        if max(value.get("rejected_lines", 0), value.get("skipped_lines", 0)) > MAX_LISTED:
            lines = self._lines(value["upload"])
        # Not beside `path`: there might lie something of that name, or a link.
        _write_durably(path, value, lines, temporary=self.root / STATE / "writing")

    def _lines(self, upload: str) -> dict[str, Iterator[RejectedLine]]:
        database = self.ingest.database
        return {
            "rejected": uploads.rejected_lines(database, upload),
            "skipped": uploads.skipped_lines(database, upload),
        }

    def _claim(self, plan: Plan) -> Path:
        claimed = self.root / STATE / "claimed" / plan.upload
        claimed.mkdir(exist_ok=True)
        for name in plan.entries:
            source, target = self.root / name, claimed / name
            if source.exists() or source.is_symlink():
                if target.exists():
                    # A new file of that name landed after the claim: it stays for its own turn.
                    continue
                failpoint("inbox.claim")
                source.rename(target)
        _sync_folder(claimed)
        return claimed

    def _carry_out(self, plan: Plan) -> dict[str, Any]:
        done = self.root / DONE / plan.upload
        if done.exists():
            # Killed between the last move and the plan's end.
            self._plan_path(plan).unlink()
            return {"upload": plan.upload, "outcome": DONE}
        if plan.rejected is not None:
            # Killed while it was moved aside. Nothing is claimed any more: a file of the same
            # name may have been dropped since, to replace the bad one.
            self._move_aside(plan, plan.rejected)
            self._plan_path(plan).unlink()
            return plan.rejected
        claimed = self._claim(plan)
        failpoint("inbox.claimed")
        try:
            summary = self._take_in(plan, claimed)
            failpoint("inbox.taken_in")
        except DeliveryError as error:
            report = {
                "upload": plan.upload,
                "outcome": REJECTED,
                "code": error.code,
                "error": str(error),
            }
            self._reject(plan, report)
        else:
            report = self._report(summary)
            if summary.products == 0:
                report |= {
                    "outcome": REJECTED,
                    "code": FailureCode.NO_PRODUCT,
                    "error": "no product could be taken from it; see `rejected` and `skipped`",
                }
                self._reject(plan, report)
            else:
                name = f"{plan.upload}.{REPORT}" if REPORT in plan.entries else REPORT
                self._write(claimed / name, report)
                claimed.rename(done)
                failpoint("inbox.done")
                _sync_folder(done.parent)
        self._plan_path(plan).unlink()
        log.info("taken", **{k: v for k, v in report.items() if k not in ("rejected", "skipped")})
        return report

    def _take_in(self, plan: Plan, claimed: Path) -> UploadSummary:
        source = claimed if plan.main is None else claimed / plan.main
        known = self._known(plan.upload)
        if known is not None:
            return known
        with open_delivery(
            source,
            manifest_in_folder=plan.kind == "folder",
            follow_link=False,
            fetcher=self.ingest.fetcher,
        ) as delivery:
            delivery.name = printable(plan.main or f"{len(plan.entries)} images")
            return self.ingest.accept_upload(
                delivery, retailer_id=self.retailer_id, upload_id=plan.upload
            )

    def _known(self, upload: str) -> UploadSummary | None:
        """The upload as the ledger has it, if all of it was received before a kill."""
        with self.ingest.database.read() as session:
            received = uploads.is_received(session, upload)
        if not received:
            return None
        self.ingest.file_upload(upload)
        return self.ingest.summary(upload)

    def _report(self, summary: UploadSummary) -> dict[str, Any]:
        listed = {
            kind: [vars(line) for line in itertools.islice(lines, MAX_LISTED)]
            for kind, lines in self._lines(summary.upload_id).items()
        }
        return {
            "upload": summary.upload_id,
            "outcome": DONE,
            "products": summary.products,
            "unchanged": summary.unchanged,
            "created": summary.created,
            "changed": summary.changed,
            "updated": summary.updated,
            "rejected_lines": summary.rejected,
            "skipped_lines": summary.skipped,
            **listed,
            "warnings": list(summary.warnings),
        }

    def _reject(self, plan: Plan, report: dict[str, Any]) -> None:
        """Decide, durably, that all of it is moved to `rejected`; then do so."""
        self._write_plan(replace(plan, rejected=report))
        self._move_aside(plan, report)

    def _move_aside(self, plan: Plan, report: dict[str, Any]) -> None:
        """Move what was claimed into `rejected`, the report beside it.

        The names get the upload's id where one of them is taken by an earlier upload.
        """
        rejected = self.root / REJECTED
        claimed = self.root / STATE / "claimed" / plan.upload
        report_name = f"{plan.main or plan.upload}.report.json"
        if report_name in plan.entries or not _fits(report_name):
            report_name = f"{plan.upload}.report.json"
        mine = _is_report_of(rejected / report_name, plan.upload)
        names = [*plan.entries, report_name]
        if not mine and any(os.path.lexists(rejected / name) for name in names):
            prefix = f"{plan.upload}-"
            if not all(_fits(prefix + name) for name in names):
                rejected, prefix = rejected / plan.upload, ""
                rejected.mkdir(exist_ok=True)
        else:
            prefix = ""
        self._write(rejected / f"{prefix}{report_name}", report)
        if claimed.exists():
            for entry in sorted(claimed.iterdir()):
                failpoint("inbox.move_aside")
                entry.rename(rejected / f"{prefix}{entry.name}")
            shutil.rmtree(claimed)


def _fits(name: str) -> bool:
    return len(os.fsencode(name)) <= MAX_NAME_BYTES


def _is_report_of(path: Path, upload: str) -> bool:
    """Whether a report of this very upload stands there, written before a kill.

    What stands there may as well be something that was dropped under such a name.
    """
    try:
        with open_plain(path, follow_link=False) as stream:
            return stream.read(len(_beginning(upload))) == _beginning(upload)
    except (FileNotFoundError, DeliveryRowError):
        return False


def _beginning(upload: str) -> bytes:
    """How the file of a report begins."""
    return f'{{\n "upload": "{upload}",'.encode()


def _signature(entry: Path) -> tuple[int, int, int]:
    """(files, bytes, youngest change in ns) of a file or of everything in a folder."""
    files, size, youngest = 0, 0, 0
    stack = [entry]
    while stack:
        path = stack.pop()
        try:
            info = path.lstat()
            if path.is_dir() and not path.is_symlink():
                stack.extend(path.iterdir())
        except OSError:
            # Moved on while we look: the next look sees the change. Or too deep, or not for us:
            # whoever reads it says so.
            continue
        files, size = files + 1, size + info.st_size
        youngest = max(youngest, info.st_mtime_ns, info.st_ctime_ns)
    return files, size, youngest


def _write_durably(
    path: Path,
    value: dict[str, Any],
    lines: Mapping[str, Iterator[RejectedLine]],
    *,
    temporary: Path,
) -> None:
    """Write `value` as JSON, with `lines`, which may be a million, in the place of its lists."""
    # backslashreplace: a name that is no UTF-8 becomes the escapes that JSON has for it.
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        text = json.dumps(
            {key: each for key, each in value.items() if key not in lines},
            ensure_ascii=False,
            indent=1,
            default=str,
        )
        stream.write(text.removesuffix("\n}"))
        for key, found in lines.items():
            stream.write(f',\n "{key}": [')
            for at, line in enumerate(found):
                stream.write(",\n  " if at else "\n  ")
                json.dump(vars(line), stream, ensure_ascii=False)
            stream.write("]")
        stream.write("\n}")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
