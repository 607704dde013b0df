"""The drop folder: whatever lands in it is ingested once, whatever dies meanwhile.

A thing is taken when it has stopped growing. Its way is written down first (a *plan*: upload id
and names), then it is moved into `.atelier/claimed/<upload>/`, ingested under that upload id, and
moved to `done/<upload>/` or `rejected/`. Every move is a rename within one file system, and every
step can be done again: after a kill, the plans say where to go on, and an upload id that is
already in the ledger is never ingested twice. What ends this process again and again is rejected.

Who drops things is not trusted: links are not followed, Atelier's own folders are none of a
delivery's, and no name of a dropped file stops the next one. They may even rename Atelier's own
folders, or put links in their places: these folders are held open (`HeldFolder`), and must be this
account's. `.atelier` is closed to all others.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from tagging.catalog.delivery import DeliveredRow, RejectedRow, shown
from tagging.catalog.naming import MANIFEST_ENDINGS, ending, is_image_name
from tagging.catalog.opening import open_delivery
from tagging.catalog.paths import HELD, FileImage
from tagging.database import uploads
from tagging.database.uploads import RejectedLine
from tagging.domain import FailureCode
from tagging.errors import AtelierError, DeliveryError, MachineError
from tagging.failpoints import failpoint
from tagging.held_folder import HeldFolder
from tagging.inbox_looks import Looks
from tagging.inbox_plan import DONE, OWN, REJECTED, STATE, Plan, plan_file, read_plan
from tagging.ingest import Ingest, UploadSummary, new_upload_id
from tagging.pauses import Pauses
from tagging.printable import printable

REPORT: Final = "atelier-report.json"
UNFINISHED_ENDINGS: Final = frozenset({"part", "partial", "tmp", "crdownload", "filepart"})
"""What programs call a file that they are still writing."""
MAX_TRIES: Final = 5
"""How often a delivery may end this process, or fail for a reason of its own. Kills that were not
its doing count as well, so it is more than the few that a machine has on a bad day."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""How long what could not be moved or read is left alone: twice as long each time."""
MAX_NAME_BYTES: Final = 255
"""Of a file's name, on the usual file systems."""
MAX_LISTED: Final = 1000
"""Lines of each kind that a report holds in memory; the file beside the delivery has all."""
MANIFEST_PATIENCE_S: Final = 60.0
"""How long a manifest waits for images that it names and that have not landed yet."""

_WAY: Final = re.compile(rf"{re.escape(HELD)}[0-9]+/(?:[0-9a-f-]+/)?")
"""What leads to a claimed delivery: no business of who reads why it was rejected."""

