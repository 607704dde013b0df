"""What commands print: data on standard output, talk on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final, TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tagging.catalog import formula
from tagging.database.products import ProductLine
from tagging.domain import Autopilot, Status
from tagging.ingest import UploadSummary
from tagging.model_card import ModelCard

PRODUCT_KEYS: Final = (
    "retailer",
    "sku",
    "title",
    "category",
    "confidence",
    "status",
    "review_reason",
    "failure_code",
    "failure_detail",
    "model",
    "images",
    "top_k",
    "suggestion",
)
WIDE: Final = 110
STATUS_STYLE: Final = {
    Status.QUEUED: "dim",
    Status.TAGGED: "green",
    Status.NEEDS_REVIEW: "yellow",
    Status.REVIEWED: "cyan",
    Status.FAILED: "red",
}


def out() -> Console:
    """For data."""
    return Console(file=sys.stdout, highlight=False)


def err() -> Console:
    """For talk."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def print_json_with_lists(value: dict[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """One JSON object on standard output, whose `lists`, which may be long, are streamed."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str).removesuffix("}"))
    for key, items in lists.items():
        sys.stdout.write(f", {json.dumps(key)}: [")
        for at, item in enumerate(items):
            sys.stdout.write(", " if at else "")
            sys.stdout.write(json.dumps(item, ensure_ascii=False, default=str))
        sys.stdout.write("]")
    sys.stdout.write("}\n")


def product_json(line: ProductLine) -> dict[str, Any]:
    """The documented keys of a product."""
    whole = asdict(line)
    return {key: whole[key] for key in PRODUCT_KEYS}


def write_jsonl(lines: Iterable[ProductLine], stream: TextIO) -> int:
    """One product per line; returns how many."""
    count = 0
    for line in lines:
        stream.write(json.dumps(product_json(line), ensure_ascii=False) + "\n")
        count += 1
    return count


def write_json_array(lines: Iterable[ProductLine], stream: TextIO) -> int:
    """One JSON array, streamed."""
    count = 0
    for line in lines:
        stream.write(",\n " if count else "[")
        stream.write(json.dumps(product_json(line), ensure_ascii=False))
        count += 1
    stream.write("]\n" if count else "[]\n")
    return count


def write_csv(lines: Iterable[ProductLine], stream: TextIO) -> int:
    """A header and a row per product; text cells cannot start a spreadsheet formula."""
    return formula.write_csv(stream, PRODUCT_KEYS, map(_cells, lines))


def _cells(line: ProductLine) -> list[str | float | None]:
    row = product_json(line) | {
        "images": "|".join(line.images),
        "top_k": json.dumps(line.top_k, ensure_ascii=False),
    }
    return list(row.values())


def products_table(
    lines: Iterable[ProductLine], *, width: int, photos: Mapping[str, str] | None = None
) -> Table:
    """Products for people, on a terminal of `width` columns: a narrow one goes without titles.

    `photos` adds a column: the photo's name by sku.
    """
    lines = list(lines)
    titles = width >= WIDE
    longest = max((len(line.sku) for line in lines), default=3)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("sku", min_width=min(longest, 24), overflow="fold")
    if titles:
        table.add_column("title", max_width=34, no_wrap=True, overflow="ellipsis")
    table.add_column("category", min_width=12, overflow="fold")
    table.add_column("confidence", justify="right", min_width=10)
    table.add_column("status", min_width=12)
    table.add_column("why", overflow="fold")
    if photos is not None:
        table.add_column("photo", overflow="fold")
    for line in lines:
        category = plain(line.category or "")
        if not category and line.suggestion:
            category = f"[dim]{plain(line.suggestion)}?[/dim]"
        confidence = "" if line.confidence is None else f"{line.confidence:.3f}"
        why = ", ".join(filter(None, (line.review_reason, line.failure_code)))
        style = STATUS_STYLE[line.status]
        cells = [
            plain(line.sku),
            *([plain(line.title or "")] if titles else []),
            category,
            confidence,
            f"[{style}]{line.status}[/{style}]",
            why,
        ]
        if photos is not None:
            cells.append(plain(photos.get(line.sku, "")))
        table.add_row(*cells)
    return table


def plain(text: str) -> str:
    """A delivered text, so that it can neither style nor steer the terminal."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def status_line(counts: Mapping[Status, int]) -> str:
    """`35 tagged · 6 needs_review · 1 failed`, coloured."""
    parts = [
        f"[{STATUS_STYLE[status]}]{counts[status]:,} {status}[/{STATUS_STYLE[status]}]"
        for status in Status
        if counts[status]
    ]
    return " · ".join(parts) or "no products"


def print_summary(summary: UploadSummary, counts: Mapping[Status, int], console: Console) -> None:
    """An upload's ledger and where its products stand."""
    console.print(f"upload [bold]{summary.upload_id}[/bold]: {summary.products:,} products")
    parts = [
        f"{number:,} {word}"
        for number, word in (
            (summary.created, "new"),
            (summary.changed, "with changed photos"),
            (summary.updated, "with changed texts only"),
            (summary.unchanged, "unchanged"),
            (summary.rejected, "lines rejected"),
            (summary.superseded, "lines superseded by a younger delivery"),
            (summary.skipped, "other files skipped"),
        )
        if number
    ]
    console.print("  delivered: " + (", ".join(parts) or "nothing"))
    console.print(f"  status:    {status_line(counts)}")
    for warning in summary.warnings:
        console.print(f"  [yellow]warning:[/yellow] {plain(warning)}")


def autopilot_text(card: ModelCard, state: Autopilot) -> str:
    """What may be accepted without a person, at which stated rate, and whose rate it is."""
    a = card.acceptance
    if state is Autopilot.OFF:
        return f"autopilot off: {card.title} accepts nothing, everything goes to review"
    error = f"{a.holdout_errors} wrong of {a.holdout_accepted:,} accepted"
    if state is Autopilot.PROVISIONAL:
        return (
            f"autopilot provisional: {card.title} accepts at a target precision of "
            f"{a.target_precision:.1%}. The stated rate is the one of {a.whose} "
            f"({error}; at most {a.error_upper:.2%} wrong with 95 % confidence), not yet of "
            "this catalogue"
        )
    return (
        f"autopilot certified: {card.title} at a target precision of {a.target_precision:.1%}, "
        "measured on this retailer's own products"
    )
