"""What is said of a request to classify products again."""

from __future__ import annotations

from typing import Any

from tagging.database.retags import RetagLine
from tagging.database.tables import BatchState, RetagScope, RetagState
from worker.console import plain


def retag_json(line: RetagLine) -> dict[str, Any]:
    """A retag as `--json` has it."""
    return vars(line) | {"complete": line.complete}


def retag_text(line: RetagLine) -> str:
    """A retag in a few words: whose, which, how far."""
    waiting = line.batches[BatchState.QUEUED] + line.batches[BatchState.LEASED]
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (line.queued, "to classify"),
            (line.classified, "of these done"),
            (waiting, "batches waiting"),
            (line.not_asked, "not asked for"),
            (line.reviewed, "decided by people"),
            (line.failed, "failed before"),
            (line.in_work, "being classified anyway"),
            (line.delisted, "not in the catalogue any more"),
        )
        if number
    ]
    return (
        f"retag {line.id} of {plain(line.retailer)}, {_which(line)}: {_state(line)}; "
        f"{line.looked_at:,} seen" + "".join(f", {part}" for part in parts)
    )


def _state(line: RetagLine) -> str:
    if line.state is RetagState.OPEN:
        return "looking"
    if line.state is RetagState.CANCELLED:
        return f"cancelled by {plain(line.cancelled_by or '')}"
    return "done" if line.complete else "classifying"


def _which(line: RetagLine) -> str:
    if line.scope is RetagScope.MODEL:
        return f"--model {plain(line.model or '')}"
    if line.scope is RetagScope.SKU:
        return f"{len(line.skus or []):,} by name"
    return f"--{line.scope}"