log = structlog.get_logger("inbox")


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
    _held: dict[str, HeldFolder] = field(default_factory=dict)
    _pauses: Pauses[str] = field(init=False)

    def __post_init__(self) -> None:
        self._pauses = Pauses(
            monotonic=self.monotonic, first_s=FIRST_PAUSE_S, most_s=LONGEST_PAUSE_S
        )

    def prepare(self) -> None:
        """Make the folders that are missing, and take the inbox for this process.

        Raises:
            DeliveryError: another process watches it, or a folder in it that should be this
                account's is not.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self._held["root"] = HeldFolder.at(self.root)
        self._open_outlets()
        # Who drops things has no business in there. What comes out of it again, into `done` and
        # `rejected`, has the modes with which it was dropped.
        self._held[STATE] = self._root.own(STATE, private=True)
        for name in ("claimed", "plans"):
            self._held[name] = self._held[STATE].own(name, private=True)
        # Held open, and so locked, until the process ends, however it ends.
        self._lock = self._held[STATE].lock_file("lock")
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
        for folder in self._held.values():
            folder.close()
        self._held.clear()

    def _open_outlets(self) -> None:
        """Hold `done` and `rejected` as they stand now: people may have tidied them away."""
        if not self._root.is_still(self.root):
            raise DeliveryError(
                f"{self.root} is another folder than the one that is watched; start watching again"
            )
        for name in (DONE, REJECTED):
            before = self._held.get(name)
            if before is None or not before.is_at(self._root):
                self._held[name] = self._root.own(name)
                if before is not None:
                    before.close()

    @property
    def _root(self) -> HeldFolder:
        return self._held["root"]

    @property
    def _claimed(self) -> HeldFolder:
        return self._held["claimed"]

    def empty(self) -> bool:
        """Whether nothing is left to take."""
        return not self._plans() and not self._entries()

    def only_waits(self) -> bool:
        """Whether all that is left is what could not be moved or read at the last try."""
        plans = self._plans()
        return (
            bool(plans)
            and not self._entries()
            and self._pauses.failing().issuperset(p.upload for p in plans)
        )

    def step(self) -> Iterator[dict[str, Any]]:
        """Finish what was begun, then take what is ripe; yields a report for each upload.

        Raises:
            DeliveryError: in the place of the inbox, `done` or `rejected` there is something else.
        """
        self._open_outlets()
        for plan in self._plans():
            if plan.upload not in self._pauses.waiting():
                yield from self._try(plan)
        for plan in self._ripe_plans():
            failpoint("inbox.plan")
            self._write_plan(plan)
            failpoint("inbox.planned")
            yield from self._try(plan)

    def _try(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """Carry a plan out; what cannot be moved or read stays planned, and the others go on.

        A disk or a database that is away, and the end of this process by who runs it, count as no
        try of the plan.
        """
        try:
            report = self._carry_out(plan)
        except (OSError, MachineError) as error:
            self._withdraw_try(plan)
            self._pauses.failed(plan.upload)
            log.error(
                "waits",
                upload=plan.upload,
                entries=[printable(name) for name in plan.entries[:5]],
                error=str(error),
                note="check the owner and the permissions of what was dropped; it is tried again",
            )
            return
        except IntegrityError:
            raise
        except (DBAPIError, AtelierError, KeyboardInterrupt, SystemExit):
            self._withdraw_try(plan)
            raise
        self._pauses.worked(plan.upload)
        yield report

    def _withdraw_try(self, plan: Plan) -> None:
        """Have the plan count as many tries as when it was taken up."""
        # Where it cannot be written either, the count stays one too high.
        with suppress(OSError):
            now = self._read_plan(plan_file(plan.upload))
            if now.tries > plan.tries:
                self._write_plan(replace(now, tries=plan.tries))

    # What is there, and what has stopped growing

    def _entries(self) -> list[str]:
        """What lies there to be taken, but for what a plan has begun with and could not move."""
        begun = {name for plan in self._plans() for name in plan.entries if plan.rejected is None}
        return [
            name
            for name in self._root.names()
            if not name.startswith(".")
            and name not in OWN
            and name not in begun
            and ending(name) not in UNFINISHED_ENDINGS
        ]

    def _ripe_plans(self) -> Iterator[Plan]:
        looks = Looks(state=self._held[STATE])
        entries = self._entries()
        ripe = [name for name in entries if self._is_settled(name)]
        # Also of what is no entry by its name (`.x`, `y.tmp`): a manifest may wait for it.
        names = set(entries)
        self._seen = {
            name: seen
            for name, seen in self._seen.items()
            if name in names or self._root.holds(name)
        }
        manifests = {
            name: None
            for name in entries
            if ending(name) in MANIFEST_ENDINGS and self._root.kind(name) == stat.S_IFREG
        }
        waiting = bool(manifests)
        looks.keep(manifests)
        for name in manifests:
            if not self._root.holds(name):
                continue  # an earlier manifest of this round took it along
            plan = self._manifest_plan(name, looks) if name in ripe else None
            if plan is not None:
                yield plan
        images = []
        for name in ripe:
            kind = self._root.kind(name)
            if name in manifests or kind is None:
                continue  # a manifest took it along a moment ago
            if not self._is_settled(name):
                continue  # it grew again while something else was ingested
            if kind == stat.S_IFREG and is_image_name(name):
                images.append(name)
            elif kind == stat.S_IFDIR:
                # Images may belong to a manifest that is still on its way in: it goes first.
                if not waiting:
                    yield self._plan("folder", (name,), main=name)
            else:
                yield self._plan("file", (name,), main=name)
        # What else was ingested meanwhile may have taken hours.
        images = [name for name in images if self._root.holds(name) and self._is_settled(name)]
        if images and not waiting:
            yield self._plan("images", tuple(images), main=None)

    def _is_settled(self, name: str) -> bool:
        return self._settled_for(name) >= self.settle_s

    def _settled_for(self, name: str) -> float:
        """For how many seconds it has been as it is now."""
        now = self.monotonic()
        signature = _signature(self.root / name)
        seen = self._seen.get(name)
        if seen is None or seen[0] != signature:
            self._seen[name] = (signature, now)
            return 0.0
        return now - seen[1]

    def _manifest_plan(self, name: str, looks: Looks) -> Plan | None:
        """The manifest with the images that it names; None while it waits for some of them."""
        tops: dict[str, None] = {}
        missing = False
        signature = self._seen[name][0]
        ended = looks.ended(name, signature)
        if ended >= MAX_TRIES:
            return replace(self._plan("manifest", (name,), main=name), tries=ended)
        try:
            with (
                looks.at(name, signature),
                open_delivery(
                    self.root / name, follow_link=False, fetcher=self.ingest.fetcher
                ) as delivery,
            ):
                for row in delivery.rows():
                    if isinstance(row, RejectedRow):
                        missing = True
                    elif isinstance(row, DeliveredRow):
                        for image in row.images:
                            if isinstance(image, FileImage):
                                tops[Path(image.relative).parts[0]] = None
        except DeliveryError:
            looks.forget(name)
            return self._plan("manifest", (name,), main=name)
        # What was taken in before is no part of a delivery: such lines find no image.
        tops = {top: None for top in tops if top not in OWN}
        if missing and self._settled_for(name) < max(self.settle_s, self._patience()):
            return None
        growing = [top for top in tops if not self._is_settled(top)]  # each is looked at
        if growing:
            return None
        # The manifest last: a claim that is cut short then never reads as a complete one.
        return self._plan("manifest", (*tops, name), main=name)

    def _patience(self) -> float:
        return min(MANIFEST_PATIENCE_S, self.settle_s * 10)

    def _plan(self, kind: str, entries: tuple[str, ...], *, main: str | None) -> Plan:
        upload = new_upload_id(self.ingest.now())
        return Plan(upload=upload, kind=kind, entries=entries, main=main)

    # Plans: what was begun

    def _plans(self) -> list[Plan]:
        found = []
        plans = self._held["plans"]
        for name in plans.names():
            if not name.endswith(".json"):
                continue
            try:
                found.append(self._read_plan(name))
            except ValueError as error:
                # Damaged, or forged by who could write there once. What it claimed stays put.
                log.error(
                    "plan_refused",
                    plan=printable(str(plans.path / name)),
                    error=str(error),
                    note="it is put aside as .refused; what it claimed is in `claimed` beside it",
                )
                plans.move(name, plans, f"{name}.refused")
        return found

    def _read_plan(self, name: str) -> Plan:
        return read_plan(name, self._held["plans"].read(name))

    def _write_plan(self, plan: Plan) -> None:
        self._write(self._held["plans"], plan_file(plan.upload), asdict(plan))

    def _end_plan(self, plan: Plan) -> None:
        plans = self._held["plans"]
        plans.remove(plan_file(plan.upload))
        plans.sync()

    def _write(self, folder: HeldFolder, name: str, value: dict[str, Any]) -> None:
        """Write `value`; of a report that lists only its first lines, all of them."""
        lines: dict[str, Iterator[RejectedLine]] = {}
        if max(value.get("rejected_lines", 0), value.get("skipped_lines", 0)) > MAX_LISTED:
            lines = self._lines(value["upload"])
        _write_durably(self._held[STATE], folder, name, value, lines)

    def _lines(self, upload: str) -> dict[str, Iterator[RejectedLine]]:
        database = self.ingest.database
        return {
            "rejected": uploads.rejected_lines(database, upload),
            "skipped": uploads.skipped_lines(database, upload),
        }

    def _claim(self, plan: Plan, claimed: HeldFolder) -> None:
        for name in plan.entries:
            if self._root.holds(name):
                if claimed.holds(name):
                    # A new file of that name landed after the claim: it stays for its own turn.
                    continue
                failpoint("inbox.claim")
                self._root.move(name, claimed)
        claimed.sync()

    def _carry_out(self, plan: Plan) -> dict[str, Any]:
        done = self._held[DONE]
        if done.holds(plan.upload) and not self._claimed.holds(plan.upload):
            # Killed between the last move and the plan's end.
            self._end_plan(plan)
            return {"upload": plan.upload, "outcome": DONE}
        if plan.rejected is not None:
            # Killed while it was moved aside. Nothing is claimed any more: a file of the same
            # name may have been dropped since, to replace the bad one.
            self._move_aside(plan, plan.rejected)
            self._end_plan(plan)
            return plan.rejected
        received = self._is_received(plan.upload)
        if received and not self._claimed.holds(plan.upload):
            # Killed there, too, and what lay in `done` was tidied away since.
            self._end_plan(plan)
            return {"upload": plan.upload, "outcome": DONE}
        with self._claimed.own(plan.upload) as claimed:
            if not received:  # else whatever has one of these names now landed afterwards
                self._claim(plan, claimed)
            failpoint("inbox.claimed")
            try:
                summary = self._filed(plan.upload) if received else self._take_in(plan)
                failpoint("inbox.taken_in")
            except (DeliveryError, DataError) as error:
                report = {"upload": plan.upload, "outcome": REJECTED, **_said(error)}
                self._reject(plan, report)
            else:
                report = self._report(summary)
                if not (summary.products or summary.superseded):
                    report |= {
                        "outcome": REJECTED,
                        "code": FailureCode.NO_PRODUCT,
                        "error": "no product could be taken from it; see `rejected` and `skipped`",
                    }
                    self._reject(plan, report)
                else:
                    name = f"{plan.upload}.{REPORT}" if REPORT in plan.entries else REPORT
                    self._write(claimed, name, report)
                    self._claimed.move(plan.upload, done)
                    failpoint("inbox.done")
                    done.sync()
        self._end_plan(plan)
        log.info("taken", **{k: v for k, v in report.items() if k not in ("rejected", "skipped")})
        return report

    def _begin(self, plan: Plan) -> None:
        """Count one try more, on the disk before it is tried: whatever kills this process leaves it
        there. Raises DeliveryError for the one that is too many.
        """
        if plan.tries >= MAX_TRIES:
            raise DeliveryError(
                f"it was begun {plan.tries} times, and each time the process that read it ended or "
                "failed. Deliver it in parts; if the machine was at fault, once more"
            )
        self._write_plan(replace(plan, tries=plan.tries + 1))

    def _take_in(self, plan: Plan) -> UploadSummary:
        # By what is held, not by the names that lead to it.
        source = self._claimed.way / plan.upload
        self._begin(plan)
        with open_delivery(
            source if plan.main is None else source / plan.main,
            manifest_in_folder=plan.kind == "folder",
            follow_link=False,
            fetcher=self.ingest.fetcher,
        ) as delivery:
            delivery.name = printable(plan.main or f"{len(plan.entries)} images")
            return self.ingest.accept_upload(
                delivery, retailer_id=self.retailer_id, upload_id=plan.upload
            )

    def _is_received(self, upload: str) -> bool:
        """Whether the ledger has all of it, of before a kill."""
        with self.ingest.database.read() as session:
            return uploads.is_received(session, upload)

    def _filed(self, upload: str) -> UploadSummary:
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
            "skipped_lines": summary.skipped + summary.superseded,
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
        rejected = self._held[REJECTED]
        report_name = f"{plan.main or plan.upload}.report.json"
        if report_name in plan.entries or not _fits(report_name):
            report_name = f"{plan.upload}.report.json"
        # What stands there may as well be something that was dropped under such a name.
        mine = rejected.begins(report_name, _beginning(plan.upload))
        names = [*plan.entries, report_name]
        if mine or not any(map(rejected.holds, names)):
            self._move_into(rejected, "", report_name, plan, report)
            return
        prefix = f"{plan.upload}-"
        if all(_fits(prefix + name) for name in names):
            self._move_into(rejected, prefix, report_name, plan, report)
            return
        with rejected.own(plan.upload) as apart:
            self._move_into(apart, "", report_name, plan, report)

    def _move_into(
        self,
        target: HeldFolder,
        prefix: str,
        report_name: str,
        plan: Plan,
        report: dict[str, Any],
    ) -> None:
        self._write(target, f"{prefix}{report_name}", report)
        if self._claimed.holds(plan.upload):
            with self._claimed.own(plan.upload) as claimed:
                for name in claimed.names():
                    failpoint("inbox.move_aside")
                    claimed.move(name, target, f"{prefix}{name}")
            self._claimed.remove_folder(plan.upload)


def _said(error: DeliveryError | DataError) -> dict[str, str]:
    """What the report says of it."""
    if isinstance(error, DeliveryError):
        return {"code": error.code, "error": re.sub(_WAY, "", str(error))}
    return {
        "code": FailureCode.BAD_DELIVERY,
        "error": f"the database cannot hold something that stands in it "
        f"({shown(str(error.orig))}); correct it, or deliver it in parts",
    }


def _fits(name: str) -> bool:
    return len(os.fsencode(name)) <= MAX_NAME_BYTES


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
            if stat.S_ISDIR(info.st_mode):
                stack.extend(path.iterdir())
        except OSError:
            # Moved on while we look: the next look sees the change. Or too deep, or not for us:
            # whoever reads it says so.
            continue
        files, size = files + 1, size + info.st_size
        youngest = max(youngest, info.st_mtime_ns, info.st_ctime_ns)
    return files, size, youngest


def _write_durably(
    state: HeldFolder,
    folder: HeldFolder,
    name: str,
    value: dict[str, Any],
    lines: Mapping[str, Iterator[RejectedLine]],
) -> None:
    """Write `value` as JSON, with `lines`, which may be a million, in the place of its lists.

    It is made in `state`: where it goes there might lie something of a temporary name, or a link.
    """
    with state.new_text("writing") as stream:
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
    state.move("writing", folder, name)
    folder.sync()
