"""`atelier check --deep`: what `tagging.integrity` finds, told to people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tagging.database.session import Database
from tagging.integrity import KINDS, DeepCheck, DeepFinding, mend_counts, mend_queued_nowhere
from tagging.settings import Settings
from worker import console
from worker.bootstrap import image_store, utc_now
from worker.doctor import Finding
from worker.doorbell import BrokerDoorbell

_SAYS: Final = {
    1: "every product is on its way or at an end",
    2: "one prediction per product, photos and model",
    3: "images are the bytes that they are named by",
    7: "ledgers and counts add up with the products",
    None: "leftovers",
}


@dataclass(frozen=True, kw_only=True)
class DeepLine(Finding):
    """A finding about rows or files. `ok` where nothing that must hold is broken."""

    damage: DeepFinding

    def as_json(self) -> dict[str, object]:
        found = self.damage
        return {
            "what": self.what,
            "ok": self.ok,
            "found": self.found,
            "remedy": self.remedy,
            "damage": found.damage.value,
            "promise": KINDS[found.damage].promise,
            "looked_at": found.looked_at,
            "count": found.count,
            "examples": list(found.examples),
        }

    def lines(self) -> list[str]:
        first, *rest = super().lines()
        shown = [f"          {console.plain(example)}" for example in self.damage.examples]
        if self.damage.count > len(shown) > 0:
            shown.append("          …")
        return [first, *shown, *rest]


def examine_deeply(
    settings: Settings, *, sample: int | None = None, mend: bool = False
) -> list[Finding]:
    """Look at all rows and files. The database must be at this version's migration.

    Raises:
        StoreAwayError: the image store cannot be reached.
    """
    if settings.embedded and not (settings.home / "atelier.db").exists():
        return []  # opening it would make it
    database = Database(settings.resolved_database_url())
    store = image_store(settings)
    try:
        if mend:
            corrected = mend_counts(database)
            mended = mend_queued_nowhere(
                database,
                BrokerDoorbell(settings),
                batch_images=settings.batch_images,
                now=utc_now(),
            )
            console.err().print(
                f"{mended:,} queued products were put into batches, {corrected:,} counts corrected"
            )
        with _progress() as progress:
            bar = progress.add_task("looking", total=None)
            found = DeepCheck(
                database=database,
                store=store,
                now=utc_now(),
                sample=sample,
                on_progress=lambda what, done, of: progress.update(
                    bar, description=what, completed=done, total=of or None
                ),
            ).run()
    finally:
        database.close()
    return list(_told(found))


def _told(found: Sequence[DeepFinding]) -> list[Finding]:
    return [
        DeepLine(
            what=_SAYS[KINDS[one.damage].promise],
            ok=not one.broken,
            found=_sentence(one),
            remedy=KINDS[one.damage].remedy if one.count else "",
            damage=one,
        )
        for one in found
    ]


def _sentence(one: DeepFinding) -> str:
    kind = KINDS[one.damage]
    count = f"{one.count:,}" if one.count else "none"
    return f"{kind.subject} {kind.said}: {count} of {one.looked_at:,}"


def _progress() -> Progress:
    """Nothing is drawn where standard error is no terminal."""
    talk = console.err()
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=talk,
        transient=True,
        disable=not talk.is_terminal,
    )
