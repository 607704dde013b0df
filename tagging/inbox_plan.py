"""What a drop folder is about to ingest, as it is written down before anything is moved."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any, Final

from tagging.catalog.delivery import shown

DONE: Final = "done"
REJECTED: Final = "rejected"
STATE: Final = ".atelier"
OWN: Final = frozenset({DONE, REJECTED, STATE})
"""What is Atelier's own in an inbox, and none of a delivery's."""
KINDS: Final = frozenset({"manifest", "folder", "file", "images"})

_UPLOAD: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
"""As `tagging.ingest.new_upload_id` makes them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be ingested together. `entries`: names in the inbox.

    `main`: the entry to open (a manifest, zip or folder); None for loose images.
    """

    upload: str
    kind: str
    entries: tuple[str, ...]
    main: str | None
    tries: int = 0
    """How often it was begun and not ended, but for what was no fault of it."""
    rejected: dict[str, Any] | None = None
    """The report, from when it was decided that all of it is moved to `rejected`."""

    def __post_init__(self) -> None:
        """Raises ValueError for what would lead out of the inbox, or into what is Atelier's."""
        if not _UPLOAD.fullmatch(self.upload):
            raise ValueError(f"'{shown(self.upload)}' is no id of an upload")
        if self.kind not in KINDS:
            raise ValueError(f"'{shown(self.kind)}' is no kind of a plan")
        if not self.entries:
            raise ValueError("a plan has at least one entry")
        for name in self.entries:
            if name in OWN or name in ("", ".", "..") or "/" in name or "\0" in name:
                raise ValueError(f"'{shown(name)}' is no name of something that was dropped")
        if self.main is not None and self.main not in self.entries:
            raise ValueError(f"'{shown(self.main)}' is none of its entries")
        if self.tries < 0:
            raise ValueError(f"it was begun {self.tries} times")


def plan_file(upload: str) -> str:
    """The name of the file of a plan."""
    return f"{upload}.json"


def read_plan(name: str, data: bytes) -> Plan:
    """The plan in the file `name`. Raises ValueError for what is none."""
    try:
        raw = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is no plan") from error
    known = {field.name for field in fields(Plan)}
    if not isinstance(raw, dict) or not known - {"tries"} <= raw.keys() <= known:
        raise ValueError("it is no plan")
    entries, rejected = raw["entries"], raw["rejected"]
    texts = [raw["upload"], raw["kind"], *(entries if isinstance(entries, list) else [None])]
    if raw["main"] is not None:
        texts.append(raw["main"])
    is_count = type(raw.get("tries", 0)) is int
    if not (all(isinstance(text, str) for text in texts) and is_count):
        raise ValueError("it is no plan")
    if rejected is not None and not isinstance(rejected, dict):
        raise ValueError("it is no plan")
    plan = Plan(**{**raw, "entries": tuple(entries)})
    if name != plan_file(plan.upload):
        raise ValueError(f"'{shown(name)}' is not the file of upload {plan.upload}")
    return plan
